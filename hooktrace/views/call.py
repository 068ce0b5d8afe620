"""One module call, put together from the log."""

from __future__ import annotations

from typing import Any

from hooktrace.errors import HooktraceError, NoGradientError
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

__all__ = ["Call"]


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
    def duration(self) -> float | None:
        """The same in seconds."""
        return None if self.duration_ns is None else self.duration_ns / 1e9

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
