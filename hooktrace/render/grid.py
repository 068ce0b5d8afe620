"""Tables of text: columns that line up, whatever the names in them hold."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hooktrace.render.wording import printable

__all__ = ["add_row", "grid_of", "lay_out"]

_WIDTH = 120
_CELL = 40  # characters that a column other than the last may take


def grid_of(*columns: str, right: Collection[str] = ("ms",)) -> Table:
    """Return an empty grid with these columns; milliseconds, or those named, to the right."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        grid.add_column(column, no_wrap=True, justify=justify)
    return grid


def add_row(grid: Table, *cells: str) -> None:
    """Add a row of plain texts."""
    grid.add_row(*(Text(printable(cell)) for cell in cells))


def lay_out(grid: Table, width: int = _WIDTH) -> str:
    """Lay the grid out: only the last column gives way, and what is longer than _CELL."""
    left = width
    for column in grid.columns[:-1]:
        longest = max(map(cell_len, (str(column.header), *map(str, column.cells))))
        column.width = min(_CELL, longest)
        left -= column.width + 2
    grid.columns[-1].max_width = left
    plain: dict[str, Any] = {"color_system": None, "legacy_windows": False}
    plain["force_jupyter"] = False  # there a console would show it at once
    console = Console(file=io.StringIO(), width=width, **plain)
    console.print(grid)
    lines: Iterable[str] = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in lines)
