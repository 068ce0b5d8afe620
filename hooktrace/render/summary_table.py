"""A summary of modules as a table of text: a tree of modules, or a list sorted by one column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.table import Table

from hooktrace.errors import UnknownNameError, nearest
from hooktrace.events import TensorSummary
from hooktrace.render.grid import add_row, grid_of
from hooktrace.views.summary import ModuleRow, Sizes, Totals

__all__ = ["COLUMNS", "Shown", "closing", "sheet", "shown"]

_FEW = 2  # shapes in one cell
_NAMES = 3  # names in one line below the table


@dataclass(frozen=True)
class Shown:
    """A row as it is shown.

    Attributes:
        row: The module.
        hidden: The modules in it that the depth hides.
    """

    row: ModuleRow
    hidden: tuple[ModuleRow, ...] = ()

    def count(self, field: str) -> int:
        """Return a size of the module itself and of what is hidden in it, each tensor once."""
        return sum(getattr(one.own, field) for one in (self.row, *self.hidden))


class Column(NamedTuple):
    """A column.

    Attributes:
        title: Its head.
        cell: What a row has there.
        rank: By what rows are sorted, largest first; None where they cannot be.
    """

    title: str
    cell: Callable[[Shown], str]
    rank: Callable[[Shown], float] | None = None


COLUMNS: dict[str, Column] = {
    "input": Column("input", lambda one: _shapes(one.row, one.row.inputs)),
    "output": Column("output", lambda one: _shapes(one.row, one.row.outputs)),
    "params": Column("params", lambda one: _parameters(one), lambda one: one.count("parameters")),
    "trainable": Column("trainable", lambda one: _trained(one), lambda one: one.count("trainable")),
    "buffers": Column(
        "buffers", lambda one: _number(one.count("buffers")), lambda one: one.count("buffers")
    ),
    "memory": Column(
        "output MB",
        lambda one: f"{one.row.cost.output_bytes / 1e6:.2f}" if one.row.calls else "-",
        lambda one: one.row.cost.output_bytes,
    ),
    "flops": Column(
        "FLOPs", lambda one: _number(one.row.cost.flops or 0), lambda one: one.row.cost.flops or 0
    ),
    "forward": Column(
        "forward ms",
        lambda one: _milliseconds(one.row.cost.forward_ns) if one.row.calls else "-",
        lambda one: one.row.cost.forward_ns,
    ),
    "backward": Column(
        "backward ms",
        lambda one: _milliseconds(one.row.cost.backward_ns),
        lambda one: one.row.cost.backward_ns or 0,
    ),
    "calls": Column("calls", lambda one: str(one.row.calls), lambda one: one.row.calls),
    "hooks": Column(
        "hooks", lambda one: ", ".join(one.row.hooks) or "-", lambda one: len(one.row.hooks)
    ),
    "config": Column("configuration", lambda one: one.row.config),
}
"""The columns that a table can have."""

_WORDS = {"input", "output", "trainable", "hooks", "config"}


def sheet(shown: Sequence[Shown], columns: Sequence[str], *, tree: bool) -> Table:
    """Return the table.

    Args:
        shown: Its rows, as `shown` arranges them.
        columns: Names out of `COLUMNS`.
        tree: Whether names are indented; else each is written in full.
    """
    chosen = [COLUMNS[name] for name in columns]
    right = {COLUMNS[name].title for name in columns if name not in _WORDS}
    grid = grid_of("module", *(one.title for one in chosen), right=right)
    for one in shown:
        name = _indented(one.row) if tree else f"{one.row.name} {one.row.type}".strip()
        add_row(grid, name, *(column.cell(one) for column in chosen))
    return grid


def shown(rows: Sequence[ModuleRow], depth: int | None, sort: str | None) -> list[Shown]:
    """Arrange the rows: what lies deeper than `depth` is hidden, and counted where it is in.

    Raises:
        UnknownNameError: There is no such column, or it has no order.
        ValueError: `depth` is negative.
    """
    if depth is not None and depth < 0:
        raise ValueError(f"depth= is the number of levels to show, 0 or more, but got {depth}.")
    order = None if sort is None else _rank(sort)
    found: list[Shown] = []
    for row in rows:
        if depth is None or row.depth <= depth or not found:
            found.append(Shown(row))
        else:
            found[-1] = Shown(found[-1].row, (*found[-1].hidden, row))
    return found if order is None else sorted(found, key=order, reverse=True)


def _rank(sort: str) -> Callable[[Shown], float]:
    known = [name for name, one in COLUMNS.items() if one.rank is not None]
    if sort not in known:
        raise UnknownNameError(
            f"A summary cannot be sorted by {sort!r}.{nearest(sort, known)} It is sorted by one "
            f"of: {', '.join(known)}."
        )
    return COLUMNS[sort].rank  # type: ignore[return-value]


def closing(rows: Sequence[ModuleRow], totals: Totals) -> str:
    """Return the lines below the table: the whole, what is shared, what was never called."""
    return "\n".join(_lines(rows, totals))


def _counted(sizes: Sizes) -> str:
    frozen = sizes.parameters - sizes.trainable
    return (
        f"{sizes.parameters:,} parameters ({_bytes(sizes.parameter_bytes)}): {sizes.trainable:,} "
        f"trainable, {frozen:,} frozen; {sizes.buffers:,} elements in buffers "
        f"({_bytes(sizes.buffer_bytes)})"
    )


def _lines(rows: Sequence[ModuleRow], totals: Totals) -> Iterator[str]:
    sizes, cost = totals.sizes, totals.cost
    if totals.known:
        yield _counted(sizes)
    else:
        yield "The model was gone when its parameters were to be counted; they are not known."
    if any(row.calls for row in rows):
        held = f", parameters and buffers {_bytes(sizes.parameter_bytes + sizes.buffer_bytes)}"
        yield (
            f"Memory: inputs {_bytes(totals.input_bytes)}, outputs {_bytes(cost.output_bytes)}"
            + (held if totals.known else "")
        )
    if cost.flops is not None:
        yield f"FLOPs: {cost.flops:,}, that is {cost.flops // 2:,} multiply-adds"
    times = [("forward", cost.forward_ns), ("backward", cost.backward_ns)]
    told = [f"{name} {_milliseconds(one)} ms" for name, one in times if one]
    if told:
        yield f"Time: {', '.join(told)}"
    shared = [f"{row.name}.{text}" for row in rows for text in row.shared]
    shared += [
        f"{row.name or row.type} is also {', '.join(row.aliases)}" for row in rows if row.aliases
    ]
    if shared:
        yield f"Shared, counted once: {_few(shared)}"
    uncalled = [row.name or row.type for row in rows if not row.calls]
    tops = [one for one in uncalled if one.rpartition(".")[0] not in uncalled]
    if tops and len(tops) < len(rows):
        yield f"Never called: {_few(tops)}"


# ------------------------------------------------------------------ cells


def _indented(row: ModuleRow) -> str:
    own = row.name.rpartition(".")[2]
    return "  " * row.depth + f"{own} {row.type}".strip()


def _shapes(row: ModuleRow, seen: tuple[TensorSummary, ...]) -> str:
    if not row.calls:
        return "never called"
    more = f", +{len(seen) - _FEW}" if len(seen) > _FEW else ""
    return ", ".join(one.dimensions for one in seen[:_FEW]) + more or "-"


def _parameters(one: Shown) -> str:
    """Write their number: of frozen ones in brackets, and a word where all are counted above."""
    count = one.count("parameters")
    if not count:
        return "shared" if one.row.shared else "-"
    return f"{count:,}" if one.count("trainable") else f"({count:,})"


def _trained(one: Shown) -> str:
    count, trained = one.count("parameters"), one.count("trainable")
    if not count:
        return "-"
    return "yes" if trained == count else "partly" if trained else "no"


def _number(count: int) -> str:
    return f"{count:,}" if count else "-"


def _milliseconds(duration_ns: int | None) -> str:
    return "-" if duration_ns is None else f"{duration_ns / 1e6:.2f}"


def _bytes(size: float) -> str:
    """Write a size in bytes.

    >>> _bytes(40), _bytes(38_560), _bytes(46_758_048)
    ('40 B', '38.56 kB', '46.76 MB')
    """
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:,} B" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1000
    return f"{size:,.2f} GB"


def _few(names: Iterable[Any]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMES} more" if len(every) > _NAMES else ""
    return ", ".join(every[:_NAMES]) + more
