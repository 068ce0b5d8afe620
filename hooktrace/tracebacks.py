"""Exceptions leave the block as if hooktrace had not been there."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

__all__ = ["unlink_own_frames"]

_HERE = str(Path(__file__).parent) + os.sep


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


def _ours(tb: TracebackType) -> bool:
    return tb.tb_frame.f_code.co_filename.startswith(_HERE)
