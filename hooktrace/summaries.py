"""The summary of a model: what `Recording.summary` and `hooktrace.summary` return."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group
from rich.text import Text

from hooktrace.errors import UnknownNameError, nearest
from hooktrace.log import EventLog
from hooktrace.render.grid import lay_out
from hooktrace.render.summary_table import COLUMNS, closing, sheet, shown
from hooktrace.views.calls import CallIndex
from hooktrace.views.summary import ModuleRow, summarise

__all__ = ["Summary"]

DEPTH = 3
"""How many levels a table shows."""


class Summary(Sequence[ModuleRow]):
    """A row for each module, in the order of definition; ``print`` it.

    What the numbers mean: parameters and buffers are counted once, where they are met first, as
    ``model.parameters()`` counts them.  Memory of outputs is that of what modules returned, of
    tensors that share memory the largest; what PyTorch keeps for backward beside it is not in it.
    Times are those of this run, tracing included.

    Args:
        log: What was recorded.
        calls: The index of its calls, up to date.
        depth: How many levels of modules to show; None for all.
        sort: A column by which rows are sorted, largest first; None for the tree of modules.
        columns: Which columns to show; None for those that have something to say.

    Attributes:
        totals: The whole: sizes, cost, memory of the inputs.

    Raises:
        UnknownNameError: There is no such column.
        ValueError: `depth` is negative.
    """

    def __init__(
        self,
        log: EventLog,
        calls: CallIndex,
        *,
        depth: int | None = DEPTH,
        sort: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> None:
        self._rows, self.totals = summarise(log, calls)
        self._shown = shown(self._rows, depth, sort)
        self._tree = sort is None
        self._columns = self._usual() if columns is None else _checked(columns)

    def _usual(self) -> list[str]:
        """Return the columns that have something to say."""
        cost = self.totals.cost
        ran = any(row.calls for row in self._rows)
        told = {
            **dict.fromkeys(("input", "output", "memory"), ran),
            "buffers": any(row.own.buffers for row in self._rows),
            "flops": cost.flops is not None,
            "forward": cost.forward_ns > 0,
            "backward": cost.backward_ns is not None,
            "calls": any(row.calls > 1 for row in self._rows),
            "hooks": any(row.hooks for row in self._rows),
            "trainable": False,
            "config": False,
        }
        return [name for name in COLUMNS if told.get(name, True)]

    def rows(self) -> list[dict[str, Any]]:
        """Return a dict of plain values for each module, all depths, such as pandas takes.

        ``parameters``, ``trainable`` and ``buffers`` are those of the module and of all in it;
        ``own_parameters`` are those that this row counts, and add up to the whole.
        """
        return [_plain(row) for row in self._rows]

    def __getitem__(self, key: Any) -> Any:
        """Return the row of this number, or of the module of this name.

        Raises:
            UnknownNameError: There is no such module; the message names the nearest.
        """
        if not isinstance(key, str):
            return self._rows[key]
        for row in self._rows:
            if key in (row.name, *row.aliases) or (not row.name and key == row.type):
                return row
        names = [row.name for row in self._rows]
        raise UnknownNameError(f"There is no module {key!r}.{nearest(key, names)}")

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[ModuleRow]:
        return iter(self._rows)

    def __str__(self) -> str:
        if not self._rows:
            return "No module of a model was recorded."
        text = lay_out(sheet(self._shown, self._columns, tree=self._tree), _WIDTH)
        return f"{text}\n\n{closing(self._rows, self.totals)}"

    __repr__ = __str__

    def __rich__(self) -> Group:
        """Return what ``rich.print`` shows, as wide as the terminal."""
        table = sheet(self._shown, self._columns, tree=self._tree)
        table.header_style = "bold"
        return Group(table, "", Text(closing(self._rows, self.totals), style="cyan"))


_WIDTH = 160


def _checked(columns: Sequence[str]) -> list[str]:
    for name in columns:
        if name not in COLUMNS:
            raise UnknownNameError(
                f"A summary has no column {name!r}.{nearest(name, COLUMNS)} The columns are "
                f"{', '.join(COLUMNS)}."
            )
    return list(columns)


def _plain(row: ModuleRow) -> dict[str, Any]:
    cost, inside = row.cost, row.inside
    return {
        "name": row.name,
        "type": row.type,
        "depth": row.depth,
        "config": row.config,
        "calls": row.calls,
        "input": ", ".join(one.dimensions for one in row.inputs),
        "output": ", ".join(one.dimensions for one in row.outputs),
        "parameters": inside.parameters,
        "own_parameters": row.own.parameters,
        "trainable": inside.trainable,
        "buffers": inside.buffers,
        "parameter_bytes": inside.parameter_bytes,
        "buffer_bytes": inside.buffer_bytes,
        "output_bytes": cost.output_bytes,
        "forward_ms": cost.forward_ns / 1e6,
        "backward_ms": None if cost.backward_ns is None else cost.backward_ns / 1e6,
        "flops": cost.flops,
        "hooks": ", ".join(row.hooks),
        "shared": ", ".join((*row.shared, *row.aliases)),
    }
