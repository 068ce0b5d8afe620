"""Where gradients flow: from autograd node to autograd node, by the parts of a picture."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from hooktrace.events import (
    BackwardStarted,
    CallId,
    GradientAccumulated,
    GradientComputed,
    HookFired,
    NodeId,
    Observation,
    TensorId,
)
from hooktrace.log import EventLog
from hooktrace.views.calls import Call
from hooktrace.views.effects import EditView
from hooktrace.views.links import Link
from hooktrace.views.nodeplaces import Places
from hooktrace.views.outline import Outline, around, inside
from hooktrace.views.tidying import Tidier

__all__ = ["Backflow", "norm_of", "oddity_of"]


class Backflow:
    """The backward graph of some calls, as an outline shows it.

    Attributes:
        links: The ways of the gradients; `Link.seen` are those that were seen to pass.
        nodes: By key of a box: the names of its autograd nodes.
        fills: By key of a box: the parameters whose ``.grad`` it leads to.
        operations: The nodes outside of closed boxes; `Operation.parameters` is what they fill.
        ends: What else the links join, by key, with its words: backward runs and inputs.
        filled: By name of a leaf: how its ``.grad`` was filled last in the runs of these calls.
    """

    def __init__(self, log: EventLog, roots: list[Call], plan: Outline) -> None:
        self._log = log
        self._plan = plan
        self._boxes = {item.key: item for item in plan.boxes()}
        calls = inside(roots)
        places = Places(log, plan, {None, *(call.id for call in calls)}, self._box)
        self._items = {**self._boxes, **places.item_of}
        self._of = places.of
        self._seen = self._sightings(calls)
        self.filled = self._accumulated(calls)
        self.operations = places.operations
        for node in log.nodes:
            if f"op-{node.id}" in self.operations:
                self.operations[f"op-{node.id}"].names = [node.name]
        self.nodes: dict[str, list[str]] = defaultdict(list)
        self.fills: dict[str, list[str]] = defaultdict(list)
        self.ends: dict[str, str] = {}
        self.links: list[Link] = []
        self._follow()
        self._begin()
        self._leave_others({key for key in self._of.values() if key not in self.operations})
        self._mark_changes(calls)
        short = Tidier(self.links, self.operations).shorten()
        self.links, self.operations = short.links, short.operations

    def _box(self, call: CallId | None) -> str | None:
        item = self._plan.home.get(call) if call is not None else None
        return item.key if item is not None and item.key in self._boxes else None

    def _sightings(self, calls: list[Call]) -> dict[tuple[NodeId, int], list[Observation]]:
        """Say for each output of a node which gradients were seen to arrive at it."""
        found: dict[tuple[NodeId, int], list[Observation]] = defaultdict(list)
        for call in calls:
            outputs = [seen.value for seen in call.seen_outputs]
            for event in call.gradients:
                number = _number(event.gradient.role)
                value = outputs[number] if number is not None and number < len(outputs) else None
                if value in self._log.producers:
                    found[self._log.producers[value]].append(event.gradient)
        for event in self._log.of(GradientComputed):
            if event.node is not None:
                found[event.node, 0].append(event.gradient)
        return found

    def _accumulated(self, calls: list[Call]) -> dict[str, GradientAccumulated]:
        every = [one for call in calls for one in (call, *call.recomputations)]
        runs = {event.backward for call in every for event in call.gradients}
        return {
            self._log.tensors[event.tensor].name: event
            for event in self._log.of(GradientAccumulated)
            if not runs or event.backward in runs
        }

    def _follow(self) -> None:
        for node in self._log.nodes:
            place = self._of.get(node.id)
            if place is None:
                continue
            if place not in self.operations:
                self.nodes[place].append(node.name)
            for source in node.next:
                self._edge(place, node.call, source)

    def _edge(self, place: str, call: CallId | None, source: tuple[NodeId, int]) -> None:
        target = self._log.nodes[source[0]]
        if target.leaf is not None:
            self._leaf(place, target.leaf)
            return
        head = self._of.get(target.id)
        rows = self._plan.hidden.get(call, set()) if call is not None else set()
        if head is None or head == place:
            return
        if not any(item.row in rows for item in around(self._items.get(head))):
            self._pass(place, head, self._seen.get(source, []))

    def _leaf(self, place: str, leaf: TensorId) -> None:
        row = self._log.tensors[leaf]
        name = row.name or f"t{leaf}"
        if row.parameter:
            operation = self.operations.get(place)
            names = self.fills[place] if operation is None else operation.parameters
            names += [name] if name not in names else []
            return
        self.ends[f"leaf-{leaf}"] = f"{name}.grad"
        self._pass(place, f"leaf-{leaf}", [])

    def _begin(self) -> None:
        """Tie each backward run to what made the tensors that it started from."""
        for event in self._log.of(BackwardStarted):
            roots = [
                self._of.get(made[0])
                for seen in event.roots
                if seen.value is not None and (made := self._log.producers.get(seen.value))
            ]
            for place in [one for one in roots if one is not None] or self._heads():
                self.ends[f"backward-{event.backward}"] = f"backward {event.backward + 1}"
                self._pass(f"backward-{event.backward}", place, [])

    def _heads(self) -> list[str]:
        """Return where the only backward run must have begun: what no gradient comes to."""
        if len(self._log.of(BackwardStarted)) > 1:
            return []
        reached = {link.head for link in self.links}
        return [key for key in dict.fromkeys(self._of.values()) if key not in reached][-1:]

    def _leave_others(self, boxes: set[str]) -> None:
        """Leave out code outside of the calls that nothing joins to them: other steps' losses."""
        if len(self._log.of(BackwardStarted)) < 2 or not boxes:
            return
        beside: dict[str, set[str]] = defaultdict(set)
        for link in self.links:
            beside[link.tail].add(link.head)
            beside[link.head].add(link.tail)
        reached, new = set(boxes), set(boxes)
        while new:
            new = set().union(*(beside[key] for key in new)) - reached
            reached |= new
        self.links = [link for link in self.links if link.tail in reached]
        self.operations = {key: one for key, one in self.operations.items() if key in reached}
        self.ends = {key: words for key, words in self.ends.items() if key in reached}

    def _mark_changes(self, calls: list[Call]) -> None:
        """Put what backward hooks of a module changed onto the arrow to it, or from it.

        Which arrow that is is certain where there is one; a box of several calls has none.
        """
        for call in calls:
            item = self._items.get(self._box(call.id) or "")
            if item is None or item.call is not call or item.repeats:
                continue
            for event in (event for event in call.hooks if event.edits):
                kind = self._log.hooks[event.hook].kind
                end = {"full_backward_pre": "head", "full_backward": "tail"}.get(kind)
                here = [link for link in self.links if end and getattr(link, end) == item.key]
                if len(here) == 1:
                    here[0].edits = list(dict.fromkeys(here[0].edits + self._told(event)))

    def _told(self, event: HookFired) -> list[str]:
        views = [EditView(self._log, event, edit) for edit in event.edits]
        return [f"{one.change.text} by hook {one.hook.name.rpartition('.')[2]}" for one in views
                if not one.equal]  # fmt: skip

    def _pass(self, tail: str, head: str, seen: list[Observation]) -> None:
        self.links.append(Link(tail, head, list(seen)))


def _number(role: str) -> int | None:
    """Return i of ``grad_output[i]``; None for any other role."""
    words = role.removeprefix("grad_output[").removesuffix("]")
    return int(words) if role.startswith("grad_output[") and words.isdigit() else None


def norm_of(log: EventLog, seen: Observation) -> float | None:
    """Return the norm of what was seen, if its statistics or its elements are known."""
    stats = log.stats.of(seen)
    if stats is not None:
        return stats.norm
    return None if seen.numbers is None else math.sqrt(sum(abs(x) ** 2 for x in seen.numbers))


def oddity_of(log: EventLog, seen: Observation) -> str:
    """Say that elements are NaN or infinite, or that all are zero; else nothing."""
    stats = log.stats.of(seen)
    if stats is not None:
        return stats.oddity
    return ", ".join(_odd(seen.numbers)) if seen.numbers else ""


def _odd(numbers: tuple[complex, ...]) -> Iterator[str]:
    sizes = [abs(one) for one in numbers]
    for name, count in (
        ("NaN", sum(map(math.isnan, sizes))),
        ("infinite", sum(map(math.isinf, sizes))),
    ):
        if count:
            yield f"{count} of {len(sizes)} {name}"
    if not any(sizes):
        yield "all zero"
