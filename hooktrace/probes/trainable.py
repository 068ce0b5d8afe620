"""What the models have when the block ends: parameters, which of them are trained, buffers."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.parameters import note_names, take_stock
from hooktrace.patches import Patch
from hooktrace.recorder import Recorder

__all__ = ["finish", "patches"]


def patches() -> Iterator[Patch]:
    """Yield nothing: this probe only looks, at the end."""
    yield from ()


def finish(recorder: Recorder) -> None:
    """Enter the parameters into the log."""
    try:
        take_stock(recorder)
        note_names(recorder.log)
    except Exception:
        recorder.failed("the parameters")
