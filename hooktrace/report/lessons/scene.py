"""What the kinds of questions look up: what is certain in a log, and how to name things."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from operator import attrgetter

from hooktrace.doctor.case import Case
from hooktrace.events import (
    BackwardFinished,
    Event,
    HookFired,
    Observation,
    ProbeFailed,
    TensorId,
    TensorSummary,
    TracedHook,
    format_numbers,
)
from hooktrace.kinds import KINDS
from hooktrace.log import EventLog
from hooktrace.report.phrases import Phrase, say
from hooktrace.views.call import Call
from hooktrace.views.calls import CallIndex

__all__ = ["Scene", "shown"]

_MOST_NUMBERS = 4
_ON_MODULES = {kind.name for kind in KINDS.values() if kind.family == "module"}
_COPIED_BYTES = 1 << 20  # of what is larger, hooks' arguments are not compared


class Scene:
    """A log as the questions look at it.

    Args:
        log: What was recorded.
        calls: The index of its calls.
    """

    def __init__(self, log: EventLog, calls: CallIndex) -> None:
        self.log = log
        self.calls = calls
        self.case = Case(log, calls)

    @cached_property
    def whole(self) -> bool:
        """Whether nothing is missing of what was to be recorded."""
        left_out = self.log.origin is not None and self.log.origin.left_out
        return len(self.log.events) > 1 and not self.log.of(ProbeFailed) and not left_out

    # -------------------------------------------------------------- places

    def before(self, seq: int) -> int | None:
        """Return the event before another one; None if it is the first."""
        place = bisect_left(self.log.events, seq, key=attrgetter("seq"))
        return self.log.events[place - 1].seq if place else None

    def stop_before(self, firing: HookFired) -> int | None:
        """Return the last event before a hook was called: its writes are told before it is."""
        events = self.log.events
        place = bisect_left(events, firing.seq, key=attrgetter("seq"))
        while place and events[place - 1].time_ns >= firing.time_ns:
            place -= 1
        found = events[place - 1].seq if place else None
        return found if found is not None and self.alone(found, firing.seq) else None

    def alone(self, first: int, last: int) -> bool:
        """Whether one thread only did something between two events, both included."""
        return len({one.thread for one in self.between(first, last)}) <= 1

    def between(self, first: int, last: int) -> list[Event]:
        """Return the events between two numbers, both included."""
        events = self.log.events
        start = bisect_left(events, first, key=attrgetter("seq"))
        return events[start : bisect_left(events, last + 1, key=attrgetter("seq"))]

    # -------------------------------------------------------------- what is plain

    def plain(self, call: Call | None) -> bool:
        """Whether a call ran once and returned: checkpointing did not repeat it."""
        if call is None:
            return True
        several = call.recomputed or call.recomputations or call.id in self.log.reentrant
        return not several and call.exited is not None and call.exited.exception is None

    @cached_property
    def runs(self) -> set[int]:
        """The backward runs that ended well and were neither nested nor a transform's."""
        ended = {one.backward: one for one in self.log.of(BackwardFinished)}
        return {
            run.number
            for run in self.case.runs
            if run.number in ended
            and ended[run.number].exception is None
            and "transform" not in run.started.options
            and self.case.run_at(run.started) is None
        }

    @cached_property
    def firings(self) -> list[HookFired]:
        """The firings of the user's hooks that returned, where nothing was repeated."""
        return [one for one in self.log.of(HookFired) if self._plainly_fired(one)]

    def _plainly_fired(self, firing: HookFired) -> bool:
        if self.log.hooks[firing.hook].feature or firing.exception is not None:
            return False
        run = self.case.run_at(firing)
        return self.plain(self.call(firing)) and (run is None or run.number in self.runs)

    def call(self, firing: HookFired) -> Call | None:
        """Return the module call that a firing belongs to."""
        return None if firing.call is None else self.calls.calls.get(firing.call)

    def untouched(self, firing: HookFired, seen: Observation) -> bool:
        """Whether it is certain that a hook which changed nothing left an argument as it was."""
        summary = seen.summary
        return (
            not firing.edits
            and self.log.copies
            and seen.value is not None
            and seen.value.version is not None
            and isinstance(summary, TensorSummary)
            and summary.size_bytes <= _COPIED_BYTES
            and not (summary.requires_grad and seen.role.startswith("grad"))
        )

    # -------------------------------------------------------------- names

    def hook(self, hook: TracedHook) -> Phrase:
        """Return how a hook is called: ``forward hook double on features.0``."""
        owner = self.case.owner(hook)
        if hook.kind == "retain_grad":
            return say("lesson_hook_retain", owner=owner)
        if hook.module is None and hook.kind in _ON_MODULES:
            return say("lesson_hook_global", kind=hook.kind, name=hook.name)
        key = "lesson_hook_prepend" if "prepend" in hook.options else "lesson_hook"
        return say(key, kind=hook.kind, name=hook.name, owner=owner)

    def name(self, tensor: TensorId) -> str:
        """Return the name of a tensor; empty if it has none of its own."""
        name = self.log.tensors[tensor].name
        return name if name and self._named.get(name) == 1 else ""

    @cached_property
    def _named(self) -> dict[str, int]:
        names = [row.name for row in self.log.tensors if row.name]
        return {name: names.count(name) for name in dict.fromkeys(names)}

    def title(self, call: Call) -> str:
        """Return what a call's module is called; with the number of the call if it has several."""
        if self.calls.count(call.name) == 1:
            return call.module.title
        return f"{call} ({call.module.type})" if call.name.isdigit() else str(call)

    def once(self) -> Iterator[Call]:
        """Yield the plain calls."""
        return (call for call in self.calls if self.plain(call))


def shown(seen: Observation | None) -> str | None:
    """Return the numbers of a small tensor as a reader sees them; None of any other."""
    if seen is None or seen.numbers is None or not isinstance(seen.summary, TensorSummary):
        return None
    if not 0 < len(seen.numbers) <= _MOST_NUMBERS:
        return None
    return str(seen) if seen.summary.shape == () else format_numbers(seen.numbers)
