"""Where the first NaN or infinity of a run came from: one walk along the timeline."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from hooktrace.doctor.case import Case
from hooktrace.doctor.circumstances import advice, operations, passed_over
from hooktrace.doctor.rule import Rule
from hooktrace.events import (
    BackwardStarted,
    Event,
    GradientAccumulated,
    GradientComputed,
    HookFired,
    ModuleCalled,
    ModuleExited,
    Observation,
    StepFinished,
    TensorSummary,
)
from hooktrace.findings import Finding
from hooktrace.kinds import KINDS
from hooktrace.tensorstats import ParameterSighting
from hooktrace.views.call import Call

__all__ = ["Births"]


class Births:
    """The places of a log at which NaN or infinity appears where all was finite before.

    Args:
        rule: Whose findings they are.
        case: The log.
    """

    def __init__(self, rule: Rule, case: Case) -> None:
        self.rule = rule
        self.case = case
        self.log = case.log

    @property
    def any(self) -> bool:
        """Whether there is any at all."""
        return not all(stats.finite for stats in self.log.stats)

    def odd(self, seen: Iterable[Observation | None], masks: bool = False) -> Observation | None:
        """Return the first that holds NaN or infinity; of masks minus infinity does not count."""
        for one in seen:
            stats = self.log.stats.of(one)
            if stats is not None and not stats.finite:
                if stats.nan or stats.max == math.inf or not masks:
                    return one
        return None

    def evidence(self, seen: Observation) -> tuple[str, ...]:
        """Say how much of it is not finite."""
        stats = self.log.stats.of(seen)
        return () if stats is None else (f"{seen.role}: {stats.oddity}",)

    # -------------------------------------------------------------- forward

    def forward(self) -> Iterator[Finding]:
        """Yield where values that are not finite appear, in order."""
        parameters = deque(self.log.stats.parameters)
        for event in self.log.of(ModuleCalled, ModuleExited, HookFired, BackwardStarted):
            if isinstance(event, ModuleCalled):
                while parameters and parameters[0].call <= event.call:
                    yield from self._parameter(parameters.popleft(), event)
                yield from self._given(event)
            elif isinstance(event, ModuleExited):
                yield from self._returned(event)
            elif isinstance(event, BackwardStarted):
                yield from self._root(event)
            elif isinstance(event, HookFired) and not self._of_gradients(event):
                yield from self._hook(event, "value")

    def _parameter(self, held: ParameterSighting, event: ModuleCalled) -> Iterator[Finding]:
        stats = self.log.stats[held.number]
        if stats.finite or (not stats.nan and stats.max < math.inf):  # a mask
            return
        name, call = self.case.name(held.tensor), self.case.calls.calls[held.call]
        steps = [one for one in self.log.of(StepFinished) if one.seq < event.seq]
        step = next((one for one in reversed(steps) if held.tensor in one.written), None)
        since = f", after a step of {step.optimizer}" if step is not None else ""
        yield self.rule.finding(
            f"{name} was not finite when {call} began{since}.",
            where=name,
            events=(event.seq,) if step is None else (step.seq, event.seq),
            evidence=(f"{name}: {stats.oddity}",),
        )

    def _given(self, event: ModuleCalled) -> Iterator[Finding]:
        seen = self.odd(event.inputs, masks=True)
        if seen is None:
            return
        call = self.case.calls.calls[event.call]
        if call.parent is not None:
            around = f"functional code in {call.parent} ({call.parent.module.type})"
            text = f"The first value that is not finite was made by {around}, before {call}."
            call = call.parent
        elif call.id == 0 or not getattr(seen.summary, "requires_grad", False):
            text = f"{seen.role} of {call} was not finite when it came in."
        else:
            text = f"Code outside of all modules made {seen.role} of {call}, which is not finite."
        yield self.rule.finding(text, call=call, events=(event.seq,), evidence=self.evidence(seen))

    def _returned(self, event: ModuleExited) -> Iterator[Finding]:
        seen = self.odd(event.outputs, masks=True)
        if seen is None:
            return
        call = self.case.calls.calls[event.call]
        yield self.made(call, seen, event, *self._others(call.seen_inputs))

    def made(self, call: Call, seen: Observation, event: Event, *unsure: str) -> Finding:
        """Say that a call made a value out of finite ones."""
        how = f"functional code in {call}" if call.children else str(call)
        return self.rule.finding(
            f"{how} ({call.module.type}) was given finite numbers and made the first value that "
            f"is not finite.",
            call=call,
            events=(call.called.seq, event.seq),
            evidence=(
                *self._were(call.seen_inputs),
                *self.evidence(seen),
                *operations(self.case, call),
            ),
            possible="; ".join(unsure),
        )

    def _were(self, seen: Iterable[Observation]) -> tuple[str, ...]:
        found = [(one.role, self.log.stats.of(one)) for one in seen]
        return tuple(
            f"{role}: between {stats.min:.3g} and {stats.max:.3g}"
            for role, stats in found[:3]
            if stats is not None
        )

    def _others(self, seen: Iterable[Observation]) -> tuple[str, ...]:
        """Say which arguments were not measured though they may hold such numbers."""
        return tuple(
            f"{one.role} was not measured"
            for one in seen
            if one.stats is None
            and isinstance(one.summary, TensorSummary)
            and one.summary.dtype.startswith(("float", "bfloat", "complex"))
        )

    def _root(self, event: BackwardStarted) -> Iterator[Finding]:
        seen = self.odd(event.roots)
        if seen is not None:
            yield self.rule.finding(
                f"Code outside of all modules made the loss ({seen.role} of the backward run), "
                f"which is not finite, though every output of a module before it was.",
                where="the loss",
                events=(event.seq,),
                evidence=self.evidence(seen),
            )

    def _hook(self, event: HookFired, what: str) -> Iterator[Finding]:
        hook = self.log.hooks[event.hook]
        value = what == "value"
        edit = next((one for one in event.edits if self.odd([one.after], masks=value)), None)
        given = self.odd(event.inputs, masks=value)
        if given is None and edit is not None:
            before = self.log.stats.of(edit.before)
            yield self.rule.finding(
                f"The {self.case.spoken(hook)} was given finite numbers and "
                f"made the first {what} that is not finite.",
                hook=hook,
                events=(event.seq,),
                evidence=(f"before: {before}", *self.evidence(edit.after)) if before else (),
            )
        elif given is not None and value and given.role.startswith("output"):
            if event.call is not None:
                yield self.made(self.case.calls.calls[event.call], given, event)

    def _of_gradients(self, event: HookFired) -> bool:
        return KINDS[self.log.hooks[event.hook].kind].gradient

    # -------------------------------------------------------------- backward

    def backward(self) -> Iterator[Finding]:
        """Yield where gradients that are not finite appear, in runs from a finite loss."""
        sound = {run.number for run in self.case.runs if self.odd(run.started.roots) is None}
        last = -1
        for event in self.log.of(BackwardStarted, GradientComputed, GradientAccumulated, HookFired):
            if isinstance(event, BackwardStarted):
                last = event.backward
            elif isinstance(event, HookFired):
                if last in sound and self._of_gradients(event):
                    yield from self._hook(event, "gradient")
            elif isinstance(event, GradientComputed) and event.backward in sound:
                yield from self._computed(event)
            elif isinstance(event, GradientAccumulated) and event.backward in sound:
                yield from self._accumulated(event)

    def _computed(self, event: GradientComputed) -> Iterator[Finding]:
        seen = self.odd([event.gradient])
        if seen is None:
            return
        if event.call is None:
            name = "a tensor" if event.tensor is None else self.case.name(event.tensor)
            yield self.gradient(f"The gradient of {name} is the first that is not finite.", event)
            return
        call = self._innermost(event)
        came = self._arrived(call, event.backward)
        if seen.role.startswith("grad_input") and came and self.odd(came) is None:
            yield self.gradient(
                f"The backward of {call} ({call.module.type}) was given finite gradients and made "
                f"the first one that is not finite.",
                event,
                call,
                self._were(came) + self._forward(call),
            )
            return
        yield self.gradient(
            f"The first gradient that is not finite came to the output of {call} "
            f"({call.module.type}): what uses that output made it.",
            event,
            call,
            self._forward(call),
        )

    def _innermost(self, event: GradientComputed) -> Call:
        """Return the deepest call of which a gradient told here, the same one, is the first."""
        calls = self.case.calls.calls
        assert event.call is not None
        call = calls[event.call]
        for child in reversed(call.children):
            role = event.gradient.role.partition("[")[0]
            for one in child.gradients:
                if one.backward == event.backward and one.gradient.role.startswith(role):
                    if one.gradient.value == event.gradient.value and self.odd([one.gradient]):
                        return self._innermost(one)
        return call

    def _arrived(self, call: Call, backward: int) -> list[Observation]:
        return [
            one.gradient
            for one in call.gradients
            if one.backward == backward and one.gradient.role.startswith("grad_output")
        ]

    def _forward(self, call: Call) -> tuple[str, ...]:
        return tuple(f"in the forward, {text}" for text in self._were(call.seen_outputs))

    def _accumulated(self, event: GradientAccumulated) -> Iterator[Finding]:
        seen = self.odd([event.arrived or event.after, event.after])
        if seen is None:
            return
        name = self.case.name(event.tensor)
        owner, _, _ = name.rpartition(".")
        module = self.case.module_named.get(owner)
        calls = [] if module is None else self.case.calls_of.get(module, [])
        came = [one for call in calls for one in self._arrived(call, event.backward)]
        if came and self.odd(came) is None and self.log.tensors[event.tensor].parameter:
            yield self.gradient(
                f"The backward of {calls[0]} ({calls[0].module.type}) was given finite gradients "
                f"and made one for {name} that is not finite.",
                event,
                calls[0],
                self._were(came),
            )
        else:
            yield self.gradient(f"The gradient of {name} is the first that is not finite.", event)

    def gradient(
        self, text: str, event: Any, call: Call | None = None, seen: tuple[str, ...] = ()
    ) -> Finding:
        """Return a finding about a gradient; one that overflows in half precision is a note."""
        found = event.gradient if isinstance(event, GradientComputed) else event.after
        stats = self.log.stats.of(found)
        half = isinstance(found.summary, TensorSummary) and found.summary.dtype == "float16"
        overflow = half and stats is not None and not stats.nan
        skipped = passed_over(self.case, event.backward)
        return self.rule.finding(
            text,
            call=call,
            where="" if call is not None else self._whose(event),
            severity="note" if overflow or skipped else None,
            events=(event.seq,),
            evidence=(*seen, *self.evidence(found), *operations(self.case, call), *skipped),
            instead=advice(self.case, call),
        )

    def _whose(self, event: Any) -> str:
        return (
            "a gradient" if event.tensor is None else f"gradient of {self.case.name(event.tensor)}"
        )
