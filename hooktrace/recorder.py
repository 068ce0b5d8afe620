"""The recorder: turns what the probes see into events.

It owns the clock, the identities, and per thread the stack of what is open: module calls,
firing hooks and backward runs.  One recorder belongs to one trace.  Probes that need to know
when a call or a backward run begins or ends put a listener into its ``on_*`` lists.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch

from hooktrace import _torch, _torch_hooks
from hooktrace._torch import now_of, numbers_of, version_of
from hooktrace._torch_hooks import has_hooks
from hooktrace.errors import ProbeFailedWarning
from hooktrace.events import (
    CallId,
    Edit,
    Event,
    HookId,
    ModuleId,
    Observation,
    ProbeFailed,
    TensorId,
    TensorWritten,
    Value,
)
from hooktrace.hooktable import HookTable, calling_line
from hooktrace.identity import Identities, Seen, text_of
from hooktrace.log import EventLog
from hooktrace.scope import Scope
from hooktrace.spies import user_hook
from hooktrace.statistics import Statistics
from hooktrace.threadstate import ThreadState
from hooktrace.tracebacks import calling_level

__all__ = ["COPY_LIMIT_BYTES", "Recorder"]

COPY_LIMIT_BYTES = 1 << 20
"""Arguments of hooks up to this size are copied, to see what a hook did to them in place."""


class Recorder:
    """Writes one trace's log.

    Args:
        log: Where to.
        scope: Which modules belong to the trace, and which are kept.
        copies: Whether to copy the tensors that hooks are given, to see in-place edits.
        stats: Whether to take statistics of what is seen.
        strict: Whether a failing probe raises.
        clock: Monotonic clock in nanoseconds.
    """

    def __init__(
        self,
        log: EventLog,
        scope: Scope,
        *,
        copies: bool = True,
        stats: bool = False,
        strict: bool = False,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.log = log
        self.scope = scope
        self.copies = copies
        self.strict = strict
        self.clock = clock
        self.identities = Identities(log)
        self._table = self.identities.table
        self.statistics = Statistics(log.stats, self.failed) if stats else None
        self.hooks = HookTable(log, scope, self.identities)
        self.calls = itertools.count()
        self.called = False  # whether a module was
        self.maps_only = False  # whether nothing will be asked of the log but what layers returned
        self.backwards = itertools.count()
        self.backward = -1  # the latest one to begin, on any thread
        self.kept_calls: set[CallId] = set()
        self.on_step: Callable[[ModuleId | None], bool] | None = None
        self.on_open: list[Callable[[Any, ThreadState], None]] = []
        self.on_close: list[Callable[[Any, ThreadState, Any], None]] = []
        self.on_firing: list[Callable[[], None]] = []
        self.on_fired: list[Callable[[], None]] = []
        self.on_edit: list[Callable[[HookId, Edit, torch.Tensor, Any], None]] = []
        self.on_backward_start: list[Callable[[int, Any, bool], list[torch.Tensor]]] = []
        self.on_captured: list[Callable[[int, list[tuple[Any, Any]]], None]] = []
        self.on_backward_end: list[Callable[[int], None]] = []
        self.graph: Any = None  # what the gradients probe knows of the autograd graph
        self.holdings: Any = None  # what the user's hooks store
        self.ending = False
        self.write = log.rows.extend
        self._leaves: set[TensorId] = set()
        self.versions: tuple[list[int], list[int] | None] = [], []  # of the models' parameters
        self._own = threading.local()
        self._threads = itertools.count()
        self._states: list[ThreadState] = []

    # -------------------------------------------------------------- threads and events

    def state(self) -> ThreadState:
        """Return the calling thread's state."""
        try:
            return self._own.state  # type: ignore[no-any-return]
        except AttributeError:
            state = self._own.state = ThreadState(next(self._threads))
            self._states.append(state)
            return state

    def states(self) -> list[ThreadState]:
        """Return the states of all threads, the calling thread's first."""
        own = self.state()
        return [own, *(state for state in tuple(self._states) if state is not own)]

    def emit(self, kind: type[Event], *own: Any, time_ns: int | None = None) -> None:
        """Append an event of this kind with its own fields."""
        now = self.clock() if time_ns is None else time_ns
        self.write((kind, (now, self.state().number, *own)))

    def failed(self, probe: str) -> None:
        """Note that a probe failed with the exception being handled; raise it if strict."""
        text = traceback.format_exc(limit=-6)
        first = not self.log.of(ProbeFailed)
        self.emit(ProbeFailed, probe, text)
        if self.strict:
            raise
        if first:
            reason = text.strip().splitlines()[-1]
            warnings.warn(
                f"hooktrace could not observe {probe} ({reason}). The traced program is not "
                f"affected, but the trace is incomplete. HOOKTRACE_STRICT=1 raises the error.",
                ProbeFailedWarning,
                stacklevel=calling_level(),
            )

    # -------------------------------------------------------------- seeing tensors

    def sight(
        self, state: ThreadState, tensor: torch.Tensor, role: str, quiet: bool = False
    ) -> tuple[Observation, Seen]:
        """Describe a tensor, and note a write since it was seen last, unless `quiet`."""
        seen = self._table.get(id(tensor))
        if seen is None or seen.ref() is not tensor:
            seen = self.identities.enter(tensor)
            if state.stack:
                state.recent.append(seen)
            if seen.summary.requires_grad and has_hooks(tensor):
                self.watch_hooks(tensor)
        else:
            version, shape, wants = now_of(tensor)
            if version != seen.value.version:
                if quiet:
                    seen.value = Value(seen.id, version)
                else:
                    self._written(state, tensor, seen, version)
            if wants is not seen.summary.requires_grad or shape != seen.shape:
                self.identities.read(tensor, seen)
        numbers = numbers_of(tensor) if seen.small else None
        stats = None if self.statistics is None else self.statistics.number_of(tensor, seen)
        return Observation(role, seen.value, seen.summary, seen.storage, numbers, stats), seen

    def observe(self, tensor: torch.Tensor, role: str, *, quiet: bool = False) -> Observation:
        """Describe a tensor, and note a write since it was seen last, unless `quiet`."""
        return self.sight(self.state(), tensor, role, quiet)[0]

    def describe(self, tensor: torch.Tensor, seen: Seen, role: str) -> Observation:
        """Describe a tensor whose entry is up to date."""
        numbers = numbers_of(tensor) if seen.small else None
        stats = None if self.statistics is None else self.statistics.number_of(tensor, seen)
        return Observation(role, seen.value, seen.summary, seen.storage, numbers, stats)

    def observe_leaves(
        self, state: ThreadState, pairs: Iterable[tuple[str, Any]]
    ) -> tuple[Observation, ...]:
        """Describe what `identity.arguments` or `identity.results` found."""
        return tuple(
            [
                self.sight(state, leaf, role)[0]
                if isinstance(leaf, torch.Tensor)
                else Observation(role, None, text_of(leaf))
                for role, leaf in pairs
            ]
        )

    def check(self, state: ThreadState, tensor: torch.Tensor, seen: Seen) -> None:
        """Note a write to `tensor` since it was seen last."""
        version = version_of(tensor)
        if version != seen.value.version:
            self._written(state, tensor, seen, version)

    def _written(
        self, state: ThreadState, tensor: torch.Tensor, seen: Seen, version: int | None
    ) -> None:
        """Note a write by what is innermost now."""
        before = seen.value
        seen.value = Value(seen.id, version)
        if version is None or before.version is None:
            return
        inner = state.stack[-1] if state.stack else None
        call, hook = (inner.call, inner.hook) if inner is not None else (None, None)
        certain = not _torch.is_view(tensor)
        step = inner is None and seen.summary.requires_grad and tensor.is_leaf  # an optimizer's
        told = self.ending or hook is not None or step
        line = None if told else calling_line(sys._getframe(2))
        now, after = self.clock(), seen.value
        what = before, after, call, hook, certain, line
        self.write((TensorWritten, (now, state.number, *what)))

    def check_gradients(self) -> None:
        """Note writes to the leaves' ``.grad`` since they were filled, such as clipping."""
        state = self.state()
        for ref in tuple(self.log.accumulated.values()):
            gradient = ref()
            seen = None if gradient is None else self.identities.known(gradient)
            if seen is not None and version_of(gradient) != seen.value.version:
                self.check(state, gradient, seen)
                self.log.contents[seen.value] = self.describe(gradient, seen, ".grad")

    def leaf(self, leaf: torch.Tensor) -> TensorId:
        """Return the number of a leaf, and note that it is one."""
        entry = self.identities.table.get(id(leaf))
        if entry is None or entry.ref() is not leaf:
            entry = self.identities.enter(leaf)
        number = entry.id
        if number not in self._leaves:
            self._leaves.add(number)
            self.identities.name(leaf, "", leaf=True)
        return number

    def watch_leaf(self, leaf: torch.Tensor, name: str) -> None:
        """Remember a leaf, its name, and the hooks it has."""
        self._leaves.add(self.identities.name(leaf, name, leaf=True))
        if has_hooks(leaf):
            self.watch_hooks(leaf)

    def watch_hooks(self, tensor: torch.Tensor) -> None:
        """Make rows for the hooks that a tensor has, and remember where they are stored."""
        for kind, attribute in _torch_hooks.TENSOR_HOOKS.items():
            hooks = getattr(tensor, attribute, None)
            if hooks:
                self.hooks.watch(kind, hooks)
                for key, function in hooks.items():
                    if isinstance(key, int):
                        self.hooks.add(kind, key, user_hook(function), tensor)

    # -------------------------------------------------------------- keeping content

    def keep(self, value: Value | None, tensor: torch.Tensor) -> None:
        """Keep a copy of the content of `value`, which `tensor` holds now."""
        if value is None or value in self.log.snapshots or _torch.is_wrapped(tensor):
            return
        self.log.snapshots[value] = _torch.content_copy(tensor)

    def close(self) -> None:
        """Fetch the statistics, and drop every reference to the traced program.

        And those to what refers back to the recorder, so that a trace that is dropped goes at once:
        the garbage collector takes milliseconds for the log of a model of some hundred calls.
        """
        if self.statistics is not None:
            self.statistics.finish()
        self.statistics = self.graph = None
        self.identities.forget()
        self.hooks.forget()
        self._leaves.clear()
        for listeners in (
            self.on_open,
            self.on_close,
            self.on_firing,
            self.on_fired,
            self.on_edit,
            self.on_backward_start,
            self.on_captured,
            self.on_backward_end,
        ):
            listeners.clear()
        self._own = threading.local()
        self._states.clear()
