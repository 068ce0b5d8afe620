"""From a log to the records of a file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hooktrace.descriptions import Container, Slot
from hooktrace.events import CallId, Event, ModuleCalled, ModuleId
from hooktrace.log import EventLog
from hooktrace.storage.wire import (
    Ending,
    Facts,
    Graph,
    Kept,
    Parameters,
    PartTables,
    Regions,
    Setup,
    Sightings,
)

__all__ = ["FactsSent", "count_steps", "described", "ending", "part_tables", "step_calls"]


class FactsSent:
    """The rows of the tables that a file has already, so that only new ones are added."""

    def __init__(self) -> None:
        self._sent: dict[str, dict[Any, Any]] = {}

    def fresh(self, log: EventLog) -> Facts | None:
        """Return what is new, or has changed, since the last time; None if nothing has."""
        setup = Setup(
            list(log.roots),
            sorted(log.parts),
            sorted(log.kept),
            log.copies,
            log.sticky,
            log.stats.taken,
        )
        nodes = log.nodes
        parameters = {row.id for row in log.tensors if row.parameter}
        leaves = (
            (node, (nodes.parts[node][0], leaf))
            for node, leaf in tuple(nodes.leaves.items())
            if leaf in parameters
        )
        found = Facts(
            setup if self._new("setup", [(0, setup)]) else None,
            self._new("modules", enumerate(log.modules)),
            self._new("hooks", enumerate(log.hooks)),
            self._new("registrations", tuple(log.registrations.items())),
            self._new("tensors", ((row.id, row) for row in log.tensors if row.parameter)),
            tuple((node, name, leaf) for node, (name, leaf) in self._new("leaves", leaves)),
        )
        return None if found == Facts() else found

    def _new(self, table: str, rows: Iterable[tuple[Any, Any]]) -> tuple[Any, ...]:
        sent = self._sent.setdefault(table, {})
        found = []
        for key, row in rows:
            known = sent.get(key)
            if known is not row and known != row:
                sent[key] = row
                found.append((key, row))
        return tuple(found)


def step_calls(events: Iterable[Event]) -> list[CallId]:
    """Return the outermost calls that began in these events: the steps."""
    return [one.call for one in events if isinstance(one, ModuleCalled) and one.parent is None]


def count_steps(events: Iterable[Event]) -> int:
    """Return how many steps there are in a timeline; `hooktrace.streaming` says what one is."""
    steps = 0
    ran: set[ModuleId] = set()
    for event in events:
        if isinstance(event, ModuleCalled) and event.parent is None:
            if event.module in ran or not steps:
                steps += 1
                ran.clear()
            ran.add(event.module)
    return max(steps, 1)


def part_tables(log: EventLog, events: int, steps: range, kept: Kept) -> PartTables:
    """Return what belongs to a stretch of the timeline.

    Args:
        log: What the log holds now, apart from facts, is taken to belong to it.
        events: How many there are in the stretch.
        steps: The numbers of its steps.
        kept: The names that kept tensors have in the file.
    """
    nodes = log.nodes
    graph = Graph(
        [
            (number, name, call, tuple(edges))
            for number, (name, call, edges) in sorted(nodes.parts.items())
        ],
        sorted(nodes.leaves.items()),
        [(value, node, output) for value, (node, output) in tuple(log.producers.items())],
        sorted(log.strangers),
        list(log.entrances.items()),
    )
    seen = Sightings(
        list(log.contents.items()),
        [(before, after, one) for (before, after), one in tuple(log.changes.items())],
        list(log.stats.items()),
        list(log.stats.parameters),
    )
    regions = Regions(
        [(call, first, run) for call, (first, run) in tuple(log.recomputed.items())],
        list(log.reentrant.items()),
    )
    tensors = [row for row in log.tensors if not row.parameter]
    return PartTables(steps.start, len(steps), events, tensors, graph, seen, regions, kept)


def ending(log: EventLog, steps: int) -> Ending:
    """Return what is known at the end only; `steps` is how many there were."""
    parameters = Parameters(
        [(number, name, grown) for number, (name, grown) in log.parameters.items()],
        dict(log.aliases),
        list(log.replaced.items()),
        dict(log.optimized),
    )
    return Ending(
        steps,
        list(log.holdings),
        list(log.modified),
        list(log.trials),
        parameters,
        {name: list(places) for name, places in log.unseen.items()},
        log.graphs,
        log.released,
        log.sealed,
        list(log.members),
        log.flops,
        log.error,
        log.raised_at,
    )


# ------------------------------------------------------------------ what models returned


def described(tree: Any) -> Any:
    """Turn the description of a result into plain values; classes become their names."""
    if isinstance(tree, Slot):
        return {"role": tree.role}
    if not isinstance(tree, Container):
        return tree
    names = getattr(tree.kind, "_fields", None)
    return {
        "kind": tree.kind.__name__,
        "how": "attributes" if tree.how == "named" else tree.how,
        "items": [
            [str(names[key]) if tree.how == "named" and names else _plain(key), described(item)]
            for key, item in tree.items
        ],
    }


def _plain(key: Any) -> Any:
    return key if isinstance(key, (bool, int, float, str, type(None))) else str(key)
