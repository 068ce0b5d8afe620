"""The timeline panel's data: what took time as slices, what did not as marks, in bands.

A band is one lane of one thread; its rows hold slices that do not overlap, neither in time nor in
the order of events.  Columns of small numbers stand in place of records, as these compress.  When
something began is not told again: the page has the time of every event.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from hooktrace.events import (
    CallId,
    Event,
    GradientAccumulated,
    GradientComputed,
    GradientOverwritten,
    GradientRetained,
    HookFired,
    HookRegistered,
    HookRemoved,
    ProbeFailed,
    SchedulerStepped,
    TensorWritten,
)
from hooktrace.export.slices import Slice, slices
from hooktrace.kinds import KINDS
from hooktrace.log import EventLog
from hooktrace.report.eventforms import Kept
from hooktrace.report.parts import Form
from hooktrace.report.phrases import Phrase, say
from hooktrace.views.calls import CallIndex
from hooktrace.views.hookuse import changes_something

__all__ = ["LANES", "band_forms", "bands_data", "cut", "lane_of_hook"]

LANES = (
    "changes", "forward", "pre_hooks", "forward_hooks", "saved", "backward", "backward_hooks",
    "tensor_hooks", "gradients", "optimizer", "other_hooks", "registrations",
)  # fmt: skip
"""From top to bottom, what most readers look for first; each is also the key of its words."""

_OF_CATEGORY = {
    "module": "forward",
    "forward": "forward",
    "backward": "backward",
    "module backward": "backward",
    "optimizer": "optimizer",
}
_OF_FAMILY = {
    "tensor": "tensor_hooks",
    "node": "tensor_hooks",
    "backward": "tensor_hooks",
    "communication": "tensor_hooks",
    "thread": "saved",
    "optimizer": "optimizer",
    "state_dict": "other_hooks",
    "registration": "other_hooks",
}
_OF_MODULE_HOOK = {"forward_pre": "pre_hooks", "forward": "forward_hooks"}
_OF_MARK: dict[type[Event], str] = {
    GradientComputed: "gradients",
    GradientAccumulated: "gradients",
    GradientRetained: "gradients",
    GradientOverwritten: "changes",
    TensorWritten: "changes",
    SchedulerStepped: "optimizer",
    HookRegistered: "registrations",
    HookRemoved: "registrations",
    ProbeFailed: "registrations",
}


Name = str | tuple[str, ...]

_OUR_NAMES = {("forward", "forward"): ("slice_forward",), ("backward", "backward"): ("slice_run",)}


@dataclass
class _Placed:
    """A slice, where it stands among the events, and in which row of which band."""

    slice: Slice
    at: int
    first: int
    last: int
    band: tuple[int, int]
    row: int = 0


def lane_of_hook(kind: str) -> str:
    """Return the lane in which hooks of a kind are shown.

    >>> lane_of_hook("full_backward"), lane_of_hook("post_accumulate_grad")
    ('backward_hooks', 'tensor_hooks')
    """
    family = KINDS[kind].family if kind in KINDS else ""
    if family == "module":
        return _OF_MODULE_HOOK.get(kind, "backward_hooks")
    return _OF_FAMILY.get(family, "other_hooks")


def bands_data(
    log: EventLog, calls: CallIndex, *, marks: bool = True, rows: int | None = None
) -> dict[str, Any]:
    """Return the slices and marks of a trace.

    Args:
        log: What was recorded.
        calls: Its calls.
        marks: Whether to give what took no time.
        rows: How many rows of a band are given; None for all.

    Returns:
        ``bands``: for each its thread, its lane and its number of rows.  ``names``: what stands on
        slices, a text, or the key of words and what to insert.  ``slices``: columns; ``first`` is
        how many events it begins after the one before, ``span`` how many events later it ends,
        ``at`` how many later its own event is, ``ns`` how long it took.  ``marks``: columns ``at``
        (as ``first``) and ``band``.
    """
    shown = [one for one in _placed(log, calls) if rows is None or one.row < rows]
    found = list(_marks(log)) if marks else []
    heights: dict[tuple[int, int], int] = dict.fromkeys((band for _, band in found), 1)
    for one in shown:
        heights[one.band] = max(heights.get(one.band, 0), one.row + 1)
    bands = {band: place for place, band in enumerate(sorted(heights))}
    names: dict[Name, int] = {}
    events = log.events
    return {
        "bands": [[thread, LANES[lane], heights[thread, lane]] for thread, lane in bands],
        "slices": {
            "first": _steps([one.first for one in shown]),
            "span": [one.last - one.first for one in shown],
            "at": [one.at - one.first for one in shown],
            "ns": [one.slice.end_ns - one.slice.start_ns for one in shown],
            "band": [bands[one.band] for one in shown],
            "row": [one.row for one in shown],
            "name": [
                names.setdefault(_name(log, calls, one.slice, events[one.at]), len(names))
                for one in shown
            ],
        },
        "marks": {
            "at": _steps([place for place, _ in found]),
            "band": [bands[band] for _, band in found],
        },
        "names": list(names),
    }


def _placed(log: EventLog, calls: CallIndex) -> Iterator[_Placed]:
    """Yield the slices in the order of their first events, the outer before the inner.

    Each stands in the row below whatever of its band still runs when it begins.
    """
    events = log.events
    places = {event.seq: place for place, event in enumerate(events)}
    inside = dict(_beginnings(events))
    found = []
    for one in slices(log, calls):
        at, last = places[one.first], places[one.last]
        lane = LANES.index(_lane(log, one, events[at]))
        found.append(_Placed(one, at, inside.get(at, at), last, (one.thread, lane)))
    found.sort(key=lambda one: (one.first, -one.last, one.slice.depth))
    running: dict[tuple[int, int], list[_Placed]] = defaultdict(list)
    for placed in found:
        around = running[placed.band]
        while around and around[-1].last < placed.first:
            around.pop()
        placed.row = around[-1].row + 1 if around else 0
        around.append(placed)
        yield placed


def _beginnings(events: Sequence[Event]) -> Iterator[tuple[int, int]]:
    """Yield for each firing, which is told when it is over, the place of the first event inside."""
    threads: dict[int, list[tuple[int, Event]]] = defaultdict(list)
    for place, event in enumerate(events):
        before = threads[event.thread]
        if isinstance(event, HookFired):
            first = place
            for earlier, other in reversed(before):
                if other.time_ns < event.time_ns:
                    break
                first = earlier
            yield place, first
        before.append((place, event))


def _lane(log: EventLog, one: Slice, event: Event) -> str:
    if isinstance(event, HookFired):
        return lane_of_hook(log.hooks[event.hook].kind)
    return _OF_CATEGORY[one.category]


def _name(log: EventLog, calls: CallIndex, one: Slice, event: Event) -> Name:
    """Return what stands on a slice; the lane says what kind of hook it is."""
    if isinstance(event, HookFired):
        hook = log.hooks[event.hook]
        return ("slice_hook", hook.name, hook.owner) if hook.owner else hook.name
    if one.category == "module backward" and one.call is not None:
        return "slice_module_backward", calls.calls[CallId(one.call)].name
    return _OUR_NAMES.get((one.category, one.name), one.name)


def _marks(log: EventLog) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield what took no time, and every change by a hook: place and band."""
    for place, event in enumerate(log.events):
        lane = _OF_MARK.get(type(event))
        if isinstance(event, HookFired) and (event.exception or changes_something(log, event)):
            lane = "changes"
        if lane is not None:
            yield place, (event.thread, LANES.index(lane))


def _steps(numbers: Iterable[int]) -> list[int]:
    """Return each number less the one before it."""
    found, before = [], 0
    for one in numbers:
        found.append(one - before)
        before = one
    return found


def band_forms(log: EventLog, calls: CallIndex, kept: Kept) -> list[Form]:
    """Return the ways to give the timeline of the events that are kept, with ever less in it."""

    def form(*left_out: Phrase, **options: Any) -> Form:
        return Form(lambda: cut(bands_data(log, calls, **options), kept.count), left_out)

    def deep(rows: int) -> Form:
        return form(say("left_marks_and_deep", rows=str(rows)), marks=False, rows=rows)

    return [form(), form(say("left_marks"), marks=False), *map(deep, (4, 2, 1))]


def cut(data: dict[str, Any], count: int) -> dict[str, Any]:
    """Return what is at the first `count` events; what goes on beyond them ends at the last."""
    slices, marks = data["slices"], data["marks"]
    first, at = list(accumulate(slices["first"])), list(accumulate(marks["at"]))
    begun = [one for one, place in enumerate(first) if place + slices["at"][one] < count]
    shown = {name: [column[one] for one in begun] for name, column in slices.items()}
    shown["first"] = _steps([first[one] for one in begun])
    shown["span"] = [min(slices["span"][one], count - 1 - first[one]) for one in begun]
    marked = [one for one, place in enumerate(at) if place < count]
    kept = {name: [column[one] for one in marked] for name, column in marks.items()}
    kept["at"] = _steps([at[one] for one in marked])
    return {**data, "slices": shown, "marks": kept}
