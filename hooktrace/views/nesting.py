"""The module calls of a step as nested levels, each of which is small enough to be looked at.

A level is what is directly inside of one call, or the outermost calls themselves; its repeats
are folded as in every outline.  What is inside a folded row is told of its first call.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

from hooktrace.events import CallId
from hooktrace.log import EventLog
from hooktrace.views.calls import Call
from hooktrace.views.dataflow import flow
from hooktrace.views.hookuse import HookUse
from hooktrace.views.links import Flow, Link
from hooktrace.views.outline import Item, Outline, around, inside, opened_to, outlines, shapes_of

__all__ = ["Level", "Nesting"]

_MANY_INPUTS = 4


@dataclass
class Level:
    """One level.

    Attributes:
        roots: The call that it is inside of, or the outermost calls.
        plan: That call opened, or the outermost calls closed.
        flow: What flows in it.
    """

    roots: list[Call]
    plan: Outline
    flow: Flow

    @property
    def items(self) -> list[Item]:
        """What it shows."""
        return self.plan.items[0].children or self.plan.items


class Nesting:
    """All levels of a step.

    Attributes:
        roots: The outermost calls of the step.
        whole: The outline with every level opened.
    """

    def __init__(self, log: EventLog, roots: list[Call], uses: HookUse) -> None:
        self.roots = roots
        self._log = log
        self._uses = uses
        self._shapes = shapes_of(roots, uses)
        deepest = max(call.depth for call in inside(roots)) + 1
        self.whole = opened_to(roots, self._shapes, deepest, set())

    def outermost(self) -> Level:
        """Return the first level: inside of the only call, or the outermost calls."""
        if self._opened_at_once():
            return self._level(self.roots, 1, part=False)
        return self._level(self.roots, 0, part=False)

    def _opened_at_once(self) -> bool:
        """Whether the box of the only call would say nothing but its name."""
        call = self.roots[0]
        plain = not (self._uses.at(call) or call.recomputations or call.exception)
        return len(self.roots) == 1 and bool(call.children) and plain

    def inner(self) -> Iterator[Item]:
        """Yield the items that have a level of their own inside, outer ones first."""
        queue = list(self.whole.items)
        first = self._opened_at_once()
        while queue:
            item = queue.pop(0)
            queue += item.children
            if item.children and not (first and item.parent is None):
                yield item

    def level(self, item: Item) -> Level:
        """Return what is inside of an item."""
        return self._level([item.call], 1, part=True)

    def _level(self, roots: list[Call], depth: int, *, part: bool) -> Level:
        plan = opened_to(roots, self._shapes, depth, set())
        return Level(roots, plan, _fewer_inputs(flow(self._log, roots, plan, part=part)))

    def home(self, call: CallId) -> Item | None:
        """Return the innermost item that stands for a call; None if it is not of this step."""
        return self.whole.home.get(call)

    def opened(self) -> set[CallId]:
        """Return what a picture opens by itself: what can be read, and what has hooks inside."""
        plan = next(outlines(self.roots, self._uses))
        return {one.call.id for box in plan.boxes() for one in around(box)[1:]}


def _fewer_inputs(found: Flow) -> Flow:
    """Make one of many inputs that all go to the same place."""
    heads: dict[str, list[str]] = defaultdict(list)
    for link in found.links:
        heads[link.tail].append(link.head)
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for key, terminal in found.terminals.items():
        if terminal.text == "input" and not any(map(_happened, found.links, repeat(key))):
            alike[tuple(heads[key])].append(key)
    for keys in alike.values():
        if len(keys) >= _MANY_INPUTS:
            _join_inputs(found, keys)
    return found


def _happened(link: Link, key: str) -> bool:
    """Whether something happened to what a link brings from this end."""
    return link.tail == key and bool(link.edits or link.written)


def _join_inputs(found: Flow, keys: list[str]) -> None:
    first, *others = keys
    kept = {link.head: link for link in found.links if link.tail == first}
    for link in [one for one in found.links if one.tail in others]:
        kept[link.head].seen += link.seen
        found.links.remove(link)
    found.terminals[first].count = len(keys)
    for key in others:
        del found.terminals[key]
