"""Writing reports: what needs the doctor, tensors or Pillow is made ready here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hooktrace.doctor import diagnose
from hooktrace.log import EventLog
from hooktrace.render.engine import write_atomically
from hooktrace.report import Extras, Options, page
from hooktrace.report.extras import LIMIT_BYTES
from hooktrace.views.calls import CallIndex

__all__ = ["report_text", "write_report"]


def write_report(log: EventLog, calls: CallIndex, path: str | Path, **options: Any) -> Path:
    """Write the report of a trace; `hooktrace.Trace.report` describes the options."""
    return write_atomically(Path(path), report_text(log, calls, **options).encode())


def report_text(
    log: EventLog,
    calls: CallIndex,
    *,
    lang: str | None = None,
    step: int = 0,
    limit: int | None = None,
    title: str = "",
    cam: Any = None,
) -> str:
    """Return the report of a trace as HTML."""
    options = Options(title, lang, step, LIMIT_BYTES if limit is None else limit)
    found = diagnose(log, calls)
    return page(log, calls, Extras(list(found), found.summary), options)
