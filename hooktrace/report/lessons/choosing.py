"""Which of all possible stops a lesson has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice

from hooktrace.report.lessons.stop import Stop
from hooktrace.report.phrases import Phrase

__all__ = ["chosen"]

_MOST = 12
_MOST_OF_A_KIND = 3
_CONSIDERED = 400  # of a kind
_ONCE = ("lesson_looked", "lesson_receives_why_looked")  # whatever hook it was


def chosen(found: Mapping[str, Iterable[Stop | None]]) -> list[Stop]:
    """Return a few varied stops in the order of the timeline.

    They do not overlap: none is asked while what answers another one is still hidden.

    Args:
        found: The possible stops by kind of question.
    """
    queues = [_queue(name, several) for name, several in found.items()]
    taken: list[Stop] = []
    while len(taken) < _MOST:
        for queue in queues:
            while queue and not _fits(queue[0], taken):
                queue.pop(0)
        if not any(queues):
            break
        best = min(filter(None, queues), key=lambda one: _rank(one[0], taken))
        taken.append(best.pop(0))
    return sorted(taken, key=lambda one: one.moment.cursor)


def _rank(stop: Stop, taken: Iterable[Stop]) -> int:
    """Return how late a stop is taken: what is less telling, and what there is already."""
    return stop.moment.order + 2 * sum(one.name == stop.name for one in taken)


def _queue(name: str, found: Iterable[Stop | None]) -> list[Stop]:
    """Return the stops of a kind, the best first."""
    several = islice((replace(one, name=name) for one in found if one), _CONSIDERED)
    return sorted(several, key=lambda one: (one.moment.order, one.moment.cursor))


def _fits(stop: Stop, taken: Iterable[Stop]) -> bool:
    """Whether a stop neither teaches what another one does nor overlaps with it."""
    if sum(one.name == stop.name for one in taken) >= _MOST_OF_A_KIND:
        return False
    return not any(_point(stop) == _point(one) or _overlap(stop, one) for one in taken)


def _point(stop: Stop) -> tuple[object, ...]:
    """Return what a stop teaches; where a hook does something, of which hook."""
    because = stop.explanation
    inner = [one.key for one in because.values.values() if isinstance(one, Phrase)]
    hook = None if because.key in _ONCE else stop.moment.hook
    return stop.question.key, stop.choices[stop.right].key, because.key, *inner, hook


def _overlap(one: Stop, other: Stop) -> bool:
    """Whether a stop has its place before the answer to the other, or the other way round."""
    here, there = one.moment, other.moment
    return here.cursor == there.cursor or (here.cursor < there.proof and there.cursor < here.proof)
