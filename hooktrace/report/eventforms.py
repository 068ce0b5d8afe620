"""The ways to give the events of a run to a page: all that is known, or less of it, or fewer."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from hooktrace.log import EventLog
from hooktrace.report.happened import Detail, events_data
from hooktrace.report.owners import calls_data, hooks_data
from hooktrace.report.parts import Form
from hooktrace.report.phrases import Phrase, say
from hooktrace.views.calls import CallIndex

__all__ = ["Kept", "event_forms"]

Data = dict[str, Any]

_MANY = 20_000  # events of which words take long to write, and too much room
_FEWER = (20_000, 10_000, 5_000, 2_000, 500)


@dataclass
class Kept:
    """How many events the page has, from the first on, once its events have been packed."""

    count: int


def event_forms(log: EventLog, calls: CallIndex, kept: Kept) -> list[Form]:
    """Return the ways to give the events; the richest are not tried where there are very many.

    Args:
        log: What was recorded.
        calls: Its calls.
        kept: Is told how many events the last form that was made has.
    """
    count = len(log.events)

    def form(detail: Detail, *left_out: Phrase, most: int | None = None) -> Form:
        def made() -> Data:
            kept.count = count if most is None else most
            return _with_tables(log, calls, events_data(log, calls, detail, most))

        return Form(made, left_out)

    def beginning(most: int) -> Form:
        told = say("left_last_events", rest=f"{count - most:,}", count=f"{count:,}")
        return form(Detail.CHANGES, told, most=most)

    forms = [
        form(Detail.ALL),
        form(Detail.HOOKS, say("left_seen_without_hooks")),
    ]
    return [
        *(forms if count <= _MANY else ()),
        form(Detail.CHANGES, say("left_seen")),
        *(beginning(most) for most in _FEWER if most < count),
    ]


def _with_tables(log: EventLog, calls: CallIndex, events: list[Data]) -> Data:
    """Return events with the calls and the firings of hooks that belong to them."""
    last = events[-1]["seq"] if events else -1
    hooks = hooks_data(log)
    for one in hooks:
        del one["fired"][bisect_right(one["fired"], last) :]
    called = [one for one in calls_data(calls) if one["first"] <= last]
    return {"events": events, "calls": called, "hooks": hooks}
