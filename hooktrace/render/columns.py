"""Long pictures wrap: the chain is cut where few values cross, and goes on in the next column."""

from __future__ import annotations

from collections import defaultdict

from hooktrace.render.dot import Arrow, Box, Frame

__all__ = ["columns"]

_TALLEST = 11  # boxes above each other in one column
_MOST_CROSSING = 1


def columns(members: list[Box | Frame], arrows: list[Arrow]) -> list[Arrow]:
    """Cut long chains, changing the arrows that cross a cut.

    Args:
        members: Boxes and frames of the picture.
        arrows: Its arrows; those that lead to the next column stop pulling it down.

    Returns:
        Invisible arrows that hold the heads of the columns at the top.
    """
    ranks = _ranks([box.name for box in _boxes(members)], arrows)
    height = max(ranks.values(), default=0) + 1
    if height <= _TALLEST:
        return []
    wanted = -(-height // _TALLEST)
    cuts = _cuts(ranks, arrows, height, wanted)
    for arrow in arrows:
        if any(ranks[arrow.tail] < cut <= ranks[arrow.head] for cut in cuts):
            arrow.options |= {"constraint": "false"}
            arrow.classes += " wrapped"
    return []


def _boxes(members: list[Box | Frame]) -> list[Box]:
    found: list[Box] = []
    stack = list(reversed(members))
    while stack:
        member = stack.pop()
        if isinstance(member, Box):
            found.append(member)
        else:
            stack += reversed(member.members)
    return found


def _ranks(names: list[str], arrows: list[Arrow]) -> dict[str, int]:
    """Number the layers: a box is below everything that leads to it."""
    after: dict[str, list[str]] = defaultdict(list)
    waiting = dict.fromkeys(names, 0)
    for arrow in arrows:
        after[arrow.tail].append(arrow.head)
        waiting[arrow.head] += 1
    ranks = dict.fromkeys(names, 0)
    ready = [name for name in names if not waiting[name]]
    while ready:
        name = ready.pop()
        for head in after[name]:
            ranks[head] = max(ranks[head], ranks[name] + 1)
            waiting[head] -= 1
            if not waiting[head]:
                ready.append(head)
    return ranks


def _cuts(ranks: dict[str, int], arrows: list[Arrow], height: int, wanted: int) -> list[int]:
    """Choose the layers at which a column begins, near equal heights, where little crosses."""
    crossing = dict.fromkeys(range(1, height), 0)
    for arrow in arrows:
        for layer in range(ranks[arrow.tail] + 1, ranks[arrow.head] + 1):
            crossing[layer] += 1
    allowed = [layer for layer, count in crossing.items() if count <= _MOST_CROSSING]
    cuts: list[int] = []
    for column in range(1, wanted):
        ideal = round(height * column / wanted)
        near = [one for one in allowed if abs(one - ideal) <= height // wanted // 2]
        if near:
            cuts.append(min(near, key=lambda one: (abs(one - ideal), one)))
    return sorted(set(cuts))
