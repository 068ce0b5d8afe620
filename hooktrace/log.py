"""The event log: append-only rows and the tables that they point into."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, TypeVar, overload

from msgspec.structs import replace

from hooktrace.events import (
    CallId,
    Change,
    Event,
    HookId,
    Member,
    ModuleId,
    NodeId,
    Observation,
    Registration,
    TensorId,
    TracedHook,
    TracedModule,
    Value,
)
from hooktrace.held import Held, ModifiedSave
from hooktrace.logtables import NodeTable, Table, TensorTable
from hooktrace.origins import Origin, Surroundings
from hooktrace.tensorstats import StatsTable
from hooktrace.trials import Trial

__all__ = ["EventLog"]


class EventLog:
    """What a trace recorded.

    Any prefix of `events` is a valid trace, so a log can be read while it is being written,
    in a debugger, and after the traced program raised.

    Attributes:
        rows: What probes extend by a pair, ``make, (time_ns, thread, ...)``, from which the events
            are made when they are read: ``make(seq, time_ns, thread, ...)`` gives an event or
            several.  The garbage collector need not look into a tuple without functions.
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
        stock: Looks at the modules of the models; None if there is nothing to be looked at.
        flops: Floating-point operations by name of module, and of a whole under the name of its
            root; None where they were not counted.
        copies: Whether the tensor arguments of hooks were copied.
        released: Whether what was kept has been let go.
        roots: Names of the traced models ("" for a single one).
        sticky: Whether PyTorch takes global backward hooks for full ones though there are none now.
        trials: What experiments with full backward hooks on a copy of the model showed.
        raised_at: ``file:line`` of the code outside of PyTorch that raised `error`, if known.
        error: Why the block ended early, as ``Type: message``; None if it did not.
        sealed: Whether the block has ended.
        surroundings: In what the program ran.
        origin: The file that the log was read from; None if it was recorded in this process.
    """

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self._events: list[Event] = []
        self._by_kind: dict[type[Event], list[Event]] = {}
        self._read = 0
        self._first = 0  # how many events came before those that are here
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
        self.snapshots: MutableMapping[Value, Any] = {}
        self.overwritten: MutableMapping[tuple[CallId, str], Any] = {}
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
        self.stock: Callable[[], list[Member]] | None = None
        self._members: list[Member] = []
        self.flops: dict[str, int] | None = None
        self.copies = True
        self.released = False
        self.sticky = False
        self.trials: list[Trial] = []
        self.raised_at = ""
        self.error: str | None = None
        self.sealed = False
        self.surroundings = Surroundings()
        self.origin: Origin | None = None

    @property
    def events(self) -> list[Event]:
        """The timeline, as far as it has been written, in the order of ``seq``.

        ``events[i].seq == i``, unless it was read from a file that holds only some of the steps.
        """
        self._read_rows()
        return self._events

    @property
    def members(self) -> list[Member]:
        """The modules of the models, called or not, with their parameters and buffers.

        They are in the order of ``named_modules()``, as they are when this is first read after the
        block; those that are gone by then are left out.
        """
        if self.stock is None:
            return self._members
        found = self.stock()
        if self.sealed:
            self.members = found
        return found

    @members.setter
    def members(self, found: list[Member]) -> None:
        self.stock, self._members = None, found

    def _read_rows(self) -> None:
        """Make the events of the rows that were written meanwhile."""
        with self._reading:
            events, rows = self._events, self.rows
            while self._read < len(rows):
                make, fields = rows[self._read : self._read + 2]
                made = make(self._first + len(events), *fields)
                for event in made if isinstance(made, tuple) else (made,):
                    events.append(event)
                    self._by_kind.setdefault(type(event), []).append(event)
                rows[self._read + 1] = None
                self._read += 2

    def forget(self, alive: Mapping[TensorId, Value]) -> None:
        """Forget the timeline up to now and what belongs to it alone: it is in a file.

        Args:
            alive: The tensors that still live, and their values.
        """
        self._read_rows()
        with self._reading:
            del self.rows[: self._read]
            self._first += len(self._events)
            self._read, self._events, self._by_kind = 0, [], {}
        parameters = {row.id for row in self.tensors if row.parameter}
        self.tensors.keep(lambda row: row.parameter or row.id in alive)
        self.nodes.keep({node for node, leaf in self.nodes.leaves.items() if leaf in parameters})
        self.contents = {
            value: seen for value, seen in self.contents.items() if alive.get(value.tensor) == value
        }
        tables: tuple[Any, ...] = (
            self.entrances,
            self.producers,
            self.snapshots,
            self.overwritten,
            self.edges,
            self.results,
            self.changes,
            self.strangers,
            self.recomputed,
            self.reentrant,
        )
        for table in tables:
            table.clear()
        self.stats.forget()

    def forgive_left(self) -> None:
        """Take it that the hooks which are left registered are meant to be."""
        for number, row in self.registrations.items():
            if row.left:
                self.registrations[number] = replace(row, left=False)

    def put_back(self, events: Sequence[Event]) -> None:
        """Take the timeline of a log that was saved."""
        with self._reading:
            self._events = list(events)
            for event in events:
                self._by_kind.setdefault(type(event), []).append(event)

    def at(self, seq: int) -> Event | None:
        """Return the event of this number; None if it is not here."""
        events = self.events
        place = bisect_left(events, seq, key=attrgetter("seq"))
        return events[place] if place < len(events) and events[place].seq == seq else None

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
