"""Tables of rows: flat dicts, all of one table with the same keys, for data frames and CSV."""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from hooktrace._registry import Registry
from hooktrace.errors import UnknownNameError, nearest
from hooktrace.events import Observation, TensorSummary
from hooktrace.log import EventLog
from hooktrace.tensorstats import TensorStats
from hooktrace.views.calls import CallIndex

__all__ = [
    "TABLES", "Row", "Table", "named_tensor", "plain", "rows", "shape_of", "statistics_of", "table",
    "table_of",
]  # fmt: skip

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: As in ``t.rows(name)``.
        row: The class of its rows, whose fields are the columns, with their types.
        make: From the log and the index of its calls to the rows.
    """

    name: str
    row: type[Any]
    make: Callable[[EventLog, CallIndex], Iterator[Any]]

    @property
    def columns(self) -> dict[str, type]:
        """The types of the columns by name: str, int, float or bool; any may be None."""
        hints = typing.get_type_hints(self.row)
        return {name: next(iter(typing.get_args(one)), one) for name, one in hints.items()}

    @property
    def summary(self) -> str:
        """What a row is."""
        return (self.row.__doc__ or "").replace("`", "").strip().rstrip(".")


TABLES: Registry[Table] = Registry("tables")
"""Every table by name."""

Make = TypeVar("Make", bound=Callable[[EventLog, CallIndex], Iterator[Any]])


def table(name: str, row: type[Any]) -> Callable[[Make], Make]:
    """Return a decorator that enters a function as a table of such rows."""

    def enter(make: Make) -> Make:
        TABLES.register(name)(Table(name, row, make))
        return make

    return enter


def table_of(name: str) -> Table:
    """Return a table.

    Raises:
        UnknownNameError: There is no such table; the message names the nearest.
    """
    if name not in TABLES:
        raise UnknownNameError(
            f"There is no table {name!r}.{nearest(name, TABLES)} "
            f"The tables are {', '.join(TABLES)}."
        )
    return TABLES[name]


def rows(log: EventLog, calls: CallIndex, name: str) -> list[Row]:
    """Return a table as a list of flat dicts with the same keys in the same order.

    Values are str, int, float, bool, or None where there is nothing to say.

    Raises:
        UnknownNameError: There is no such table; the message names the nearest.
    """
    return [row._asdict() for row in table_of(name).make(log, calls)]


# ------------------------------------------------------------------ parts of rows


def named_tensor(log: EventLog, number: int | None) -> str | None:
    """Return the name of a tensor, or its number, as in ``t12``."""
    return None if number is None else log.tensors[number].name or f"t{number}"  # type: ignore[index]


def shape_of(seen: Observation | None) -> Row:
    """Return what was seen of a tensor: value, shape, dtype, device, and numbers if it is small."""
    summary = None if seen is None else seen.summary
    tensor = summary if isinstance(summary, TensorSummary) else None
    return {
        "value": None if seen is None or seen.value is None else str(seen.value),
        "shape": None if tensor is None else tensor.dimensions,
        "elements": None if tensor is None else math.prod(tensor.shape),
        "dtype": None if tensor is None else tensor.dtype,
        "device": None if tensor is None else tensor.device,
        "numbers": None if seen is None or seen.numbers is None else str(seen),
    }


def statistics_of(stats: TensorStats | None) -> Row:
    """Return statistics by name; None where none were taken."""
    names = ("min", "max", "mean", "std", "norm", "nan", "inf", "zeros")
    return {name: None if stats is None else getattr(stats, name) for name in names}


def plain(row: Row) -> Row:
    """Return a row as JSON can hold it: NaN and infinities as ``"NaN"``, ``"Infinity"``.

    >>> plain({"norm": float("-inf"), "nan": 2})
    {'norm': '-Infinity', 'nan': 2}
    """
    return {name: _json(value) for name, value in row.items()}


def _json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return value
