"""The recorder: turns what the probes see into events.

It owns the clock, the identities, and per thread the stack of what is open: module calls,
firing hooks and backward runs.  One recorder belongs to one trace.  Probes that need to know
when a call or a backward run begins or ends put a listener into its ``on_*`` lists.
"""

from __future__ import annotations

import itertools
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from hooktrace import _torch
from hooktrace.errors import ProbeFailedWarning
from hooktrace.events import (
    CallId,
    Event,
    HookId,
    ModuleId,
    Observation,
    ProbeFailed,
    TensorId,
    TensorWritten,
    Value,
)
from hooktrace.hooktable import TENSOR_HOOKS, HookTable
from hooktrace.identity import Identities, Seen, text_of
from hooktrace.log import EventLog
from hooktrace.nodes import Nodes
from hooktrace.scope import Scope

__all__ = ["COPY_LIMIT_BYTES", "Open", "Recorder", "ThreadState"]

COPY_LIMIT_BYTES = 1 << 20
"""Arguments of hooks up to this size are copied, to see what a hook did to them in place."""


class Open:
    """Something that has begun and not ended on a thread: a module call or a firing hook."""

    __slots__ = ("call", "hook", "module")

    def __init__(self, call: CallId | None, module: ModuleId | None, hook: HookId | None) -> None:
        self.call = call
        self.module = module
        self.hook = hook


class ThreadState:
    """What is open on one thread."""

    __slots__ = ("backwards", "number", "recent", "stack")

    def __init__(self, number: int) -> None:
        self.number = number
        self.stack: list[Any] = []  # Open and its subclasses, outermost first
        self.backwards: list[int] = []  # numbers of the backward runs, outermost first
        self.recent: list[Seen] = []  # tensors first seen since the outermost call began

    def leave(self, what: Any) -> None:
        """Take `what`, and whatever did not end inside it, off the stack."""
        stack = self.stack
        for place in range(len(stack) - 1, -1, -1):
            if stack[place] is what:
                del stack[place:]
                return


class Recorder:
    """Writes one trace's log.

    Args:
        log: Where to.
        scope: Which modules belong to the trace, and which are kept.
        copies: Whether to copy the tensors that hooks are given, to see in-place edits.
        strict: Whether a failing probe raises.
        clock: Monotonic clock in nanoseconds.
    """

    def __init__(
        self,
        log: EventLog,
        scope: Scope,
        *,
        copies: bool = True,
        strict: bool = False,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.log = log
        self.scope = scope
        self.copies = copies
        self.strict = strict
        self.clock = clock
        self.identities = Identities(log)
        self.calls = itertools.count()
        self.backwards = itertools.count()
        self.backward = -1  # the latest one to begin, on any thread
        self.hooks = HookTable(log, scope, self.identities)
        self.nodes = Nodes(log, self.identities)
        self.kept_calls: set[CallId] = set()
        self.on_open: list[Callable[[Any, Any, dict[str, Any]], None]] = []
        self.on_close: list[Callable[[Any, Any], None]] = []
        self.on_backward_start: list[Callable[[int, Any], None]] = []
        self.on_backward_end: list[Callable[[int], None]] = []
        self._leaves: dict[TensorId, weakref.ref[torch.Tensor]] = {}
        self._lock = threading.Lock()
        self._threads: dict[int, ThreadState] = {}

    # -------------------------------------------------------------- threads and events

    def state(self) -> ThreadState:
        """Return the calling thread's state."""
        ident = threading.get_ident()
        state = self._threads.get(ident)
        if state is None:
            state = self._threads[ident] = ThreadState(len(self._threads))
        return state

    def emit(self, kind: type[Event], *own: Any, time_ns: int | None = None) -> None:
        """Append an event of this kind with its own fields."""
        thread = self.state().number
        events = self.log.events
        with self._lock:
            events.append(
                kind(len(events), self.clock() if time_ns is None else time_ns, thread, *own)
            )

    def failed(self, probe: str) -> None:
        """Note that a probe failed with the exception being handled; raise it if strict."""
        if self.strict:
            raise
        text = traceback.format_exc(limit=-6)
        first = not self.log.of(ProbeFailed)
        self.emit(ProbeFailed, probe, text)
        if first:
            reason = text.strip().splitlines()[-1]
            warnings.warn(
                f"hooktrace could not observe {probe} ({reason}). The traced program is not "
                f"affected, but the trace is incomplete. HOOKTRACE_STRICT=1 raises the error.",
                ProbeFailedWarning,
                stacklevel=3,
            )

    def current_backward(self) -> int:
        """Return the number of the backward run that the calling thread is in."""
        backwards = self.state().backwards
        return backwards[-1] if backwards else self.backward

    # -------------------------------------------------------------- seeing tensors

    def observe(self, tensor: torch.Tensor, role: str, *, quiet: bool = False) -> Observation:
        """Describe a tensor, and note a write since it was seen last, unless `quiet`."""
        seen, new = self.identities.seen(tensor)
        if new:
            state = self.state()
            if state.stack:
                state.recent.append(seen)
            if tensor.requires_grad and tensor.is_leaf:
                self._leaves[seen.id] = seen.ref
        elif quiet:
            seen.version = _torch.version_of(tensor)
        else:
            self.check(tensor, seen)
        return self.identities.describe(tensor, seen, role)

    def observe_leaves(self, pairs: Iterable[tuple[str, Any]]) -> tuple[Observation, ...]:
        """Describe what `identity.leaves` or `identity.arguments` found."""
        return tuple(
            [
                self.observe(leaf, role)
                if isinstance(leaf, torch.Tensor)
                else Observation(role, None, text_of(leaf))
                for role, leaf in pairs
            ]
        )

    def check(self, tensor: torch.Tensor, seen: Seen) -> None:
        """Note a write to `tensor` since it was seen last, by what is innermost now."""
        version = _torch.version_of(tensor)
        if version == seen.version or version is None or seen.version is None:
            seen.version = version
            return
        before = Value(seen.id, seen.version)
        seen.version = version
        stack = self.state().stack
        inner = stack[-1] if stack else None
        self.emit(
            TensorWritten,
            before,
            Value(seen.id, version),
            inner.call if inner is not None else None,
            inner.hook if inner is not None else None,
            not tensor._is_view(),
        )

    def check_alive(self, entries: Iterable[Seen]) -> None:
        """Note writes to those of the tensors that still live."""
        for seen in entries:
            tensor = seen.ref()
            if tensor is not None:
                self.check(tensor, seen)

    def leaves(self) -> Iterator[torch.Tensor]:
        """Yield the leaves that were seen, require a gradient, and still live."""
        for number, ref in tuple(self._leaves.items()):
            leaf = ref()
            if leaf is None:
                del self._leaves[number]
            else:
                yield leaf

    def watch_leaf(self, leaf: torch.Tensor, name: str, *, parameter: bool = False) -> None:
        """Remember a leaf, its name, and the hooks it has."""
        number = self.identities.name(leaf, name, leaf=True, parameter=parameter)
        self._leaves[number] = self.identities.seen(leaf)[0].ref
        for kind, attribute in TENSOR_HOOKS.items():
            hooks = getattr(leaf, attribute, None)
            if hooks:
                self.hooks.watch(kind, hooks, leaf)
                for key, function in hooks.items():
                    self.hooks.add(kind, key, function, leaf)

    # -------------------------------------------------------------- keeping content

    def keep(self, value: Value | None, tensor: torch.Tensor) -> None:
        """Keep a copy of the content of `value`, which `tensor` holds now."""
        if value is None or value in self.log.snapshots or _torch.is_wrapped(tensor):
            return
        self.log.snapshots[value] = _torch.content_copy(tensor)

    def close(self) -> None:
        """Drop every reference to the traced program."""
        self.identities.forget()
        self.hooks.forget()
        self._leaves.clear()
        for listeners in (
            self.on_open,
            self.on_close,
            self.on_backward_start,
            self.on_backward_end,
        ):
            listeners.clear()
        self._threads.clear()
