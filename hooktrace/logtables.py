"""The tables that a log consists of, beside its timeline."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from hooktrace.events import CallId, NodeId, TensorId, TracedNode, TracedTensor

__all__ = ["NodeTable", "Table", "TensorTable"]

Key = TypeVar("Key", bound=int)
Row = TypeVar("Row", bound=Any)

_Node = tuple[str, CallId | None, tuple[tuple[NodeId, int], ...]]


class Table(Generic[Key, Row]):
    """Rows that are numbered in order of appearance and looked up by that number."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def __getitem__(self, key: Key) -> Row:
        return self._rows[key]

    def __setitem__(self, key: Key, row: Row) -> None:
        """Replace a row by a better-informed one of the same number."""
        self._rows[key] = row

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Any:
        return iter(tuple(self._rows))

    def append(self, row: Row) -> None:
        """Add the next row."""
        self._rows.append(row)

    def __repr__(self) -> str:
        return f"<{len(self)} rows>"


class NodeTable:
    """Rows of autograd nodes, put together when they are read.

    Attributes:
        parts: What the recorder writes: for each node, by its number, its name, call and edges.
            A node that was forgotten, or left out of a file, has no name.
        leaves: For ``AccumulateGrad`` nodes, the tensor whose ``.grad`` they fill.
    """

    def __init__(self) -> None:
        self.parts: dict[NodeId, _Node] = _Parts()
        self.leaves: dict[NodeId, TensorId] = {}
        self._numbers = itertools.count()
        self._bare: dict[str, _Node] = {}  # one row for all of a name without edges

    def add(self, name: str) -> Any:
        """Add a node of which only the name is known yet; return its number."""
        number: Any = next(self._numbers)
        bare = self._bare.get(name)
        if bare is None:
            bare = self._bare[name] = name, None, ()
        self.parts[number] = bare
        return number

    def put(
        self,
        number: NodeId,
        name: str,
        call: CallId | None,
        edges: tuple[tuple[NodeId, int], ...],
    ) -> None:
        """Put in a node of a known number."""
        self.parts[number] = name, call, edges

    def keep(self, nodes: set[NodeId]) -> None:
        """Forget all other nodes."""
        tables: tuple[dict[NodeId, Any], ...] = (self.parts, self.leaves)
        for table in tables:
            for number in table.keys() - nodes:
                del table[number]

    def __getitem__(self, number: NodeId) -> TracedNode:
        return TracedNode(number, *self.parts[number], self.leaves.get(number))

    def __iter__(self) -> Iterator[TracedNode]:
        return (self[number] for number in tuple(self.parts))

    def __len__(self) -> int:
        return len(self.parts)


class _Parts(dict[NodeId, _Node]):
    def __missing__(self, number: NodeId) -> _Node:
        return "", None, ()


class TensorTable:
    """Rows of tensors.  Only those with a name or a role are stored; the others are implied."""

    def __init__(self) -> None:
        self._rows: dict[TensorId, TracedTensor] = {}

    def __getitem__(self, number: TensorId) -> TracedTensor:
        row = self._rows.get(number)
        return TracedTensor(number) if row is None else row

    def __contains__(self, number: TensorId) -> bool:
        return number in self._rows

    def keep(self, wanted: Callable[[TracedTensor], bool]) -> None:
        """Forget the other rows."""
        for row in self:
            if not wanted(row):
                del self._rows[row.id]

    def __setitem__(self, number: TensorId, row: TracedTensor) -> None:
        self._rows[number] = row

    def __iter__(self) -> Iterator[TracedTensor]:
        return iter(tuple(self._rows.values()))

    def __len__(self) -> int:
        return len(self._rows)
