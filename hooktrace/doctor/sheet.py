"""Findings as a table of the library rich, for terminals and notebooks."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hooktrace.findings import Finding

__all__ = ["as_html", "table"]

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_WIDTH = 140


def table(found: Iterable[Finding], title: str) -> Table:
    """Return one row for each finding: how bad, which rule, what, where, and what to do."""
    found = list(found)
    sheet = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold")
    sheet.show_header = bool(found)
    for column in ("severity", "rule"):
        sheet.add_column(column, no_wrap=True)
    sheet.add_column("what", ratio=3)
    sheet.add_column("line", overflow="fold", ratio=1)
    sheet.add_column("instead", ratio=2)
    for one in found:
        what = f"{one.message} (possible: {one.possible})" if one.possible else one.message
        severity = Text(one.severity, style=_STYLES[one.severity])
        line = one.source.rpartition("/")[2]
        sheet.add_row(severity, *map(Text, (one.rule, what, line, one.instead)))
    return sheet


def as_html(sheet: Table) -> str:
    """Return a table as a piece of HTML without any style sheet of its own."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_jupyter=False)
    console.print(sheet)
    return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
