"""What a command shows of work that takes long."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from hooktrace.progress import bars

__all__ = ["waiting"]

_PATIENCE_SECONDS = 1.0


def waiting(quiet: bool) -> AbstractContextManager[None]:
    """Show bars if the work inside takes longer than a second and standard error is a terminal."""
    return nullcontext() if quiet else bars(after=_PATIENCE_SECONDS)
