"""Rows of neighbours that repeat one pattern."""

from __future__ import annotations

from typing import Any

__all__ = ["longest_row"]

_LONGEST_PERIOD = 8
_FEWEST_REPEATS = 3


def longest_row(marks: list[Any], start: int) -> tuple[int, int]:
    """Return the length of the pattern that repeats from `start` on, and how often it stands.

    >>> longest_row(["a", "b", "a", "b", "a", "b", "c"], 0)
    (2, 3)
    """
    best = (1, 1)
    for period in range(1, min(_LONGEST_PERIOD, (len(marks) - start) // _FEWEST_REPEATS) + 1):
        pattern, times = marks[start : start + period], 1
        while marks[start + period * times : start + period * (times + 1)] == pattern:
            times += 1
        if times >= _FEWEST_REPEATS and period * times > best[0] * best[1]:
            best = (period, times)
    return best
