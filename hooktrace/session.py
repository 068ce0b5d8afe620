"""`trace()` and `Trace`: the user's facade.  Each method is one call downwards."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from hooktrace import measure, parameters
from hooktrace.errors import NothingTracedWarning, TraceStateError, nearest
from hooktrace.events import (
    Event,
    HookFired,
    ModuleId,
    SchedulerStepped,
    StepStarted,
)
from hooktrace.firing import describe_error
from hooktrace.hooktable import caller_frame
from hooktrace.log import EventLog
from hooktrace.models import resolve_models
from hooktrace.probes import Probes
from hooktrace.recorder import Recorder
from hooktrace.recording import Recording
from hooktrace.scope import Keep, Scope
from hooktrace.storage.reading import load_log
from hooktrace.streaming import Steps, Stream
from hooktrace.surroundings import surroundings
from hooktrace.tracebacks import calling_level, raising_line, unlink_own_frames
from hooktrace.views.calls import CallIndex

if TYPE_CHECKING:
    from hooktrace.doctor.blame import Blame

__all__ = ["Trace", "trace"]

_RAN: tuple[type[Event], ...] = (HookFired, StepStarted, SchedulerStepped)


class Trace(Recording):
    """What happened in a ``with trace(...)`` block: readable inside it and after it.

    If it is written to a file, only the current step can be read inside the block, and what the
    file holds after it.

    Args and errors are those of `trace`, and:

    Args:
        steps: Which steps the file keeps.
        only: Without a model: the class of those to be recorded, an fnmatch pattern.
        program: Whether the block is a whole program, which may leave its hooks registered.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        keep: Keep = False,
        edits: str = "values",
        stats: bool = False,
        to: str | os.PathLike[str] | None = None,
        steps: Steps | None = None,
        only: str | None = None,
        program: bool = False,
    ) -> None:
        if edits not in ("values", "versions"):
            raise ValueError(f"edits= is 'values' or 'versions', but got {edits!r}.")
        log = EventLog()
        super().__init__(log)
        models, everything = resolve_models(model)
        self._scope = Scope(log, models, everything=everything, keep=keep, only=only)
        strict = os.environ.get("HOOKTRACE_STRICT", "") == "1"
        log.copies = edits == "values"
        self._recorder = Recorder(log, self._scope, copies=log.copies, stats=stats, strict=strict)
        self._probes: Probes | None = None
        self._program = program
        self._to = None if to is None else Path(to)
        self._steps = steps or Steps()
        self._stream: Stream | None = None
        self._written: Path | None = None  # the file, until it is read back

    @property
    def log(self) -> EventLog:
        """The event log with its tables."""
        if self._written is not None:
            path, self._written = self._written, None
            self._log = load_log(path)
        return self._log

    # -------------------------------------------------------------- the block

    def __enter__(self) -> Trace:
        self.open(caller_frame(2))
        return self

    def open(self, frame: Any) -> None:
        """Begin to record, as entering the block does.

        Args:
            frame: Whose variables name what the program computes outside of modules.

        Raises:
            TraceStateError: It was open before.
            OSError: The file cannot be made.
        """
        if self._probes is not None or self._log.sealed:
            raise TraceStateError("A trace can be entered once; make a new one with trace(...).")
        self._log.surroundings = surroundings()
        if self._to is not None:
            self._stream = Stream(self._recorder, self._to, self._steps, self._forget_calls)
            self._recorder.on_step = self._begins
        self._probes = Probes(self._recorder, frame)
        self._probes.begin()

    def _forget_calls(self) -> None:
        self._calls = CallIndex(self._log)

    def models(self) -> list[torch.nn.Module]:
        """Return the models that it was given, or has met, as far as they still live."""
        return self._scope.models()

    def on_step(self, listener: Callable[[], None]) -> None:
        """Have a function called when a step begins, once the trace is open."""
        before = self._recorder.on_step

        def begins(module: ModuleId | None) -> bool:
            listener()
            return before is None or before(module)

        self._recorder.on_step = begins

    def _begins(self, module: ModuleId | None) -> bool:
        """Go on with the file as a step begins; stop if it takes no more."""
        assert self._stream is not None
        if self._stream.begins(module):
            return True
        self._finish()
        return False

    def _finish(self) -> None:
        """Stop to record."""
        probes, self._probes = self._probes, None
        try:
            if probes is not None:
                probes.finish()
            if probes is not None and self._program:
                self._log.forgive_left()
        finally:
            self._log.sealed = True

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close(error)

    def close(self, error: BaseException | None = None) -> None:
        """Stop to record, as leaving the block does; `error` is what ended it early."""
        if error is not None and not self._log.sealed:
            self._log.error = describe_error(error)
            self._log.raised_at = raising_line(error)
        if error is not None:
            unlink_own_frames(error)
        self._finish()
        if error is None:
            self._warn()
        elif isinstance(error, Exception):
            self._explain(error)
        if self._stream is not None:
            self._written, self._stream = self._stream.finish(), None

    def _explain(self, error: Exception) -> None:
        """Attach a note to an exception that the doctor can explain; it stays what it is."""
        from hooktrace.doctor.explain import attach

        try:
            self._settle()
            attach(error, self._log, self.index)
        except Exception:
            if self._recorder.strict:
                raise

    def _warn(self) -> None:
        written = self._stream is not None and self._stream.step  # the log has forgotten these
        ran = self._recorder.called or (
            not self._scope.outsiders and (written or any(self._log.of(kind) for kind in _RAN))
        )
        if not self._scope.everything and not ran:
            model = " and ".join(type(one).__name__ for one in self._scope.models()) or "the model"
            others = ", ".join(f"{name} ({n}x)" for name, n in self._scope.outsiders.items())
            message = f"No module of {model} ran inside the block."
            if others:
                message += f" These did: {others}. Was a wrapped or compiled copy called?"
            warnings.warn(message, NothingTracedWarning, stacklevel=calling_level())
        elif self._scope.everything:
            for pattern in self._scope.unknown_patterns():
                hint = nearest(pattern, [row.name for row in self._log.modules])
                message = f"keep={pattern!r} matched no module that ran.{hint}"
                warnings.warn(message, NothingTracedWarning, stacklevel=calling_level())

    def release(self) -> None:
        """Let go of every kept tensor and gradient edge."""
        self.log.released = True
        for held in (self.log.snapshots, self.log.overwritten, self.log.edges, self.log.results):
            held.clear()

    def blame(self, tensor: Any) -> Blame:  # noqa: D102 - that of what it extends
        if isinstance(tensor, torch.Tensor):
            tensor = parameters.number_of(self._recorder, tensor)
        return super().blame(tensor)

    def _settle(self) -> None:
        if self.log.origin is None:
            measure.settle(self.log)

    def __repr__(self) -> str:
        state = "closed" if self._log.sealed else "open" if self._probes else "not entered"
        return f"<Trace ({state}): {len(self.index)} calls, {len(self.log)} events>"


def trace(
    model: Any = None,
    *,
    keep: Keep = False,
    edits: str = "values",
    stats: bool = False,
    to: str | os.PathLike[str] | None = None,
    every: int = 1,
    limit: int | tuple[int, int] | None = None,
    skip: int = 0,
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
        to: A file to which the trace is written while the program runs, step by step, so that
            memory stays bounded and a crash leaves what was written.  A step goes from one call
            of the model to the next.  A file that is there is replaced in the end.
        every: With `to`: one step of how many is kept.
        limit: With `to`: at most so many of these, the last ones; or a pair, so many of the first
            and so many of the last.  ``(n, 0)`` ends the recording after n of them.
        skip: With `to`: how many steps to leave out in the beginning.

    Returns:
        A context manager, which is also the result.

    Raises:
        UnsupportedModuleError: `model` is not made of modules, or is a ScriptModule.
        UnknownNameError: `keep` names no module of the model.
        ValueError: `edits` is neither of the two, or there are no such steps.
        OSError: When the block is entered: the file cannot be made.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with trace(net) as t:
        ...     net(torch.ones(1, 2)).sum().backward()
        >>> [str(call) for call in t.calls()]
        ['Sequential@0', '0@0', '1@0']
    """
    steps = Steps.of(every, limit, skip)
    if to is None and steps != Steps():
        raise ValueError("every=, limit= and skip= choose the steps of a file: give to= as well.")
    return Trace(model, keep=keep, edits=edits, stats=stats, to=to, steps=steps)
