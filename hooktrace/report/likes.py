"""Which box shows a call, and which call an event is shown at that belongs to none."""

from __future__ import annotations

from collections import defaultdict

from hooktrace.events import CallId, GradientAccumulated, HookFired, TensorId
from hooktrace.log import EventLog
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.nesting import Nesting

__all__ = ["home_of"]


def home_of(
    log: EventLog, calls: CallIndex, nesting: Nesting | None
) -> tuple[dict[CallId, CallId], dict[int, CallId]]:
    """Return for calls without a box their like that has one; and for events a call.

    Args:
        log: The trace.
        calls: All calls.
        nesting: What is drawn; None if no module was called.
    """
    if nesting is None:
        return {}, {}
    shown = nesting.whole.home
    drawn: dict[str, list[CallId]] = defaultdict(list)
    for number in sorted(shown):
        drawn[calls.calls[number].name].append(shown[number].call.id)
    counts: dict[tuple[CallId, str], int] = defaultdict(int)
    homes: dict[CallId, CallId] = {}
    for call in calls:
        like = _like(call, nesting, drawn, counts)
        if like is not None:
            homes[call.id] = like
    near = _near(log, drawn)
    return {call: like for call, like in homes.items() if call != like}, near


def _like(
    call: Call,
    nesting: Nesting,
    drawn: dict[str, list[CallId]],
    counts: dict[tuple[CallId, str], int],
) -> CallId | None:
    """Return the call whose box shows this one: of another step, the one of the same turn."""
    item = nesting.home((call.first or call).id)
    if item is not None:
        return item.call.id
    there = drawn.get(call.name)
    if not there:
        return None
    turn = counts[call.root.id, call.name]
    counts[call.root.id, call.name] += 1
    return there[min(turn, len(there) - 1)]


def _near(log: EventLog, drawn: dict[str, list[CallId]]) -> dict[int, CallId]:
    """Show what happens to a parameter at the module that owns it."""
    owners: dict[TensorId, CallId] = {}
    for row in log.tensors:
        found = drawn.get(row.name.rpartition(".")[0]) if row.parameter else None
        if found:
            owners[row.id] = found[-1]
    near: dict[int, CallId] = {}
    for event in log.events:
        tensor = None
        if isinstance(event, GradientAccumulated):
            tensor = event.tensor
        elif isinstance(event, HookFired) and event.call is None:
            tensor = log.hooks[event.hook].tensor
        if tensor in owners:
            near[event.seq] = owners[tensor]
    return near
