"""Exceptions leave the block as if hooktrace had not been there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType

__all__ = ["calling_level", "frames_of", "raising_line", "unlink_own_frames"]

_HERE = str(Path(__file__).parent) + os.sep
_BETWEEN = ("hooktrace.", "torch.", "contextlib")  # modules that are not the user's


def calling_level() -> int:
    """Return the ``stacklevel`` of a warning whose line shall be the user's."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and f"{frame.f_globals.get('__name__')}.".startswith(_BETWEEN):
        frame, level = frame.f_back, level + 1
    return level


def unlink_own_frames(error: BaseException) -> None:
    """Take hooktrace's frames out of the tracebacks of an exception and what led to it."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        one = queue.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        tb = one.__traceback__
        while tb is not None and _ours(tb):
            tb = tb.tb_next
        one.__traceback__ = tb
        while tb is not None:
            while tb.tb_next is not None and _ours(tb.tb_next):
                tb.tb_next = tb.tb_next.tb_next
            tb = tb.tb_next
        queue += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            queue += one.exceptions


def frames_of(error: BaseException) -> Iterator[tuple[FrameType, str]]:
    """Yield the frames that an exception passed, outermost first, with ``file:line``.

    Of frames of PyTorch and of hooktrace the line is empty.
    """
    torch = getattr(sys.modules.get("torch"), "__file__", None)
    strange = (_HERE, "<frozen", *([os.path.dirname(torch) + os.sep] if torch else []))
    tb = error.__traceback__
    while tb is not None:
        file = tb.tb_frame.f_code.co_filename
        yield tb.tb_frame, "" if file.startswith(strange) else f"{file}:{tb.tb_lineno}"
        tb = tb.tb_next


def raising_line(error: BaseException) -> str:
    """Return ``file:line`` of the innermost frame that is neither PyTorch's nor hooktrace's."""
    return next((line for _, line in reversed([*frames_of(error)]) if line), "")


def _ours(tb: TracebackType) -> bool:
    return tb.tb_frame.f_code.co_filename.startswith(_HERE)
