"""Writing reports: what needs the doctor, tensors or Pillow is made ready here."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from hooktrace.doctor import diagnose
from hooktrace.log import EventLog
from hooktrace.render.diagram import mimebundle as picture_bundle
from hooktrace.render.engine import write_atomically
from hooktrace.report import Extras, Options, page
from hooktrace.report.extras import LIMIT_BYTES
from hooktrace.views.calls import CallIndex

__all__ = ["mimebundle", "report_text", "write_report"]


_NOTEBOOK_BYTES = 1_000_000  # a notebook is kept under version control, and opened as a whole


def write_report(log: EventLog, calls: CallIndex, path: str | Path, **options: Any) -> Path:
    """Write the report of a trace; `hooktrace.Trace.report` describes the options."""
    text = report_text(log, calls, **options)
    return write_atomically(Path(path), text.encode("utf-8", "replace"))


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


def mimebundle(log: EventLog, calls: CallIndex, text: str) -> dict[str, Any]:
    """Return what a notebook shows: the report in a frame of its own, or else a picture, or text.

    The frame is isolated: its scripts run in it alone, without an origin.  Front ends that take
    frames out of what they show (such as a site that shows notebooks) leave the line below it.
    """
    bundle = picture_bundle(log, calls, text)
    page = report_text(log, calls, limit=_NOTEBOOK_BYTES)
    bundle["text/html"] = (
        f'<iframe sandbox="allow-scripts" srcdoc="{html.escape(page)}" title="hooktrace report" '
        'style="width:100%;height:720px;border:0"></iframe>'
        "<small>hooktrace report; where it is not shown: t.report(&quot;run.html&quot;) or "
        "t.draw(&quot;run.svg&quot;).</small>"
    )
    return bundle
