"""From the records of a file to a log.  Whatever points to what is not there is an error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

from hooktrace.descriptions import Container, Slot
from hooktrace.errors import TraceFormatError
from hooktrace.events import CallId, Edit, Event, HookFired, ModuleCalled, Observation, Value
from hooktrace.log import EventLog
from hooktrace.logtables import Table
from hooktrace.storage.tensors import StoredTensors, Vault
from hooktrace.storage.wire import Ending, Facts, PartTables

__all__ = ["Rebuilt"]

_MOST_ROWS = 50_000_000
_DEEPEST = 40
_SEEN = (
    "inputs",
    "outputs",
    "roots",
    "edits",
    "returned",
    "gradient",
    "arrived",
    "before",
    "after",
)


class Rebuilt:
    """A log that is put together of the records of a file, one after the other.

    Args:
        path: What to call the file in messages.

    Attributes:
        log: The log.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.log = EventLog()
        self.log.snapshots = self._snapshots = StoredTensors[Value]()
        self.log.overwritten = self._overwritten = StoredTensors[tuple[CallId, str]]()
        self._events: list[Event] = []

    def facts(self, facts: Facts) -> None:
        """Take rows of the tables that concern the whole run."""
        log = self.log
        if facts.setup is not None:
            setup = facts.setup
            log.roots, log.parts, log.kept = setup.roots, set(setup.parts), set(setup.kept)
            log.copies, log.sticky, log.stats.taken = setup.copies, setup.sticky, setup.stats
        self._fill(log.modules, facts.modules, "module")
        self._fill(log.hooks, facts.hooks, "hook")
        log.registrations.update(facts.registrations)
        for number, row in facts.tensors:
            log.tensors[number] = row
        for node, name, leaf in facts.leaves:
            log.nodes.put(node, name, None, ())
            log.nodes.leaves[node] = leaf

    def part(self, events: Sequence[Event], tables: PartTables, vault: Vault) -> None:
        """Take a stretch of the timeline with its tables."""
        log, graph = self.log, tables.graph
        self._events += events
        for row in tables.tensors:
            log.tensors[row.id] = row
        for number, name, call, edges in graph.nodes:
            log.nodes.put(number, name, call, edges)
        log.nodes.leaves.update(graph.leaves)
        log.producers.update((value, (node, output)) for value, node, output in graph.producers)
        log.strangers.update(graph.strangers)
        log.entrances.update(graph.entrances)
        log.contents.update(tables.seen.contents)
        log.changes.update(((one, two), change) for one, two, change in tables.seen.changes)
        log.stats.update(tables.seen.stats)
        log.stats.parameters += tables.seen.parameters
        log.recomputed.update(
            (call, (first, run)) for call, first, run in tables.regions.recomputed
        )
        log.reentrant.update(tables.regions.reentrant)
        for value, name in tables.kept.values:
            self._snapshots.place(value, vault, name)
        for call, role, name in tables.kept.overwritten:
            self._overwritten.place((call, role), vault, name)
        for call, tree in tables.kept.results:
            log.results[call] = self._undescribed(tree)

    def ending(self, ending: Ending) -> None:
        """Take what was known at the end."""
        log = self.log
        log.holdings, log.modified, log.trials = ending.holdings, ending.modified, ending.trials
        own = ending.parameters
        log.parameters = {number: (name, grown) for number, name, grown in own.parameters}
        log.aliases, log.optimized = own.aliases, own.optimized
        log.replaced = dict(own.replaced)
        log.unseen, log.graphs = ending.unseen, ending.graphs
        log.released, log.error, log.raised_at = ending.released, ending.error, ending.raised_at
        log.sealed = ending.sealed
        log.members, log.flops = ending.members, ending.flops

    def finish(self) -> EventLog:
        """Return the log, when everything that it points to is known to be there.

        Raises:
            TraceFormatError: Something is not.
        """
        log = self.log
        nodes = sorted(log.nodes.parts.items())
        log.nodes.parts.clear()
        log.nodes.parts.update(nodes)
        _Check(self.path, log, self._events).all()
        log.put_back(self._events)
        log.holdings = [one for one in log.holdings if isinstance(log.at(one.firing), HookFired)]
        return log

    # -------------------------------------------------------------- inner workings

    def _fill(self, table: Table[Any, Any], rows: Iterable[tuple[int, Any]], what: str) -> None:
        for number, row in rows:
            if number == len(table):
                table.append(row)
            elif 0 <= number < len(table):
                table[number] = row
            else:
                raise TraceFormatError(
                    f"{self.path} is damaged: {what} {number} comes before {what} {len(table)}."
                )

    def _undescribed(self, tree: Any, depth: int = 0) -> Any:
        """Turn plain values into the description of a result; the user's classes are gone."""
        if not isinstance(tree, dict):
            return tree
        if set(tree) == {"role"} and isinstance(tree["role"], str):
            return Slot(tree["role"])
        items = tree.get("items")
        if depth > _DEEPEST or not isinstance(items, list):
            raise TraceFormatError(f"{self.path} is damaged: what a model returned cannot be read.")
        pairs = []
        for pair in items:
            if not isinstance(pair, list) or len(pair) != 2 or isinstance(pair[0], (list, dict)):
                raise TraceFormatError(
                    f"{self.path} is damaged: what a model returned cannot be read."
                )
            pairs.append((pair[0], self._undescribed(pair[1], depth + 1)))
        how = str(tree.get("how"))
        if how == "attributes":
            pairs = [(str(key), item) for key, item in pairs]
        return Container(_class_for(how, str(tree.get("kind"))), how, tuple(pairs))


_BASES: dict[str, type] = {"attributes": SimpleNamespace, "mapping": dict, "list": list}


def _class_for(how: str, name: str) -> type:
    """Return what takes the place of the user's class in a loaded result: one of its name."""
    base = _BASES.get(name if how == "sequence" else how, tuple)
    return base if name == base.__name__ or not name.isidentifier() else type(name, (base,), {})


_REACH = {
    kind: tuple(one for one in kind.__struct_fields__ if one in _SEEN)
    for kind in Event.__subclasses__()
}


class _Check:
    """Looks whether everything that events and tables point to is there.

    Autograd nodes may be missing: a file need not hold all steps of a run.
    """

    def __init__(self, path: str, log: EventLog, events: Sequence[Event]) -> None:
        self.path = path
        self.log = log
        self.events = events

    def all(self) -> None:
        """Look at everything.

        Raises:
            TraceFormatError: Something is not there.
        """
        self._tables()
        hooks, modules = len(self.log.hooks), len(self.log.modules)
        last = -1
        calls: set[int] = set()
        for event in self.events:
            if event.seq <= last:
                self._fail(f"event {event.seq} comes after event {last}")
            last = event.seq
            if isinstance(event, ModuleCalled):
                if not 0 <= event.module < modules or event.call in calls:
                    self._fail(f"event {last} is call {event.call} of module {event.module}")
                calls.add(event.call)
            hook = getattr(event, "hook", None)
            if hook is not None and not 0 <= hook < hooks:
                self._fail(f"event {last} is of hook {hook}, which there is not")
            for name in _REACH[type(event)]:
                self._observed(getattr(event, name), last)
        for seen in self.log.contents.values():
            self._observed(seen, last)
        for call, (first, run) in tuple(self.log.recomputed.items()):
            if first is not None and (first not in calls or first >= call):
                self.log.recomputed[call] = None, run

    def _tables(self) -> None:
        log = self.log
        if len(log.nodes) > _MOST_ROWS or len(self.events) > _MOST_ROWS:
            self._fail(f"it has more than {_MOST_ROWS:,} rows")
        modules, hooks = range(len(log.modules)), range(len(log.hooks))
        for number, row in enumerate(log.hooks):
            if row.module is not None and row.module not in modules:
                self._fail(f"hook {number} is on module {row.module}, which there is not")
        missing = {one for one in log.kept if one not in modules}
        absent = {one for one in log.registrations if one not in hooks}
        absent |= {one.hook for one in log.holdings if one.hook not in hooks}
        if missing or absent:
            self._fail(f"there are no modules {sorted(missing)} and no hooks {sorted(absent)}")

    def _observed(self, seen: Any, seq: int) -> None:
        if isinstance(seen, tuple):
            for one in seen:
                self._observed(one, seq)
        elif isinstance(seen, Edit):
            self._observed((seen.before, seen.after), seq)
        elif isinstance(seen, Observation) and seen.numbers is not None:
            if not all(isinstance(one, (int, float, complex)) for one in seen.numbers):
                self._fail(f"event {seq} has numbers that are none")

    def _fail(self, what: str) -> None:
        raise TraceFormatError(f"{self.path} is damaged: {what}.")
