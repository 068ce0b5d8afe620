"""What a picture of module calls shows at a given depth, with repeats folded.

Three or more neighbours of one shape fold into one: the same class and configuration, the same
shapes in and out, the same hooks doing the same, and so on inside.  A module that has a hook of
its own therefore stands out of its row, and so does one that is asked to be opened.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from hooktrace.errors import UnknownNameError, nearest
from hooktrace.events import CallId, TensorSummary
from hooktrace.views.calls import Call
from hooktrace.views.folding import longest_row
from hooktrace.views.hookuse import HookUse

__all__ = [
    "Item",
    "Outline",
    "around",
    "inside",
    "opened_to",
    "outline",
    "outlines",
    "shapes_of",
]

_READABLE = 30  # boxes that can be read on one screen
_STILL_READABLE = 45  # boxes that are worth it to show what hooks did inside


@dataclass
class Item:
    """A call as the picture shows it.

    Attributes:
        call: The call; of a folded row, its first.
        repeats: The further calls of a folded row.
        children: What is shown inside; empty for a box.
        parent: The item around it.
        row: Number of the folded row it belongs to; 0 if it is no part of one.
    """

    call: Call
    parent: Item | None = None
    repeats: list[Call] = field(default_factory=list)
    children: list[Item] = field(default_factory=list)
    row: int = 0

    @property
    def key(self) -> str:
        """Its id in the picture."""
        return f"call-{self.call.id}"

    @property
    def same_module(self) -> bool:
        """Whether the repeats are calls of one and the same module."""
        return all(one.module.id == self.call.module.id for one in self.repeats)


@dataclass
class Outline:
    """All items, and where each call went.

    Attributes:
        items: The outermost items.
        home: The innermost item that stands for a call: its own, that of the row into which it
            was folded, or the box that hides it.
        hidden: For the calls inside the repeats of folded rows, the numbers of those rows.
        depth: Levels of nesting that are shown everywhere.
    """

    items: list[Item]
    home: dict[CallId, Item]
    hidden: dict[CallId, set[int]]
    depth: int

    def boxes(self) -> list[Item]:
        """Return the items without children, in order."""
        found: list[Item] = []
        stack = list(reversed(self.items))
        while stack:
            item = stack.pop()
            if item.children:
                stack += reversed(item.children)
            else:
                found.append(item)
        return found


def outline(
    roots: Sequence[Call], uses: HookUse, depth: int | None = None, *, folds: bool = True
) -> Outline:
    """Choose what to show, whatever its size.

    Args:
        roots: The outermost calls.
        uses: The hooks and where they act.
        depth: Levels of children of the roots to show, at least 0; None for as many as can be
            read on one screen, and more where hooks are inside.
        folds: Whether rows of one shape are folded; else every call has an item of its own.
    """
    if not folds:
        return opened_to(roots, {one.id: one.id for one in inside(roots)}, depth or 0, set())
    return next(outlines(roots, uses, depth))


def outlines(
    roots: Sequence[Call],
    uses: HookUse,
    depth: int | None = None,
    expand: str | Sequence[str] | Callable[[Call], bool] | None = None,
) -> Iterator[Outline]:
    """Yield what to show, then less and less for when it is too much.

    Args:
        roots: The outermost calls.
        uses: The hooks and where they act.
        depth: As for `outline`.
        expand: Calls to open whatever the depth: patterns of names, or a function of a call.

    Raises:
        UnknownNameError: `expand` names nothing that was called.
    """
    chosen = _chosen(roots, expand)
    shapes = shapes_of(roots, uses, chosen)
    opened = {one.id for call in chosen.values() for one in (call, *_outer(call))}
    if depth is None:
        plan = _readable(roots, uses, shapes)
        if opened:
            plan = opened_to(roots, shapes, plan.depth, opened | _hooked(roots, uses))
    else:
        plan = opened_to(roots, shapes, depth, opened)
    yield plan
    deepest = min(plan.depth, max((call.depth for call in inside(roots)), default=0))
    for level in range(deepest - 1, -1, -1):
        yield opened_to(roots, shapes, level, opened)
    if opened or depth is None:
        for level in range(deepest, -1, -1):
            yield opened_to(roots, shapes, level, set())


def _readable(roots: Sequence[Call], uses: HookUse, shapes: dict[CallId, Any]) -> Outline:
    """Open as many levels as can be read on one screen, and more where hooks are inside."""
    deepest = max((call.depth for call in inside(roots)), default=0)
    for opened in (_hooked(roots, uses), set()):
        best = opened_to(roots, shapes, 1, opened)
        for level in range(2, deepest + 1):
            deeper = opened_to(roots, shapes, level, opened)
            if len(deeper.boxes()) > _READABLE:
                break
            best = deeper
        if len(best.boxes()) <= _STILL_READABLE:
            break
    return best


def _chosen(
    roots: Sequence[Call], expand: str | Sequence[str] | Callable[[Call], bool] | None
) -> dict[CallId, Call]:
    """Return the calls that are to be opened, those inside of which nothing is left out."""
    if expand is None:
        return {}
    calls = inside(roots)
    if callable(expand):
        return {call.id: call for call in calls if call.children and expand(call)}
    found: dict[CallId, Call] = {}
    for pattern in [expand] if isinstance(expand, str) else expand:
        matching = [call for call in calls if fnmatchcase(call.name, pattern)]
        if not matching:
            near = nearest(pattern, {call.name for call in calls})
            raise UnknownNameError(f"expand={pattern!r} names no module that was called.{near}")
        found.update((call.id, call) for call in matching if call.children)
    return found


def _hooked(roots: Sequence[Call], uses: HookUse) -> set[CallId]:
    """Return the calls that have hooks or remarks somewhere inside: a picture opens them."""
    found: set[CallId] = set()
    for call in inside(roots):
        if uses.at(call) or uses.remarks.get(call.id):
            found.update(one.id for one in _outer(call))
    return found


def _outer(call: Call) -> list[Call]:
    found = []
    while call.parent is not None:
        call = call.parent
        found.append(call)
    return found


def around(item: Item | None) -> list[Item]:
    """Return an item and the items around it, innermost first."""
    found = []
    while item is not None:
        found.append(item)
        item = item.parent
    return found


def inside(calls: Sequence[Call]) -> list[Call]:
    """Return the calls and all calls inside them, each before those inside it."""
    found: list[Call] = []
    stack = list(reversed(calls))
    while stack:
        call = stack.pop()
        found.append(call)
        stack += reversed(call.children)
    return found


def opened_to(
    roots: Sequence[Call], shapes: dict[CallId, Any], depth: int, opened: set[CallId]
) -> Outline:
    """Open so many levels of the roots, and whatever is among `opened`."""
    home: dict[CallId, Item] = {}
    items = fold(roots, shapes)
    queue = [(item, 0) for item in items]
    while queue:
        item, level = queue.pop()
        home[item.call.id] = item
        if item.call.children and (level < depth or item.call.id in opened):
            item.children = fold(item.call.children, shapes)
            for child in item.children:
                child.parent = item
                queue.append((child, level + 1))
        else:
            for call in inside([item.call]):
                home[call.id] = item
    return Outline(items, home, _settle_repeats(items, home), depth)


def _settle_repeats(items: list[Item], home: dict[CallId, Item]) -> dict[CallId, set[int]]:
    """Send the calls inside the repeats of a row to where their like in the first one is shown."""
    outer_first: list[Item] = []
    queue = list(items)
    while queue:
        item = queue.pop()
        outer_first.append(item)
        queue += item.children
    hidden: dict[CallId, set[int]] = {}
    for item in reversed(outer_first):
        first = inside([item.call])
        for repeat in item.repeats:
            for like, call in zip(first, inside([repeat]), strict=True):
                home[call.id] = home[like.id]
                hidden.setdefault(call.id, set()).update(hidden.get(like.id, ()), (item.row,))
    return hidden


def fold(calls: Sequence[Call], shapes: dict[CallId, Any]) -> list[Item]:
    """Fold rows of at least three of one shape; a row may repeat a pattern of several calls."""
    marks = [shapes[call.id] for call in calls]
    items: list[Item] = []
    start = 0
    while start < len(calls):
        period, times = longest_row(marks, start)
        row = calls[start].id + 1 if times > 1 else 0
        for offset in range(period):
            at = range(start + offset, start + period * times, period)
            items.append(Item(calls[at[0]], repeats=[calls[one] for one in at[1:]], row=row))
        start += period * times
    return items


def shapes_of(
    roots: Sequence[Call], uses: HookUse, chosen: Container[CallId] = ()
) -> dict[CallId, Any]:
    """Give equal numbers to calls of one shape; children are numbered before their parents."""
    numbers: dict[Any, int] = {}
    shapes: dict[CallId, Any] = {}
    for call in reversed(inside(roots)):
        mark = (
            call.module.type,
            call.module.config,
            tuple(_size(one.summary) for one in call.seen_inputs),
            tuple(_size(one.summary) for one in call.seen_outputs),
            call.exception,
            call.id in chosen,
            uses.mark(call),
            tuple(shapes[child.id] for child in call.children),
        )
        shapes[call.id] = numbers.setdefault(mark, len(numbers))
    return shapes


def _size(summary: TensorSummary | str) -> Any:
    return summary.shape if isinstance(summary, TensorSummary) else ""
