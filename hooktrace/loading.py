"""`load()`: a trace out of a file."""

from __future__ import annotations

import os

from hooktrace.recording import Recording
from hooktrace.storage.reading import LIMIT_BYTES, load_log

__all__ = ["load"]


def load(path: str | os.PathLike[str], *, limit_bytes: int = LIMIT_BYTES) -> Recording:
    """Read a trace that `Trace.save` wrote.  It may come from anybody: no code in it is run.

    All that a trace can tell it tells, but for what needs the model or its autograd graph:
    methods of `Recording.cam` that need gradients take those that a backward inside the block
    brought, with ``target="backward"``.  Kept tensors are read when they are asked for, which
    is when torch is imported; they lie on the CPU.

    Args:
        path: The file.
        limit_bytes: How many bytes it may unpack to, apart from kept tensors, which are not packed.

    Raises:
        TraceFormatError: It is no trace, is damaged, beyond the limits, or of a later version.
        FileNotFoundError: There is no such file.
        TypeError: `path` is no path.
    """
    return Recording(load_log(path, limit_bytes))
