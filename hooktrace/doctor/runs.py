"""Backward runs, and which of them is going on at a moment."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from hooktrace.events import BackwardFinished, BackwardStarted, Event

__all__ = ["Run", "Running"]


@dataclass(frozen=True)
class Run:
    """One backward run.

    Attributes:
        number: As in the events.
        started: How it began: roots, and whether it fills ``.grad``.
        finished: How it ended; None if it has not.
    """

    number: int
    started: BackwardStarted
    finished: BackwardFinished | None

    def __contains__(self, event: Event) -> bool:
        """Whether an event came while the run lasted."""
        return event.seq > self.started.seq and (
            self.finished is None or event.seq < self.finished.seq
        )


class Running:
    """Tells which backward run an event came in: the innermost on its thread; they may nest.

    A thread that began no run works for others: there, the one innermost of all is told.

    Args:
        runs: The runs, in order.
    """

    def __init__(self, runs: list[Run]) -> None:
        threads = {run.started.thread for run in runs}
        self._all = _Nested(runs)
        self._of_thread = {
            thread: _Nested([run for run in runs if run.started.thread == thread])
            for thread in (threads if len(threads) > 1 else ())
        }

    def at(self, event: Event) -> Run | None:
        """Return the innermost run that had begun before an event and had not ended."""
        return self._of_thread.get(event.thread, self._all).at(event.seq)


class _Nested:
    """Runs of which each ends before those around it."""

    def __init__(self, runs: list[Run]) -> None:
        begins = {run.started.seq: run for run in runs}
        ends = {run.finished.seq: run for run in runs if run.finished is not None}
        self._moments = sorted([*begins, *ends])
        self._inner: list[Run | None] = [None]
        inside: list[Run] = []
        for seq in self._moments:
            if seq in ends:
                inside.remove(ends[seq])
            else:
                inside.append(begins[seq])
            self._inner.append(inside[-1] if inside else None)

    def at(self, seq: int) -> Run | None:
        return self._inner[bisect_right(self._moments, seq - 1)]
