"""What took time, as spans: module calls, hooks, backward runs, steps of optimizers."""

from __future__ import annotations

from dataclasses import dataclass

from hooktrace.events import BackwardFinished, BackwardStarted, HookFired, StepFinished, StepStarted
from hooktrace.log import EventLog
from hooktrace.views.calls import CallIndex
from hooktrace.views.hookuse import changes_something

__all__ = ["Span", "spans"]


@dataclass(frozen=True)
class Span:
    """Something that took time.

    Attributes:
        kind: ``call``, ``hook``, ``backward`` or ``step``.
        name: What it was.
        start_ns, end_ns: When; the end is None if it did not end while the trace was open.
        depth: How many spans are around it.
        note: What became of it, such as ``raised``; empty if nothing is to be said.
    """

    kind: str
    name: str
    start_ns: int
    end_ns: int | None
    depth: int = 0
    note: str = ""


def spans(log: EventLog, calls: CallIndex) -> list[Span]:
    """Return all spans in the order of their beginnings, each with its depth."""
    found = [*_calls(calls), *_hooks(log), *_backwards(log), *_steps(log)]
    latest = max((one.end_ns or one.start_ns for one in found), default=0)
    found.sort(key=lambda one: (one.start_ns, -(one.end_ns or latest)))
    nested: list[Span] = []
    ends: list[int] = []
    for one in found:
        while ends and ends[-1] <= one.start_ns:
            ends.pop()
        nested.append(Span(one.kind, one.name, one.start_ns, one.end_ns, len(ends), one.note))
        ends.append(one.end_ns or latest)
    return nested


def _calls(calls: CallIndex) -> list[Span]:
    return [
        Span(
            "call",
            f"{call.name}",
            call.called.time_ns,
            None if call.exited is None else call.exited.time_ns,
            note="raised" if call.exception else "recomputed" if call.recomputed else "",
        )
        for call in calls
    ]


def _hooks(log: EventLog) -> list[Span]:
    found = []
    for event in log.of(HookFired):
        hook = log.hooks[event.hook]
        changed = changes_something(log, event)
        note = "raised" if event.exception else "changed" if changed else "observed"
        name = f"{hook.kind} hook {hook.name.replace('<locals>.', '')} on {hook.owner}"
        end = event.time_ns + event.duration_ns
        found.append(Span("hook", name, event.time_ns, end, note=note))
    return found


def _backwards(log: EventLog) -> list[Span]:
    ends = {event.backward: event for event in log.of(BackwardFinished)}
    found = []
    for event in log.of(BackwardStarted):
        end = ends.get(event.backward)
        note = "raised" if end is not None and end.exception else ""
        time = None if end is None else end.time_ns
        found.append(
            Span("backward", f"backward {event.backward + 1}", event.time_ns, time, note=note)
        )
    return found


def _steps(log: EventLog) -> list[Span]:
    ends = {event.step: event for event in log.of(StepFinished)}
    return [
        Span(
            "step",
            f"step of {event.optimizer}",
            event.time_ns,
            ends[event.step].time_ns if event.step in ends else None,
        )
        for event in log.of(StepStarted)
    ]
