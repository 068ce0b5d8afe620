"""How two traces differ apart from values: calls, hooks and their order, edits, time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from hooktrace.events import HookFired
from hooktrace.log import EventLog
from hooktrace.pairing import SIDES, call_key
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.effects import edits

__all__ = ["Timing", "changes", "hooks", "structure", "timings"]


class Timing(NamedTuple):
    """How long a call took in two traces.

    Attributes:
        name: The call.
        first_ns, second_ns: Nanoseconds, hooks included.
    """

    name: str
    first_ns: int
    second_ns: int

    @property
    def ratio(self) -> float:
        """The second over the first."""
        return self.second_ns / self.first_ns if self.first_ns else float("nan")

    def __str__(self) -> str:
        first, second = (f"{one / 1e6:.3f}" for one in (self.first_ns, self.second_ns))
        return f"{first} | {second} ms (x{self.ratio:.2f})"


def structure(indexes: Sequence[CallIndex]) -> Iterator[str]:
    """Yield a line for each module that differs: called in one only, another class, other times."""
    sides = [_by_module(index) for index in indexes]
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        one, other = (side.get(name, []) for side in sides)
        for calls, side in ((other, SIDES[0]), (one, SIDES[1])):
            if not calls:
                its = (one or other)[0]
                yield f"only the {side} trace calls {its.name} ({its.module.type})"
        if one and other:
            if one[0].module.type != other[0].module.type:
                yield f"{one[0].name} is {one[0].module.type} | {other[0].module.type}"
            if len(one) != len(other):
                yield f"{one[0].name} was called {len(one)} | {len(other)} times"


def _by_module(index: CallIndex) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = {}
    for call in index:
        found.setdefault(call.module.name, []).append(call)
    return found


def hooks(logs: Sequence[EventLog]) -> Iterator[str]:
    """Yield a line for each hook that only one trace has or that fired more often in one.

    If all of them did the same in both, yield where the order of their firings differs.
    """
    known = [Counter(_hook(log, row.id) for row in log.hooks) for log in logs]
    fired = [[_hook(log, event.hook) for event in log.of(HookFired)] for log in logs]
    counts = [Counter(side) for side in fired]
    different = False
    for name in dict.fromkeys([*known[0], *known[1]]):
        here = [side[name] for side in known]
        times = [side[name] for side in counts]
        if 0 in here:
            different = True
            yield f"only the {SIDES[here.index(0) ^ 1]} trace has the {name}"
        elif times[0] != times[1]:
            different = True
            yield f"the {name} fired {times[0]} | {times[1]} times"
    if not different:
        yield from _orders(*fired)


def _orders(first: list[str], second: list[str]) -> Iterator[str]:
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    for what, start, end, other_start, other_end in matcher.get_opcodes():
        if what in ("delete", "replace"):
            after = f"after the {first[start - 1]}" if start else "first of all"
            yield f"order: in the first trace {', '.join(first[start:end][:3])} fired {after}"
        if what in ("insert", "replace"):
            after = f"after the {second[other_start - 1]}" if other_start else "first of all"
            names = ", ".join(second[other_start:other_end][:3])
            yield f"order: in the second trace {names} fired {after}"


def _hook(log: EventLog, number: int) -> str:
    row = log.hooks[number]  # type: ignore[index]
    return f"{row.kind} hook {row.name} on {row.owner}"


def changes(logs: Sequence[EventLog]) -> Iterator[str]:
    """Yield a line for each change by a hook that was made more often in one trace."""
    made = [
        Counter(
            f"{one.hook.kind} hook {one.hook.name} on {one.hook.owner}: {one.role} "
            f"{one.how.replace('_', ' ')}, {one.change.text}"
            for one in edits(log)
        )
        for log in logs
    ]
    for text in dict.fromkeys([*made[0], *made[1]]):
        times = [side[text] for side in made]
        if times[0] != times[1]:
            yield f"{text} ({times[0]} | {times[1]} times)"


def timings(pairs: Iterable[tuple[Call, Call]]) -> list[Timing]:
    """Return how long the calls took that both traces have and that returned in both."""
    return [
        Timing(str(one), one.duration_ns, other.duration_ns)
        for one, other in pairs
        if one.duration_ns is not None and other.duration_ns is not None
        and call_key(one) == call_key(other)
    ]  # fmt: skip
