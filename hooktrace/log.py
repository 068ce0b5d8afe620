"""The event log: append-only rows and the tables that they point into."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import chain
from operator import attrgetter
from typing import Any, Generic, TypeVar, overload

from hooktrace.events import (
    CallId,
    Change,
    Event,
    HookId,
    ModuleId,
    NodeId,
    Observation,
    Registration,
    TensorId,
    TracedHook,
    TracedModule,
    TracedNode,
    TracedTensor,
    Value,
)
from hooktrace.held import Held, ModifiedSave
from hooktrace.tensorstats import StatsTable
from hooktrace.trials import Trial

__all__ = ["EventLog", "NodeTable", "Table", "TensorTable"]

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


class NodeTable:
    """Rows of autograd nodes, put together when they are read.

    Attributes:
        parts: What the recorder writes: for each node its name, call, and edges.
        leaves: For ``AccumulateGrad`` nodes, the tensor whose ``.grad`` they fill.
    """

    def __init__(self) -> None:
        self.parts: list[tuple[str, CallId | None, tuple[tuple[NodeId, int], ...]]] = []
        self.leaves: dict[NodeId, TensorId] = {}
        self._bare: dict[str, tuple[str, None, tuple[()]]] = {}  # one row for all without edges

    def add(self, name: str) -> Any:
        """Add a node of which only the name is known yet; return its number."""
        parts = self.parts
        bare = self._bare.get(name)
        if bare is None:
            bare = self._bare[name] = name, None, ()
        parts.append(bare)
        return len(parts) - 1

    def __getitem__(self, number: NodeId) -> TracedNode:
        return TracedNode(number, *self.parts[number], self.leaves.get(number))

    def __iter__(self) -> Iterator[TracedNode]:
        return (self[NodeId(number)] for number in range(len(self.parts)))

    def __len__(self) -> int:
        return len(self.parts)


class TensorTable:
    """Rows of tensors.  Only those with a name or a role are stored; the others are implied."""

    def __init__(self) -> None:
        self._rows: dict[TensorId, TracedTensor] = {}

    def __getitem__(self, number: TensorId) -> TracedTensor:
        row = self._rows.get(number)
        return TracedTensor(number) if row is None else row

    def __contains__(self, number: TensorId) -> bool:
        return number in self._rows

    def __setitem__(self, number: TensorId, row: TracedTensor) -> None:
        self._rows[number] = row

    def __iter__(self) -> Iterator[TracedTensor]:
        return iter(tuple(self._rows.values()))

    def __len__(self) -> int:
        return len(self._rows)


class EventLog:
    """What a trace recorded.

    Any prefix of `events` is a valid trace, so a log can be read while it is being written,
    in a debugger, and after the traced program raised.

    Attributes:
        rows: What probes append to: tuples (make, time_ns, thread, ...), from which the events are
            made when they are read: ``make(seq, time_ns, thread, ...)`` gives an event or several.
        registrations: For each hook, what is known of how it is registered.
        replaced: Parameters that are no longer the model's when the block ends, and the names
            under which it now has others.
        parameters: The parameters that the models have when the block ends: their names, and
            whether they require a gradient.
        aliases: Further names of those parameters, such as that of a tied weight.
        optimized: The parameters of each optimizer that took a step, by its name.
        entrances: Of each backward run, by its number, the nodes that it began at.
        graphs: How many graphs ``torch.compile`` had compiled in the process at the end.
        modules, hooks, tensors, nodes: Tables that events point into by row number.
        holdings: What the user's hooks stored, as it was when the block ended.
        modified: Saved tensors that were written to, for which a backward run raised.
        producers: For the outputs of module calls and for named tensors, the
            autograd node and output number that produced a value.
        contents: What named tensors were seen to hold, by value.
        snapshots: Live tensors, for what `keep` names and for what hooks edited: a copy of
            the content of each value.
        overwritten: For kept outputs, keyed by (call, role): a copy of what the tensor held
            when the root call ended, where that differs.
        edges: For kept outputs, keyed by (call, role): the gradient edge, an autograd object.
        results: Of outermost calls in which something was kept, how what they returned is put
            together: a description with roles in the place of tensors.
        accumulated: Weak references from leaves to the tensor that filled their ``.grad`` last.
        changes: How the two sides of an edit differ, keyed by (before, after); filled on reading.
        strangers: Autograd nodes of which it is not known on which thread they were made, and so
            in which call.
        recomputed: Calls that checkpointing ran again: the first call, if it is known, and
            the number of the backward run.
        reentrant: Calls in a checkpointed region of the reentrant kind as it ran for the first
            time, which is without autograd, and whether an input of that region required a
            gradient.
        unseen: What probes know that they could not see: name of a blind spot -> places.
        stats: Statistics of what tensors held, by the number that a sighting carries.
        kept: The modules whose values are kept.
        parts: Names of all modules of the traced models, called or not.
        copies: Whether the tensor arguments of hooks were copied.
        released: Whether what was kept has been let go.
        roots: Names of the traced models ("" for a single one).
        sticky: Whether PyTorch takes global backward hooks for full ones though there are none now.
        trials: What experiments with full backward hooks on a copy of the model showed.
        raised_at: ``file:line`` of the code outside of PyTorch that raised `error`, if known.
        error: Why the block ended early, as ``Type: message``; None if it did not.
        sealed: Whether the block has ended.
    """

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self._events: list[Event] = []
        self._by_kind: dict[type[Event], list[Event]] = {}
        self._read = 0
        self._reading = threading.Lock()
        self.modules: Table[ModuleId, TracedModule] = Table()
        self.hooks: Table[HookId, TracedHook] = Table()
        self.tensors = TensorTable()
        self.nodes = NodeTable()
        self.registrations: dict[HookId, Registration] = {}
        self.replaced: dict[TensorId, str] = {}
        self.parameters: dict[TensorId, tuple[str, bool]] = {}
        self.aliases: dict[str, TensorId] = {}
        self.optimized: dict[str, tuple[TensorId, ...]] = {}
        self.entrances: dict[int, tuple[NodeId, ...]] = {}
        self.graphs = 0
        self.holdings: list[Held] = []
        self.modified: list[ModifiedSave] = []
        self.producers: dict[Value, tuple[NodeId, int]] = {}
        self.contents: dict[Value, Observation] = {}
        self.snapshots: dict[Value, Any] = {}
        self.overwritten: dict[tuple[CallId, str], Any] = {}
        self.edges: dict[tuple[CallId, str], Any] = {}
        self.results: dict[CallId, Any] = {}
        self.accumulated: dict[TensorId, Any] = {}
        self.changes: dict[tuple[Value, Value], Change] = {}
        self.strangers: set[NodeId] = set()
        self.recomputed: dict[CallId, tuple[CallId | None, int]] = {}
        self.reentrant: dict[CallId, bool] = {}
        self.unseen: dict[str, list[str]] = {}
        self.stats = StatsTable()
        self.kept: set[ModuleId] = set()
        self.roots: list[str] = []
        self.parts: set[str] = set()
        self.copies = True
        self.released = False
        self.sticky = False
        self.trials: list[Trial] = []
        self.raised_at = ""
        self.error: str | None = None
        self.sealed = False

    @property
    def events(self) -> list[Event]:
        """The timeline, as far as it has been written; ``events[i].seq == i``."""
        self._read_rows()
        return self._events

    def _read_rows(self) -> None:
        """Make the events of the rows that were written meanwhile."""
        with self._reading:
            events, rows = self._events, self.rows
            while self._read < len(rows):
                make, *fields = rows[self._read]
                made = make(len(events), *fields)
                for event in made if isinstance(made, tuple) else (made,):
                    events.append(event)
                    self._by_kind.setdefault(type(event), []).append(event)
                rows[self._read] = None
                self._read += 1

    def __len__(self) -> int:
        return len(self.events)

    @overload
    def of(self, kind: type[EventT]) -> list[EventT]: ...
    @overload
    def of(self, kind: type[EventT], *kinds: type[EventT]) -> list[EventT]: ...
    def of(self, kind: type[Any], *kinds: type[Any]) -> list[Any]:
        """Return the events of the given kinds, in order."""
        wanted = (kind, *kinds)
        self._read_rows()
        found = [rows for kind, rows in tuple(self._by_kind.items()) if issubclass(kind, wanted)]
        if len(found) == 1:
            return list(found[0])
        return sorted(chain(*found), key=attrgetter("seq"))

    def __repr__(self) -> str:
        return f"<EventLog: {len(self.events)} events, {len(self.modules)} modules>"


EventT = TypeVar("EventT", bound=Event)
