"""The table of methods in the documentation, made from what the methods say of themselves."""

from __future__ import annotations

import inspect
from pathlib import Path

from hooktrace.cam import methods as _methods  # noqa: F401  (fills METHODS)
from hooktrace.cam.method import METHODS, Method

__all__ = ["MARKS", "table", "write"]

MARKS = ("<!-- the table of methods -->", "<!-- its end -->")


def table() -> str:
    """Return the methods as a table in Markdown, one row for each."""
    rows = ["| `method=` | | what it needs |", "|---|---|---|"]
    for name in METHODS:
        found = METHODS[name]
        said = inspect.cleandoc(found.__doc__ or "").partition("\n")[0]
        rows.append(f"| `{name}` | {found.title}: {said} | {_needs(found)} |")
    return "\n".join(rows)


def _needs(found: type[Method]) -> str:
    needs = ["a graph"] if found.gradients and not found.reruns else []
    needs += ["the model"] if found.reruns else []
    needs += ["several layers"] if found.scope == "layers" else []
    return ", ".join(needs) or "the forward alone"


def write(docs: Path) -> None:
    """Put the table into ``cam.md``."""
    page = docs / "cam.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    text = f"{before}{MARKS[0]}\n\n{table()}\n\n{MARKS[1]}{after}"
    page.write_text(text, encoding="utf-8")
