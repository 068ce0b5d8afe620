"""The timeline as the page's data: events, with what was seen and changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Any

from hooktrace.doctor.case import Case
from hooktrace.events import (
    Edit,
    Event,
    GradientComputed,
    HookFired,
    Observation,
    SchedulerStepped,
    TensorSummary,
    format_numbers,
)
from hooktrace.log import EventLog
from hooktrace.report.cases import Cases
from hooktrace.report.sources import shown_frames, shown_place, told_of
from hooktrace.report.whence import Origin, whence
from hooktrace.views.calls import CallIndex
from hooktrace.views.effects import EditView, WriteView, writes

__all__ = ["Detail", "events_data"]

Data = dict[str, Any]

_FIELDS = {  # field of an event -> key in the page
    "call": "call",
    "hook": "hook",
    "backward": "backward",
    "exception": "raised",
    "note": "note",
    "line": "line",
    "traceback": "note",
    "optimizer": "optimizer",
    "mode": "mode",
}
_SHOWN = {"line": shown_place, "traceback": shown_frames}  # what names files of this machine
_SEEN = {  # field -> key, for what was seen
    "inputs": "inputs",
    "outputs": "outputs",
    "roots": "inputs",
    "returned": "outputs",
    "arrived": "arrived",
    "gradient": "gradient",
}


class Detail(IntEnum):
    """How much is told of each event."""

    CHANGES = 0
    """What it is, and what hooks changed."""
    HOOKS = 1
    """Also in words, and what hooks saw."""
    ALL = 2
    """Also what was seen at events that no hook has to do with."""


def events_data(
    log: EventLog, calls: CallIndex, detail: Detail = Detail.ALL, most: int | None = None
) -> list[Data]:
    """Return the events in order.

    Args:
        log: What was recorded.
        calls: Its calls.
        detail: How much is told of each.
        most: How many, from the first on; None for all.
    """
    return _Teller(log, calls, detail).tell(log.events[:most])


class _Teller:
    """Tells events."""

    def __init__(self, log: EventLog, calls: CallIndex, detail: Detail) -> None:
        self.log = log
        self.calls = calls
        self.detail = detail
        self.start_ns = log.events[0].time_ns if log.events else 0
        self.written = {one.seq: one for one in writes(log, calls)}
        self.cases = Cases(Case(log, calls))
        self.origins = whence(log, calls) if detail >= Detail.HOOKS else {}

    def tell(self, events: Iterable[Event]) -> list[Data]:
        """Return what the page is to know of events."""
        return [self._event(one) for one in events]

    def _event(self, event: Event) -> Data:
        found: Data = {
            "seq": event.seq,
            "us": round((event.time_ns - self.start_ns) / 1e3, 3),
            "kind": event.label,
        }
        case = self.cases.key(event)
        if case != event.label.replace(" ", "_"):
            found["case"] = case
        if event.thread:
            found["thread"] = event.thread
        for name, key in _FIELDS.items():
            value = getattr(event, name, None)
            if value is not None and value != "":
                found[key] = _SHOWN[name](value) if name in _SHOWN else value
        own = getattr(event, "tensor", None)
        if own is not None:
            found["tensor"] = self.log.tensors[own].name or f"t{own}"
        if isinstance(event, GradientComputed):
            found["role"] = event.gradient.role
            if event.node is not None:
                found["node"] = self.log.nodes[event.node].name
        if isinstance(event, SchedulerStepped):
            found["scheduler"] = event.scheduler
            found["rates"] = [event.before, event.after]
        hooked = isinstance(event, HookFired)
        if isinstance(event, HookFired):
            found.update(self._firing(event))
        if event.seq in self.written:
            found["written"], hooked = _write(self.written[event.seq]), True
        if event.seq in self.origins:
            found.update(_origin(self.origins[event.seq]))
        if self.detail >= Detail.HOOKS:
            call = self.calls.calls.get(found.get("call"))  # type: ignore[arg-type]
            found["text"] = told_of(self.log, event, call)
        if self.detail is Detail.ALL or (hooked and self.detail is Detail.HOOKS):
            found.update(_sightings(self.log, event))
        return found

    def _firing(self, event: HookFired) -> Data:
        found: Data = {"took": round(event.duration_ns / 1e3, 3)}
        run = self.cases.run(event)
        if run is not None:
            found["backward"] = run
        if event.edits:
            found["edits"] = [_edit(self.log, event, one) for one in event.edits]
        return found


def _origin(origin: Origin) -> Data:
    found: Data = {"from": origin.seqs}
    if origin.same is not None:
        found["same"] = origin.same
    if origin.through:
        found["through"] = origin.through
    return found


def _sightings(log: EventLog, event: Event) -> Iterator[tuple[str, list[Data]]]:
    """Yield what an event saw, by what it was to it."""
    for name, key in _SEEN.items():
        seen = getattr(event, name, None)
        if isinstance(seen, Observation):
            seen = (seen,)
        if seen and isinstance(seen, tuple):
            yield key, seen_data(log, seen)
    before, after = getattr(event, "before", None), getattr(event, "after", None)
    if isinstance(after, Observation):
        yield "after", seen_data(log, [after])
        if isinstance(before, Observation):
            yield "before", seen_data(log, [before])


def seen_data(log: EventLog, seen: Iterable[Observation]) -> list[Data]:
    """Return sightings as the page shows them."""
    return [_sighting(log, one) for one in seen]


def _sighting(log: EventLog, one: Observation) -> Data:
    tensor = isinstance(one.summary, TensorSummary)
    found: Data = {"role": one.role, "what": str(one.summary)}
    if one.value is not None:
        found["value"] = str(one.value)
        name = log.tensors[one.value.tensor].name
        if name:
            found["name"] = name
    if one.numbers is not None:
        found["numbers"] = format_numbers(one.numbers, 16)
    if tensor and one.summary.requires_grad:  # type: ignore[union-attr]
        found["grad"] = True
    stats = log.stats.of(one)
    if stats is not None:
        names = ("min", "max", "mean", "std", "norm", "nan", "inf", "zeros", "total")
        found["stats"] = {name: _number(getattr(stats, name)) for name in names}
    return found


def _number(value: float) -> Any:
    """Return a number as JSON can hold it."""
    return (
        value
        if isinstance(value, int)
        else float(f"{value:.6g}")
        if value == value and abs(value) != float("inf")
        else str(value)
    )


def _edit(log: EventLog, event: HookFired, edit: Edit) -> Data:
    view = EditView(log, event, edit)
    change = view.change
    found: Data = {
        "role": edit.role,
        "how": edit.how,
        "kind": change.kind,
        "text": change.text,
        "before": _sighting(log, edit.before),
        "after": _sighting(log, edit.after),
    }
    if view.together is not None:
        found["together"] = view.together
    if change.changed is not None:
        found["changed"], found["total"] = change.changed, change.total
    if change.max_difference is not None:
        found["difference"] = _number(change.max_difference)
    if change.reason:
        found["reason"] = change.reason
    return found


def _write(write: WriteView) -> Data:
    return {
        "what": write.what,
        "by": write.by,
        "certain": write.certain,
        "before": str(write.before),
        "after": str(write.after),
    }
