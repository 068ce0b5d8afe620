"""Which of all possible stops a lesson has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    queues = {name: _queue(name, several) for name, several in found.items()}
    taken: list[Stop] = []
    for _ in range(_MOST_OF_A_KIND):
        for queue in queues.values():
            if len(taken) < _MOST:
                taken += islice((one for one in queue if not _crowded(one, taken)), 1)
    return sorted(taken, key=lambda one: one.moment.cursor)


def _queue(name: str, found: Iterable[Stop | None]) -> Iterator[Stop]:
    """Yield the stops of a kind, the best first; none that would teach the same twice."""
    several = list(islice((replace(one, name=name) for one in found if one), _CONSIDERED))
    asked: set[tuple[object, ...]] = set()
    for one in sorted(several, key=lambda one: (one.moment.order, one.moment.cursor)):
        if _point(one) not in asked:
            asked.add(_point(one))
            yield one


def _point(stop: Stop) -> tuple[object, ...]:
    """Return what a stop teaches, and of which hook."""
    inner = [one.key for one in stop.explanation.values.values() if isinstance(one, Phrase)]
    right = stop.choices[stop.right].key
    return stop.question.key, right, stop.explanation.key, *inner, stop.moment.hook


def _crowded(stop: Stop, taken: Iterable[Stop]) -> bool:
    """Whether a stop has its place before the answer to another, or the other way round."""
    return any(
        stop.moment.cursor == other.moment.cursor
        or stop.moment.cursor < other.moment.proof
        and other.moment.cursor < stop.moment.proof
        for other in taken
    )
