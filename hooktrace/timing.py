"""Measuring works against one another: in turns, in CPU time, medians of many rounds."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

__all__ = ["medians", "seconds"]

Work = Callable[[], object]


def seconds(work: Work) -> float:
    """Return the CPU time of this process for one run of `work`, without garbage collection."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        start = time.process_time()
        work()
        return time.process_time() - start
    finally:
        if enabled:
            gc.enable()


def medians(rounds: int, *works: Work) -> list[float]:
    """Run the works in turns, after two rounds of warming up; return the median of each."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 2):
        for work, spent in zip(works, times, strict=True):
            took = seconds(work)
            if number >= 2:
                spent.append(took)
    return [statistics.median(spent) for spent in times]
