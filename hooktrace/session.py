"""`trace()` and `Trace`: the user's facade.  Each method is one call downwards."""

from __future__ import annotations

import os
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from hooktrace import measure, parameters
from hooktrace.errors import NothingTracedWarning, TraceStateError, nearest
from hooktrace.events import Event, HookFired, ModuleCalled, SchedulerStepped, StepStarted
from hooktrace.firing import describe_error
from hooktrace.hooktable import caller_frame
from hooktrace.log import EventLog
from hooktrace.probes import Probes
from hooktrace.recorder import Recorder
from hooktrace.recording import Recording
from hooktrace.scope import Keep, Scope, resolve_models
from hooktrace.tracebacks import raising_line, unlink_own_frames

if TYPE_CHECKING:
    from hooktrace.doctor.blame import Blame
    from hooktrace.summaries import Summary

__all__ = ["Trace", "trace"]

_RAN: tuple[type[Event], ...] = (ModuleCalled, HookFired, StepStarted, SchedulerStepped)


class Trace(Recording):
    """What happened in a ``with trace(...)`` block: readable inside it and after it.

    Attributes:
        log: The event log with its tables.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        keep: Keep = False,
        edits: str = "values",
        stats: bool = False,
    ) -> None:
        if edits not in ("values", "versions"):
            raise ValueError(f"edits= is 'values' or 'versions', but got {edits!r}.")
        super().__init__(EventLog())
        models, everything = resolve_models(model)
        self._scope = Scope(self.log, models, everything=everything, keep=keep)
        strict = os.environ.get("HOOKTRACE_STRICT", "") == "1"
        copies = edits == "values"
        self._recorder = Recorder(self.log, self._scope, copies=copies, stats=stats, strict=strict)
        self.log.copies = copies
        self._probes: Probes | None = None

    # -------------------------------------------------------------- the block

    def __enter__(self) -> Trace:
        if self._probes is not None or self.log.sealed:
            raise TraceStateError("A trace can be entered once; make a new one with trace(...).")
        self._probes = Probes(self._recorder, caller_frame(2))
        self._probes.begin()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        assert self._probes is not None
        if error is not None:
            self.log.error = describe_error(error)
            self.log.raised_at = raising_line(error)
            unlink_own_frames(error)
        try:
            self._probes.finish()
        finally:
            self.log.sealed = True
            self._probes = None
        if error is None:
            self._warn()
        elif isinstance(error, Exception):
            self._explain(error)

    def _explain(self, error: Exception) -> None:
        """Attach a note to an exception that the doctor can explain; it stays what it is."""
        from hooktrace.doctor.explain import attach

        try:
            self._settle()
            attach(error, self.log, self._calls.refresh())
        except Exception:
            if self._recorder.strict:
                raise

    def _warn(self) -> None:
        called = len(self.log.of(ModuleCalled)) > 0
        ran = called or (not self._scope.outsiders and any(self.log.of(kind) for kind in _RAN))
        if not self._scope.everything and not ran:
            model = " and ".join(type(one).__name__ for one in self._scope.models()) or "the model"
            others = ", ".join(f"{name} ({n}x)" for name, n in self._scope.outsiders.items())
            message = f"No module of {model} ran inside the block."
            if others:
                message += f" These did: {others}. Was a wrapped or compiled copy called?"
            warnings.warn(message, NothingTracedWarning, stacklevel=3)
        elif self._scope.everything:
            for pattern in self._scope.unknown_patterns():
                hint = nearest(pattern, [row.name for row in self.log.modules])
                message = f"keep={pattern!r} matched no module that ran.{hint}"
                warnings.warn(message, NothingTracedWarning, stacklevel=3)

    def release(self) -> None:
        """Let go of every kept tensor and gradient edge."""
        self.log.released = True
        for held in (self.log.snapshots, self.log.overwritten, self.log.edges, self.log.results):
            held.clear()

    def blame(self, tensor: Any) -> Blame:  # noqa: D102 - that of what it extends
        if isinstance(tensor, torch.Tensor):
            tensor = parameters.number_of(self._recorder, tensor)
        return super().blame(tensor)

    def summary(self, **options: Any) -> Summary:  # noqa: D102 - that of what it extends
        if not self.log.sealed:
            parameters.take_stock(self._recorder)
        return super().summary(**options)

    def _settle(self) -> None:
        measure.settle(self.log)

    def __repr__(self) -> str:
        state = "closed" if self.log.sealed else "open" if self._probes else "not entered"
        return f"<Trace ({state}): {len(self._calls.refresh())} calls, {len(self.log)} events>"


def trace(
    model: Any = None, *, keep: Keep = False, edits: str = "values", stats: bool = False
) -> Trace:
    """Record what happens in a ``with`` block, and what hooks do in it.

    Args:
        model: A module, several (a dict of names or a sequence), or nothing: then every module
            that runs in the block is recorded, and every computation that autograd records and
            that is reachable from a backward root or from the caller's variables.
        keep: Names (fnmatch patterns), modules, or True for all: whose outputs and per-call
            gradients are kept as values, by a copy at that moment, and with them what their
            model returned.  The gradient edges of all of it, and so the graph, are held until
            `Trace.release` or until the trace is dropped.
        edits: ``"values"`` copies the tensor arguments of hooks up to 1 MiB around each firing, to
            tell what a hook did in place; ``"versions"`` copies nothing.
        stats: Whether to take statistics (`TensorStats`) of every argument, output, gradient and
            edit, and of the parameters and buffers as an outermost call begins.  They are computed
            on the device, which waits for nothing, and fetched when the trace is read or ends.

    Returns:
        A context manager, which is also the result.

    Raises:
        UnsupportedModuleError: `model` is not made of modules, or is a ScriptModule.
        UnknownNameError: `keep` names no module of the model.
        ValueError: `edits` is neither of the two.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with trace(net) as t:
        ...     net(torch.ones(1, 2)).sum().backward()
        >>> [str(call) for call in t.calls()]
        ['Sequential@0', '0@0', '1@0']
    """
    return Trace(model, keep=keep, edits=edits, stats=stats)
