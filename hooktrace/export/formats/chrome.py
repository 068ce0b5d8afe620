"""The Trace Event Format of Chrome: what Perfetto's UI and chrome://tracing open.

Times are in microseconds with three decimals, counted from the first event.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hooktrace import __version__
from hooktrace.events import (
    Event,
    GradientAccumulated,
    GradientComputed,
    GradientOverwritten,
    GradientRetained,
    HookRegistered,
    HookRemoved,
    Observation,
    ProbeFailed,
    SchedulerStepped,
    TensorWritten,
)
from hooktrace.export.exporter import exporter
from hooktrace.export.profiles import Profile, read_profile
from hooktrace.export.rows import named_tensor
from hooktrace.export.slices import Slice, lanes, slices
from hooktrace.log import EventLog
from hooktrace.render.listing import told
from hooktrace.views.calls import CallIndex

Item = dict[str, Any]

_INSTANTS = (
    GradientComputed, GradientAccumulated, GradientRetained, GradientOverwritten, TensorWritten,
    HookRegistered, HookRemoved, SchedulerStepped, ProbeFailed,
)  # fmt: skip
_LANES = 1000  # thread numbers from one lane to the next


@exporter("chrome", ".trace.json")
def to_chrome(log: EventLog, calls: CallIndex, *, merge: Path | None = None) -> str:
    """A timeline for ui.perfetto.dev and chrome://tracing.

    Args:
        merge: What torch.profiler wrote of the same run by export_chrome_trace: its events and
            these come onto one time axis.
    """
    profile = None if merge is None else read_profile(Path(merge), log.surroundings.epoch_ns)
    content = {
        **({} if profile is None else profile.rest),
        "displayTimeUnit": "ns" if profile is None else profile.rest.get("displayTimeUnit", "ms"),
        "otherData": {"tool": f"hooktrace {__version__}", "torch": log.surroundings.torch},
        "traceEvents": [
            *([] if profile is None else profile.events),
            *_Writer(log, calls, profile).items(),
        ],
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"


class _Writer:
    """Writes slices, arrows, instants and counters as items of one process."""

    def __init__(self, log: EventLog, calls: CallIndex, profile: Profile | None) -> None:
        self.log = log
        self.calls = calls
        self.slices = slices(log, calls)
        self.lanes = lanes(self.slices)
        first = min([event.time_ns for event in log.events], default=0)
        self.zero_ns = first if profile is None else profile.zero_ns
        self.process = 1 if profile is None else profile.free_process

    def items(self) -> Iterator[Item]:
        """Yield everything, in the order of time where that matters."""
        yield from self._names()
        for one in sorted(self.slices, key=lambda one: (one.start_ns, -one.end_ns, one.depth)):
            yield self._slice(one)
        yield from self._arrows()
        for event in self.log.of(*_INSTANTS):
            yield self._instant(event)
        yield from self._counters()

    def _names(self) -> Iterator[Item]:
        yield self._about("process_name", 0, name="hooktrace")
        yield self._about("process_sort_index", 0, sort_index=-1)
        instants = {(event.thread, 0) for event in self.log.of(*_INSTANTS)}
        used = {(one.thread, lane) for one, lane in self.lanes.items()} | instants
        for place, (thread, lane) in enumerate(sorted(used)):
            name = f"thread {thread}" + (f", branches beside {lane}" if lane else "")
            yield self._about("thread_name", self._row(thread, lane), name=name)
            yield self._about("thread_sort_index", self._row(thread, lane), sort_index=place)

    def _about(self, what: str, row: int, **args: Any) -> Item:
        return {"ph": "M", "name": what, "pid": self.process, "tid": row, "args": args}

    def _row(self, thread: int, lane: int = 0) -> int:
        return lane * _LANES + thread + 1

    def _at(self, time_ns: int) -> float:
        return round((time_ns - self.zero_ns) / 1000, 3)

    def _slice(self, one: Slice) -> Item:
        return {
            "ph": "X",
            "name": one.name,
            "cat": one.category,
            "pid": self.process,
            "tid": self._row(one.thread, self.lanes[one]),
            "ts": self._at(one.start_ns),
            "dur": round((one.end_ns - one.start_ns) / 1000, 3),
            "args": {name: value for name, value in one.args.items() if value != ""},
        }

    def _arrows(self) -> Iterator[Item]:
        """Yield an arrow from each call to each of its ways back."""
        forwards = {one.call: one for one in self.slices if one.category == "module"}
        backs = [one for one in self.slices if one.category == "module backward"]
        for number, back in enumerate(backs):
            yield self._end("s", number, forwards[back.call])
            yield self._end("f", number, back) | {"bp": "e"}

    def _end(self, phase: str, number: int, one: Slice) -> Item:
        return {
            "ph": phase,
            "id": number,
            "name": "forward to backward",
            "cat": "backward",
            "pid": self.process,
            "tid": self._row(one.thread, self.lanes[one]),
            "ts": self._at(one.start_ns),
        }

    def _instant(self, event: Event) -> Item:
        call = self.calls.calls.get(getattr(event, "call", None))  # type: ignore[arg-type]
        of = named_tensor(self.log, getattr(event, "tensor", None)) if call is None else call.name
        return {
            "ph": "i",
            "s": "t",
            "name": f"{event.label} {of}" if of else event.label,
            "cat": event.label,
            "pid": self.process,
            "tid": self._row(event.thread),
            "ts": self._at(event.time_ns),
            "args": {"seq": event.seq, "text": told(self.log, event, call)},
        }

    def _counters(self) -> Iterator[Item]:
        """Yield the norms of gradients, where statistics were taken."""
        for accumulated in self.log.of(GradientAccumulated):
            name = f"{named_tensor(self.log, accumulated.tensor)}.grad"
            yield from self._norm(name, accumulated, accumulated.after)
        for computed in self.log.of(GradientComputed):
            seen = computed.gradient
            call = None if computed.call is None else self.calls.calls.get(computed.call)
            if call is not None and seen.role == "grad_output[0]":
                yield from self._norm(f"grad_output of {call.name}", computed, seen)

    def _norm(self, name: str, event: Event, seen: Observation) -> Iterator[Item]:
        stats = self.log.stats.of(seen)
        if stats is not None and math.isfinite(stats.norm):
            yield {
                "ph": "C",
                "name": f"norm of {name}",
                "pid": self.process,
                "tid": 0,
                "ts": self._at(event.time_ns),
                "args": {"norm": stats.norm},
            }
