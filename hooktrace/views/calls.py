"""Module calls: nested, numbered, with their hooks and gradients, put together from the log."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from hooktrace.errors import (
    AmbiguousCallError,
    HooktraceError,
    NoGradientError,
    UnknownNameError,
    nearest,
)
from hooktrace.events import (
    BackwardStarted,
    CallId,
    ForwardFinished,
    ForwardStarted,
    GradientComputed,
    HookFired,
    ModuleCalled,
    ModuleExited,
    Observation,
    TracedModule,
)
from hooktrace.log import EventLog
from hooktrace.views.values import content

__all__ = ["Call", "CallIndex"]


class Call:
    """One call of one module.

    Fields that hold tensors (`inputs`, `outputs`, `output`, `grad_inputs`, `grad_outputs`) give
    `torch.Tensor` for the modules that ``keep=`` names and a summary for the others.

    Attributes:
        id: Row number of the call.
        name: Fully qualified name of the module, or its class for a root.
        index: How many calls of this name came before, within the trace.
        module: The module's row: class, configuration, number of parameters.
        parent: The call around it, or None.
        children: The calls inside it, in order.
        hooks: Its firings of module hooks, in order.
        events: All events of this call, in order.
        duration_ns: From the call to the return, pre-hooks and forward hooks included, in
            nanoseconds; None while it is open.
        exception: What it raised as ``Type: message``; None if it returned.
    """

    def __init__(self, log: EventLog, event: ModuleCalled, index: int, parent: Call | None) -> None:
        self._log = log
        self.called = event
        self.id: CallId = event.call
        self.index = index
        self.parent = parent
        self.children: list[Call] = []
        self.hooks: list[HookFired] = []
        self.events: list[Any] = [event]
        self.gradients: list[GradientComputed] = []
        self.exited: ModuleExited | None = None
        self.forward_started: ForwardStarted | None = None
        self.forward_finished: ForwardFinished | None = None

    # -------------------------------------------------------------- what it is

    @property
    def module(self) -> TracedModule:
        """The module's row."""
        return self._log.modules[self.called.module]

    @property
    def name(self) -> str:
        """Fully qualified name of the module, or its class for a root."""
        return self.module.label

    @property
    def kept(self) -> bool:
        """Whether its values were kept."""
        return self.called.module in self._log.kept

    @property
    def depth(self) -> int:
        """Number of calls around it."""
        return 0 if self.parent is None else self.parent.depth + 1

    @property
    def duration_ns(self) -> int | None:
        """From the call to the return, in nanoseconds; None while it is open."""
        return None if self.exited is None else self.exited.time_ns - self.called.time_ns

    @property
    def exception(self) -> str | None:
        """What it raised; None if it returned."""
        return None if self.exited is None else self.exited.exception

    # -------------------------------------------------------------- what went in and out

    @property
    def seen_inputs(self) -> tuple[Observation, ...]:
        """The sightings of its arguments, before any pre-hook."""
        return self.called.inputs

    @property
    def seen_outputs(self) -> tuple[Observation, ...]:
        """The sightings of what it returned, after all forward hooks."""
        return () if self.exited is None else self.exited.outputs

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The leaves of its arguments, positional ones first: shapes as the module got them."""
        return tuple(self._content(one) for one in self.seen_inputs)

    @property
    def outputs(self) -> tuple[Any, ...]:
        """The leaves of what it returned, at the moment when it returned them."""
        return tuple(self._content(one) for one in self.seen_outputs)

    @property
    def output(self) -> Any:
        """The single output.

        Raises:
            HooktraceError: There are several, or none.
        """
        outputs = self.outputs
        if len(outputs) != 1:
            why = (
                f"raised {self.exception}" if self.exception else f"returned {len(outputs)} values"
            )
            raise HooktraceError(f"{self} {why}; use .outputs, not .output.")
        return outputs[0]

    @property
    def overwritten(self) -> Any:
        """What the output tensor held when the root call ended, if that differs; else None."""
        found = tuple(self._log.overwritten.get((self.id, one.role)) for one in self.seen_outputs)
        if all(one is None for one in found):
            return None
        return found[0] if len(found) == 1 else found

    # -------------------------------------------------------------- gradients

    @property
    def grad_outputs(self) -> tuple[Any, ...]:
        """Gradients with respect to `outputs`, one for each; None where none arrived.

        Of several backward runs, the last one.

        Raises:
            NoGradientError: No backward ran while the trace was open.
        """
        return self._gradients("grad_output", len(self.seen_outputs))

    @property
    def grad_inputs(self) -> tuple[Any, ...]:
        """This call's own share of the gradients with respect to `inputs`; None where none.

        Raises:
            NoGradientError: No backward ran while the trace was open.
        """
        return self._gradients("grad_input", len(self.seen_inputs))

    @property
    def grad_output(self) -> Any:
        """The single grad_output."""
        return self._single("grad_outputs", self.grad_outputs)

    @property
    def grad_input(self) -> Any:
        """The single grad_input."""
        return self._single("grad_inputs", self.grad_inputs)

    def _single(self, field: str, values: tuple[Any, ...]) -> Any:
        if len(values) != 1:
            raise HooktraceError(f"{self} has {len(values)} {field}; use .{field}.")
        return values[0]

    def _gradients(self, role: str, count: int) -> tuple[Any, ...]:
        if not self._log.of(BackwardStarted):
            why = "backward() has not run yet."
            if self._log.sealed:
                why = "the block ended before backward(). Call loss.backward() inside the block."
            raise NoGradientError(f"There is no {role} of {self}: {why}")
        latest = {event.gradient.role: event.gradient for event in self.gradients}
        return tuple(self._content(latest.get(f"{role}[{index}]")) for index in range(count))

    def _content(self, observation: Observation | None) -> Any:
        name = self.module.name or "*"
        return content(self._log, observation, f"Keep them with trace(model, keep=[{name!r}]).")

    def __str__(self) -> str:
        return f"{self.name}@{self.index}"

    def __repr__(self) -> str:
        shapes = ", ".join(str(one.summary) for one in self.seen_outputs)
        return f"<Call {self} {self.module.type} -> {shapes or self.exception or '(open)'}>"


class CallIndex:
    """All calls of a log, in order.  It reads on as the log grows."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.calls: dict[CallId, Call] = {}
        self._counts: dict[str, int] = {}
        self._read = 0

    def refresh(self) -> CallIndex:
        """Read the events that came since the last time."""
        events = self.log.events
        while self._read < len(events):
            self._take(events[self._read])
            self._read += 1
        return self

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self.calls.values()))

    def __len__(self) -> int:
        return len(self.calls)

    def count(self, name: str) -> int:
        """Return how many calls have this name."""
        return self._counts.get(name, 0)

    def roots(self) -> list[Call]:
        """Return the outermost calls."""
        return [call for call in self.calls.values() if call.parent is None]

    def matching(self, pattern: str) -> list[Call]:
        """Return the calls whose name, alias or ``name@number`` matches an fnmatch pattern."""
        return [
            call
            for call in self.calls.values()
            if any(fnmatchcase(name, pattern) for name in _names(call))
        ]

    def one(self, name: str) -> Call:
        """Return the call of this name.

        Args:
            name: ``features.0`` for a module that was called once, else ``features.0@2``.

        Raises:
            UnknownNameError: No call has this name.
            AmbiguousCallError: Several have it; the message lists them.
        """
        found = [call for call in self.calls.values() if name in _names(call)]
        if len(found) == 1:
            return found[0]
        if found:
            labels = ", ".join(repr(str(call)) for call in found[:12])
            more = f" and {len(found) - 12} more" if len(found) > 12 else ""
            raise AmbiguousCallError(
                f"{name!r} was called {len(found)} times: {labels}{more}. Name one of them."
            )
        base = name.rpartition("@")[0] or name
        never = [row.name for row in self.log.modules if base in (row.name, *row.aliases)]
        known = [call.name for call in self.calls.values()]
        hint = " It was called, but not that often." if never else nearest(base, known)
        raise UnknownNameError(f"No call of a module named {name!r} was recorded.{hint}")

    def _take(self, event: Any) -> None:
        if isinstance(event, ModuleCalled):
            row = self.log.modules[event.module]
            index = self._counts.get(row.label, 0)
            self._counts[row.label] = index + 1
            parent = self.calls.get(event.parent) if event.parent is not None else None
            call = self.calls[event.call] = Call(self.log, event, index, parent)
            if parent is not None:
                parent.children.append(call)
            return
        number = getattr(event, "call", None)
        found = self.calls.get(number) if number is not None else None
        if found is None:
            return
        found.events.append(event)
        if isinstance(event, HookFired):
            found.hooks.append(event)
        elif isinstance(event, ModuleExited):
            found.exited = event
        elif isinstance(event, ForwardStarted):
            found.forward_started = event
        elif isinstance(event, ForwardFinished):
            found.forward_finished = event
        elif isinstance(event, GradientComputed):
            found.gradients.append(event)


def _names(call: Call) -> Iterator[str]:
    for name in {call.name, call.module.name, *call.module.aliases}:
        yield name
        yield f"{name}@{call.index}"
