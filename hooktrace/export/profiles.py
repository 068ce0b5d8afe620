"""Traces that ``torch.profiler`` has written, to be put onto one time axis with ours.

The profiler counts microseconds from ``baseTimeNanoseconds``, which is nanoseconds since 1970, and
so are they together: the clock of ``time.time_ns()``.  Events here are timed by
``time.perf_counter_ns()``; how far that is behind is noted when a trace is opened.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hooktrace.errors import MismatchError, TraceFormatError

__all__ = ["Profile", "read_profile"]


@dataclass(frozen=True)
class Profile:
    """What a profiler has written, moved so that its first event is at 0.

    Attributes:
        events: Its items.
        rest: What else is in its file, ``baseTimeNanoseconds`` moved along.
        zero_ns: The time of its zero on the clock of the trace's events.
        free_process: A number of a process that it has not used.
    """

    events: list[dict[str, Any]]
    rest: dict[str, Any]
    zero_ns: int
    free_process: int


def read_profile(path: Path, epoch_ns: int | None) -> Profile:
    """Read what ``prof.export_chrome_trace(path)`` wrote, packed or not.

    Args:
        path: The file.
        epoch_ns: What to add to times of the trace to get nanoseconds since 1970.

    Raises:
        MismatchError: The trace does not know the time of day.
        TraceFormatError: The file is none of a profiler that tells its clock.
        FileNotFoundError: There is no such file.
    """
    if epoch_ns is None:
        raise MismatchError(
            "The trace does not say how its clock and the time of day belong together, so it "
            "cannot be merged with a profile. Record it anew."
        )
    content = _content(path)
    items, base = content.pop("traceEvents"), content["baseTimeNanoseconds"]
    first = min((one["ts"] for one in items if one.get("ph") == "X" and "ts" in one), default=0)
    origin_us = int(first)
    events = [{**one, "ts": round(one["ts"] - origin_us, 3)} if "ts" in one else one
              for one in items]  # fmt: skip
    content["baseTimeNanoseconds"] = base + origin_us * 1000
    taken = [one["pid"] for one in items if isinstance(one.get("pid"), int)]
    zero_ns = base + origin_us * 1000 - epoch_ns
    return Profile(events, content, zero_ns, max(taken, default=0) + 1)


def _content(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    try:
        text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        content = json.loads(text)
        items, base = content["traceEvents"], content["baseTimeNanoseconds"]
        timed = all(isinstance(one.get("ts", 0), (int, float)) for one in items)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TraceFormatError(
            f"{path} is nothing that torch.profiler's export_chrome_trace wrote: {_why(error)}."
        ) from error
    if not timed or not isinstance(base, int):
        raise TraceFormatError(f"{path}: times are not numbers.")
    return content  # type: ignore[no-any-return]


def _why(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error) or "it is damaged"
