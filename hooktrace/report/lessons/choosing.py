"""Which of all possible stops a lesson has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice

from hooktrace.report.lessons.stop import Phrase, Stop

__all__ = ["chosen"]

_MOST = 12
_MOST_OF_A_KIND = 3
_CONSIDERED = 400  # of a kind


def chosen(found: Mapping[str, Iterable[Stop | None]]) -> list[Stop]:
    """Return a few varied stops in the order of the timeline.

    They do not overlap: none is asked while what answers another one is still hidden.

    Args:
        found: The possible stops by kind of question.
    """
    queues = [_queue(name, several) for name, several in found.items()]
    taken: list[Stop] = []
    for _ in range(_MOST_OF_A_KIND):
        for queue in sorted(filter(None, queues), key=lambda one: one[0].moment.order):
            fitting = next((one for one in queue if _fits(one, taken)), None)
            if fitting is not None and len(taken) < _MOST:
                taken.append(fitting)
                queue.remove(fitting)
    return sorted(taken, key=lambda one: one.moment.cursor)


def _queue(name: str, found: Iterable[Stop | None]) -> list[Stop]:
    """Return the stops of a kind, the best first."""
    several = islice((replace(one, name=name) for one in found if one), _CONSIDERED)
    return sorted(several, key=lambda one: (one.moment.order, one.moment.cursor))


def _fits(stop: Stop, taken: Iterable[Stop]) -> bool:
    """Whether a stop neither teaches what another one does nor overlaps with it."""
    return not any(_point(stop) == _point(one) or _overlap(stop, one) for one in taken)


def _point(stop: Stop) -> tuple[object, ...]:
    """Return what a stop teaches, and of which hook."""
    inner = [one.key for one in stop.explanation.values.values() if isinstance(one, Phrase)]
    right = stop.choices[stop.right].key
    return stop.question.key, right, stop.explanation.key, *inner, stop.moment.hook


def _overlap(one: Stop, other: Stop) -> bool:
    """Whether a stop has its place before the answer to the other, or the other way round."""
    here, there = one.moment, other.moment
    return here.cursor == there.cursor or (here.cursor < there.proof and there.cursor < here.proof)
