"""One module call, put together from the log."""

from __future__ import annotations

from typing import Any, NamedTuple

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
from hooktrace.modes import Mode
from hooktrace.tensorstats import TensorStats
from hooktrace.views.values import content

__all__ = ["EARLY_STOP", "Call", "RunGradients"]

EARLY_STOP = "_StopRecomputationError"
"""What checkpointing raises in itself once it has recomputed enough."""


class RunGradients(NamedTuple):
    """What one backward run brought to one call.

    Attributes:
        backward: Number of the run, as in `BackwardStarted`.
        call: The call that it reached: of one that was recomputed, maybe the recomputation.
        grad_outputs: Gradients with respect to the outputs; None where none arrived.
        grad_inputs: The call's own share of those with respect to the inputs; None where none.
        notes: What limits the meaning of a gradient, by its role, such as ``grad_input[0]``.
    """

    backward: int
    call: Call
    grad_outputs: tuple[Any, ...]
    grad_inputs: tuple[Any, ...]
    notes: dict[str, str]


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
        first: Of a recomputation, the call that it repeats, if that is known; else None.
        recomputations: The calls by which checkpointing repeated it, in order.
    """

    def __init__(self, log: EventLog, event: ModuleCalled, index: int, parent: Call | None) -> None:
        self._log = log
        self.called = event
        self.id: CallId = event.call
        self.index = index
        self.parent = parent
        self.children: list[Call] = []
        self.first: Call | None = None
        self.recomputations: list[Call] = []
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
    def root(self) -> Call:
        """The outermost call around it; of a recomputation, around the call that it repeats."""
        call = self
        while call.first is not None or call.parent is not None:
            call = call.first or call.parent  # type: ignore[assignment]
        return call

    @property
    def duration_ns(self) -> int | None:
        """From the call to the return, in nanoseconds; None while it is open."""
        return None if self.exited is None else self.exited.time_ns - self.called.time_ns

    @property
    def duration(self) -> float | None:
        """The same in seconds."""
        return None if self.duration_ns is None else self.duration_ns / 1e9

    @property
    def mode(self) -> Mode:
        """In which modes it was called."""
        return Mode.of(self.called.mode)

    @property
    def container(self) -> str:
        """Class of what it returned, such as ``dict``; empty for a tensor or a tuple."""
        return "" if self.exited is None else self.exited.container

    @property
    def exception(self) -> str | None:
        """What it raised; None if it returned, or if recomputation stopped in it."""
        stopped = self.exited is None or self.stopped_early
        return None if stopped else self.exited.exception  # type: ignore[union-attr]

    @property
    def recomputed(self) -> bool:
        """Whether checkpointing ran it in a backward run, to repeat an earlier call."""
        return self.id in self._log.recomputed

    @property
    def stopped_early(self) -> bool:
        """Whether checkpointing had recomputed enough before it ended."""
        raised = None if self.exited is None else self.exited.exception
        return raised is not None and raised.startswith(EARLY_STOP) and self.recomputed

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

    @property
    def stats(self) -> dict[str, TensorStats]:
        """Statistics by role: of arguments, outputs, and the gradients of the last run.

        Raises:
            NoStatisticsError: The trace was opened without ``stats=True``.
        """
        runs = [(run.backward, one) for run in self.runs[-1:] for one in run.call.gradients]
        arrived = [one.gradient for number, one in runs if one.backward == number]
        return self._log.stats.by_role([*self.seen_inputs, *self.seen_outputs, *arrived])

    # -------------------------------------------------------------- gradients

    @property
    def runs(self) -> list[RunGradients]:
        """The backward runs that reached it, in the order in which they did.

        Of a call that checkpointing repeats, the gradients are those of whichever has a graph:
        the call itself where checkpointing is not reentrant, else its recomputations.
        """
        return [
            self._run(number, call)
            for call in (self, *self.recomputations)
            for number in dict.fromkeys(one.backward for one in call.gradients)
        ]

    @property
    def backward(self) -> int | None:
        """Number of the last backward run that reached it; its gradients are those below."""
        return self.runs[-1].backward if self.runs else None

    @property
    def grad_outputs(self) -> tuple[Any, ...]:
        """Gradients with respect to `outputs`, one for each; None where none arrived.

        Of several backward runs, the last one that reached it (`runs` has all).

        Raises:
            NoGradientError: No backward ran while the trace was open.
        """
        return self._last("grad_output").grad_outputs

    @property
    def grad_inputs(self) -> tuple[Any, ...]:
        """This call's own share of the gradients with respect to `inputs`; None where none.

        Of several backward runs, the last one that reached it (`runs` has all).

        Raises:
            NoGradientError: No backward ran while the trace was open.
        """
        return self._last("grad_input").grad_inputs

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

    def _last(self, role: str) -> RunGradients:
        if not self._log.of(BackwardStarted):
            why = "backward() has not run yet."
            if self._log.sealed:
                why = "the block ended before backward(). Call loss.backward() inside the block."
            raise NoGradientError(f"There is no {role} of {self}: {why}")
        runs = self.runs
        return runs[-1] if runs else self._run(-1, self)

    def _run(self, number: int, call: Call) -> RunGradients:
        events = [one for one in call.gradients if one.backward == number]
        found = {one.gradient.role: one.gradient for one in events}
        outputs, inputs = (
            tuple(self._content(found.get(f"{role}[{place}]")) for place in range(len(seen)))
            for role, seen in (("grad_output", call.seen_outputs), ("grad_input", call.seen_inputs))
        )
        notes = {one.gradient.role: one.note for one in events if one.note}
        return RunGradients(number, call, outputs, inputs, notes)

    def _content(self, observation: Observation | None) -> Any:
        if self.kept:
            how = "Tensors that are sparse, nested, meta, wrapped or of a subclass are not copied."
        else:
            how = f"Keep them with trace(model, keep=[{self.module.name or '*'!r}])."
        return content(self._log, observation, how)

    def __str__(self) -> str:
        return f"{self.name}@{self.index}"

    def __repr__(self) -> str:
        shapes = ", ".join(str(one.summary) for one in self.seen_outputs)
        return f"<Call {self} {self.module.type} -> {shapes or self.exception or '(open)'}>"
