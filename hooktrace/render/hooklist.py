"""A list of hooks as a table."""

from __future__ import annotations

from collections.abc import Sequence

from hooktrace.events import TracedHook
from hooktrace.render.grid import add_row, grid_of, lay_out

__all__ = ["table"]

_WIDTH = 150


def table(rows: Sequence[TracedHook]) -> str:
    """Write hooks one below the other; a column that would be empty is left out."""
    if not rows:
        return "No hooks are registered."
    placed = any(row.registered_at for row in rows)
    columns = ["#", "kind", "on", "function", "defined at"]
    grid = grid_of(*columns, *(["registered at"] if placed else []), "options")
    for number, row in enumerate(rows, 1):
        own = f"{row.name} ({row.feature})" if row.feature else row.name
        cells = [str(number), row.kind, row.owner, own, _short(row.defined_at)]
        cells += [_short(row.registered_at or "")] if placed else []
        add_row(grid, *cells, ", ".join(row.options))
    return lay_out(grid, _WIDTH)


def _short(line: str) -> str:
    return line.rpartition("/")[2]
