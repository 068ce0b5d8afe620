"""What events belong to, as the page's data: calls and hooks."""

from __future__ import annotations

from typing import Any

from hooktrace.events import HookFired, TracedHook
from hooktrace.log import EventLog
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.hookuse import changes_something

__all__ = ["calls_data", "hooks_data"]

Data = dict[str, Any]


def calls_data(calls: CallIndex) -> list[Data]:
    """Return the calls in order."""
    return [_call(one) for one in calls]


def _call(call: Call) -> Data:
    found: Data = {
        "id": call.id,
        "name": call.name,
        "index": call.index,
        "type": call.module.type,
        "config": call.module.config,
        "first": call.called.seq,
        "last": max(one.seq for one in call.events),
        "parent": None if call.parent is None else call.parent.id,
        "us": None if call.duration_ns is None else round(call.duration_ns / 1e3, 3),
        "recomputed": call.recomputed or None,
        "raised": call.exception,
    }
    return {key: value for key, value in found.items() if value is not None}


def hooks_data(log: EventLog) -> list[Data]:
    """Return the hooks in the order of their numbers."""
    firings: dict[int, list[HookFired]] = {}
    for event in log.of(HookFired):
        firings.setdefault(event.hook, []).append(event)
    return [_hook(log, row, firings.get(row.id, [])) for row in log.hooks]


def _hook(log: EventLog, row: TracedHook, fired: list[HookFired]) -> Data:
    return {
        "id": row.id,
        "kind": row.kind,
        "owner": row.owner,
        "name": row.name,
        "options": list(row.options),
        "feature": row.feature,
        "fired": [one.seq for one in fired],
        "changed": sum(changes_something(log, one) for one in fired),
        "raised": sum(bool(one.exception) for one in fired),
    }
