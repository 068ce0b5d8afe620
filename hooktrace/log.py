"""The event log: append-only rows and the tables that they point into."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, overload

from hooktrace.events import (
    CallId,
    Change,
    Event,
    HookId,
    ModuleId,
    NodeId,
    Observation,
    TensorId,
    TracedHook,
    TracedModule,
    TracedNode,
    TracedTensor,
    Value,
)

__all__ = ["EventLog", "Table"]

Key = TypeVar("Key", bound=int)
Row = TypeVar("Row", bound=Any)


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


class EventLog:
    """What a trace recorded.

    Any prefix of `events` is a valid trace, so a log can be read while it is being written,
    in a debugger, and after the traced program raised.

    Attributes:
        events: The timeline; ``events[i].seq == i``.
        modules, hooks, tensors, nodes: Tables that events point into by row number.
        producers: For the outputs of module calls and for named tensors, the
            autograd node and output number that produced a value.
        contents: What named tensors were seen to hold, by value.
        snapshots: Live tensors, for what `keep` names and for what hooks edited: a copy of
            the content of each value.
        overwritten: For kept outputs, keyed by (call, role): a copy of what the tensor held
            when the root call ended, where that differs.
        edges: For kept outputs, keyed by (call, role): the gradient edge, an autograd object.
        changes: How the two sides of an edit differ, keyed by (before, after); filled on reading.
        kept: The modules whose values are kept.
        roots: Names of the traced models ("" for a single one).
        error: Why the block ended early, as ``Type: message``; None if it did not.
        sealed: Whether the block has ended.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.modules: Table[ModuleId, TracedModule] = Table()
        self.hooks: Table[HookId, TracedHook] = Table()
        self.tensors: Table[TensorId, TracedTensor] = Table()
        self.nodes: Table[NodeId, TracedNode] = Table()
        self.producers: dict[Value, tuple[NodeId, int]] = {}
        self.contents: dict[Value, Observation] = {}
        self.snapshots: dict[Value, Any] = {}
        self.overwritten: dict[tuple[CallId, str], Any] = {}
        self.edges: dict[tuple[CallId, str], Any] = {}
        self.changes: dict[tuple[Value, Value], Change] = {}
        self.kept: set[ModuleId] = set()
        self.roots: list[str] = []
        self.error: str | None = None
        self.sealed = False

    def __len__(self) -> int:
        return len(self.events)

    @overload
    def of(self, kind: type[EventT]) -> list[EventT]: ...
    @overload
    def of(self, kind: type[EventT], *kinds: type[EventT]) -> list[EventT]: ...
    def of(self, kind: type[Any], *kinds: type[Any]) -> list[Any]:
        """Return the events of the given kinds, in order."""
        wanted = (kind, *kinds)
        return [event for event in self.events if isinstance(event, wanted)]

    def __repr__(self) -> str:
        return f"<EventLog: {len(self.events)} events, {len(self.modules)} modules>"


EventT = TypeVar("EventT", bound=Event)
