"""Where a log comes from: the surroundings of the traced program, the file it was read from."""

from __future__ import annotations

from hooktrace.records import Record

__all__ = ["Origin", "Surroundings"]


class Surroundings(Record, frozen=True):
    """In what a traced program ran.

    Attributes:
        hooktrace, torch, python: Versions.
        platform: Operating system and processor.
        started: When the trace was opened, as ``2026-01-31T12:00:00+00:00``.
        devices: Those of the models' parameters and buffers, such as ``cpu`` or ``cuda:0``.
        seed: The initial seed of PyTorch's generator for the CPU; None if it is not known.
        settings: What else results depend on, such as ``threads`` or ``deterministic``.
        epoch_ns: What to add to the ``time_ns`` of an event to get nanoseconds since 1970; None if
            it is not known.
    """

    hooktrace: str = ""
    torch: str = ""
    python: str = ""
    platform: str = ""
    started: str = ""
    devices: tuple[str, ...] = ()
    seed: int | None = None
    settings: tuple[tuple[str, str], ...] = ()
    epoch_ns: int | None = None


class Origin(Record, frozen=True):
    """The file that a log was read from.

    Attributes:
        path: Where it was.
        ended: Whether the traced block ended; else it still runs, or was killed.
        steps: For each outermost call in it, its number within the run.
        left_out: How many outermost calls of the run are not in it.
    """

    path: str
    ended: bool
    steps: tuple[int, ...]
    left_out: int
