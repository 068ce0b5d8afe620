"""Where gradients came from: for each event of a gradient, the events before it on the way.

Only what is certain is told: what a node or a call sent, as the graph has it; that a value is the
very same, where it can have come that way; the nodes between that no event tells of; and where the
backward run began, if nothing else came before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hooktrace.doctor.case import Case
from hooktrace.events import (
    CallId,
    Event,
    GradientAccumulated,
    GradientComputed,
    GradientRetained,
    HookFired,
    NodeId,
    Observation,
    TensorId,
    Value,
)
from hooktrace.kinds import KINDS
from hooktrace.log import EventLog
from hooktrace.report.upstream import Upstream
from hooktrace.views.calls import CallIndex

__all__ = ["Origin", "whence"]

_MOST = 12


@dataclass
class Origin:
    """Where one gradient came from.

    Attributes:
        seqs: The events before it on the way; the beginning of the run where none is nearer.
        same: The event that saw the very same tensor at another call; its origins are these.
        through: The nodes in between of which no event tells, in the order of the gradient.
    """

    seqs: list[int] = field(default_factory=list)
    same: int | None = None
    through: list[str] = field(default_factory=list)


def whence(log: EventLog, calls: CallIndex) -> dict[int, Origin]:
    """Return for events of gradients where these came from, by ``seq``."""
    walk = _Walk(Case(log, calls))
    found = {}
    for event in log.of(GradientComputed, HookFired, GradientAccumulated, GradientRetained):
        if isinstance(event, HookFired) and not KINDS[log.hooks[event.hook].kind].gradient:
            continue
        origin = walk.back(event)
        if origin.seqs:
            found[event.seq] = walk.origins[event.seq] = origin
        walk.note(event)
    return found


class _Walk:
    """The events of gradients in order, and what was seen of each run so far."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._up = Upstream(case)
        self._last: dict[tuple[int, Value], Any] = {}
        self._last_of_call: dict[tuple[int, Value, CallId], Any] = {}
        self._fired: dict[tuple[int, TensorId], int] = {}
        self.origins: dict[int, Origin] = {}

    # -------------------------------------------------------------- backwards

    def back(self, event: Event) -> Origin:
        """Return what an event came from."""
        run = self._run(event)
        values = [one.value for one in _arriving(event) if one.value is not None]
        same = [found for one in values if (found := self._same(run, one, event)) is not None]
        twin = next((one for one in same if self._twins(one, event)), None)
        if twin is not None:
            known = self.origins.get(twin.seq, Origin())
            return Origin(known.seqs, twin.seq, known.through)
        origin = Origin([one.seq for one in same]) if same else self._by_structure(run, event)
        if not origin.seqs:
            origin = Origin(self._up.beginning(run))
        return Origin(sorted(dict.fromkeys(origin.seqs))[:_MOST], None, origin.through)

    def _same(self, run: int, value: Value, event: Any) -> Any:
        """Return the last event that left this value, rather one of the same call."""
        call = getattr(event, "call", None)
        own = None if call is None else self._last_of_call.get((run, value, call))
        if own is not None:
            return own
        found = self._last.get((run, value))
        if found is None or self._twins(found, event):
            return found
        apart = self._up.apart(run, self._places(found), self._places(event))
        return None if apart else found

    def _twins(self, one: Any, other: Any) -> bool:
        """Whether two events saw the gradient of one tensor, which is an output of two calls."""
        if not (_of_output(one) and _of_output(other)) or one.call == other.call:
            return False
        output = self._up.output(one)
        return output is not None and output == self._up.output(other)

    def _by_structure(self, run: int, event: Event) -> Origin:
        if isinstance(event, GradientComputed) and event.gradient.role.startswith("grad_input"):
            passed = self._up.passed(run, event.call, "grad_output")
            if passed:
                return Origin(passed)
        tensor = self._tensor(event)
        if tensor is not None and (run, tensor) in self._fired:
            return Origin([self._fired[run, tensor]])
        seqs, through = self._up.walk(run, self._places(event))
        return Origin(seqs, None, through)

    def _tensor(self, event: Event) -> TensorId | None:
        if isinstance(event, (GradientAccumulated, GradientRetained)):
            return event.tensor
        return self._case.log.hooks[event.hook].tensor if isinstance(event, HookFired) else None

    def _places(self, event: Event) -> list[NodeId]:
        """Return the nodes at which an event saw a gradient arrive, as far as they are known."""
        if isinstance(event, GradientComputed):
            if event.node is not None:
                return [event.node]
            node = self._up.node(event)
            return [] if node is None else [node]
        if isinstance(event, HookFired):
            hook = self._case.log.hooks[event.hook]
            if hook.node is not None:
                return [hook.node]
        tensor = self._tensor(event)
        return [] if tensor is None else self._case.nodes_of.get(tensor, [])

    # -------------------------------------------------------------- forwards

    def note(self, event: Any) -> None:
        """Take note of what an event left behind."""
        run = self._run(event)
        for seen in _leaving(event):
            if seen.value is not None:
                self._last[run, seen.value] = event
                if getattr(event, "call", None) is not None:
                    self._last_of_call[run, seen.value, event.call] = event
        if isinstance(event, GradientComputed):
            self._up.note(run, event)
        if isinstance(event, HookFired):
            hook = self._case.log.hooks[event.hook]
            if hook.tensor is not None:
                self._fired[run, hook.tensor] = event.seq
            if hook.kind == "full_backward_pre" and event.edits and event.call is not None:
                self._up.change(run, event.call, event.seq)

    def _run(self, event: Any) -> int:
        number = getattr(event, "backward", None)
        if number is None:
            run = self._case.run_at(event)
            number = -1 if run is None else run.number
        return int(number)


def _of_output(event: Any) -> bool:
    return (
        isinstance(event, GradientComputed)
        and event.call is not None
        and event.gradient.role.startswith("grad_output")
    )


def _arriving(event: Any) -> Iterable[Observation]:
    if isinstance(event, HookFired):
        return [one for one in event.inputs if "grad" in one.role]
    if isinstance(event, GradientAccumulated):
        return [event.arrived] if event.arrived is not None else []
    return [event.gradient]


def _leaving(event: Any) -> Iterator[Observation]:
    """Yield the gradients that are there after an event; what a hook wrote over is no more.

    A hook that is given both what went in and what comes out sends on only what comes out.
    """
    if isinstance(event, HookFired):
        edited = {one.before.value for one in event.edits}
        given = [one for one in event.inputs if "grad" in one.role]
        out = [one for one in given if one.role.startswith("grad_input")]
        yield from (one for one in out or given if one.value not in edited)
        yield from (one.after for one in event.edits)
    elif isinstance(event, GradientAccumulated):
        yield event.after
    else:
        yield event.gradient
