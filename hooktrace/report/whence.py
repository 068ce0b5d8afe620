"""Where gradients came from: for each event of a gradient, the events before it on the way.

Only what is certain is told: that it is the very same value, that it left the calls which used the
tensor, that it went into the call which it now leaves, that a node of a call sent it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from hooktrace.views.calls import Call, CallIndex

__all__ = ["whence"]

_MOST = 12


def whence(log: EventLog, calls: CallIndex) -> dict[int, list[int]]:
    """Return for events of gradients the events that these came from, by ``seq``."""
    walk = _Walk(Case(log, calls))
    found = {}
    for event in log.of(GradientComputed, HookFired, GradientAccumulated, GradientRetained):
        if isinstance(event, HookFired) and not KINDS[log.hooks[event.hook].kind].gradient:
            continue
        seqs = list(dict.fromkeys(walk.back(event)))[:_MOST]
        if seqs:
            found[event.seq] = sorted(seqs)
        walk.note(event)
    return found


class _Walk:
    """The events of gradients in order, and what was seen of each run so far."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._last: dict[tuple[int, Value], int] = {}
        self._last_of_call: dict[tuple[int, Value, CallId], int] = {}
        self._at_node: dict[tuple[int, NodeId], int] = {}
        self._passed: dict[tuple[int, CallId, str], list[int]] = {}
        self._fired: dict[tuple[int, TensorId], int] = {}
        self._users: dict[Value, list[Call]] = {}
        for call in case.calls:
            for seen in call.seen_inputs:
                if seen.value is not None:
                    self._users.setdefault(seen.value, []).append(call)

    # -------------------------------------------------------------- backwards

    def back(self, event: Event) -> Iterator[int]:
        """Yield what an event came from."""
        run = self._run(event)
        values = [one.value for one in _arriving(event) if one.value is not None]
        same = [found for one in values if (found := self._same(run, one, event)) is not None]
        if same:
            yield from same
        elif isinstance(event, GradientComputed):
            yield from self._of_call(run, event) if event.call is not None else ()
            yield from self._of_nodes(run, [event.node] if event.node is not None else [])
        elif isinstance(event, (GradientAccumulated, GradientRetained)):
            yield from self._of_tensor(run, event.tensor)
        elif isinstance(event, HookFired):
            hook = self._case.log.hooks[event.hook]
            if hook.tensor is not None:
                yield from self._of_tensor(run, hook.tensor)

    def _same(self, run: int, value: Value, event: Any) -> int | None:
        """Return the last event that left this value, rather one of the same call."""
        call = getattr(event, "call", None)
        own = None if call is None else self._last_of_call.get((run, value, call))
        return self._last.get((run, value)) if own is None else own

    def _of_call(self, run: int, event: GradientComputed) -> Iterator[int]:
        """Yield where a gradient at a call came from: through it, or out of those that used it."""
        assert event.call is not None
        if event.gradient.role.startswith("grad_input"):
            yield from self._passed.get((run, event.call, "grad_output"), ())
            return
        outputs = [
            one.value for one in self._case.calls.calls[event.call].seen_outputs if one.value
        ]
        users = [call for value in outputs for call in self._users.get(value, ())]
        for call in _innermost(users):
            yield from self._passed.get((run, call.id, "grad_input"), ())

    def _of_tensor(self, run: int, tensor: TensorId) -> Iterator[int]:
        """Yield the last hook at a tensor, or else what came to the calls whose nodes sent it."""
        if (run, tensor) in self._fired:
            yield self._fired[run, tensor]
            return
        yield from self._of_nodes(run, self._case.nodes_of.get(tensor, ()))

    def _of_nodes(self, run: int, nodes: Iterable[NodeId]) -> Iterator[int]:
        """Yield what came to the nodes that sent gradients to these, or to their calls."""
        for sender in (one for node in nodes for one in self._case.senders.get(node, ())):
            call = self._case.log.nodes[sender].call
            if (run, sender) in self._at_node:
                yield self._at_node[run, sender]
            elif call is not None:
                yield from self._passed.get((run, call, "grad_output"), ())

    # -------------------------------------------------------------- forwards

    def note(self, event: Any) -> None:
        """Take note of what an event left behind."""
        run = self._run(event)
        for seen in _leaving(event):
            if seen.value is not None:
                self._last[run, seen.value] = event.seq
                if getattr(event, "call", None) is not None:
                    self._last_of_call[run, seen.value, event.call] = event.seq
        if isinstance(event, GradientComputed) and event.node is not None:
            self._at_node[run, event.node] = event.seq
        if isinstance(event, GradientComputed) and event.call is not None:
            kind = event.gradient.role.partition("[")[0]
            self._passed.setdefault((run, event.call, kind), []).append(event.seq)
        if isinstance(event, HookFired):
            tensor = self._case.log.hooks[event.hook].tensor
            if tensor is not None:
                self._fired[run, tensor] = event.seq

    def _run(self, event: Any) -> int:
        number = getattr(event, "backward", None)
        if number is None:
            run = self._case.run_at(event)
            number = -1 if run is None else run.number
        return int(number)


def _arriving(event: Any) -> Iterable[Observation]:
    if isinstance(event, HookFired):
        return [one for one in event.inputs if "grad" in one.role]
    if isinstance(event, GradientAccumulated):
        return [event.arrived] if event.arrived is not None else []
    return [event.gradient]


def _leaving(event: Any) -> Iterator[Observation]:
    """Yield the gradients that are there after an event; what a hook wrote over is no more."""
    if isinstance(event, HookFired):
        edited = {one.before.value for one in event.edits}
        yield from (one for one in event.inputs if "grad" in one.role and one.value not in edited)
        yield from (one.after for one in event.edits)
    elif isinstance(event, GradientAccumulated):
        yield event.after
    else:
        yield event.gradient


def _innermost(calls: list[Call]) -> Iterator[Call]:
    """Yield the calls that no other one of them is inside of."""
    around = {id(one.parent) for one in calls if one.parent is not None}
    yield from (one for one in dict.fromkeys(calls) if id(one) not in around)
