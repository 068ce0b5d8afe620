"""Levels in which nearly everything feeds everything, such as a block of DenseNet.

An engine takes minutes for them, and its drawing is a tangle.  So they stand in one column, in
the order of the computation; what goes past a neighbour is an arc beside the column.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

from hooktrace.render.dot import Arrow, Scene

__all__ = ["add_arcs", "column", "is_dense"]

Data = dict[str, Any]

_MANY_ARROWS = 40
_ARROWS_PER_BOX = 2
_GAP = 14.0
_BULGE = 0.28  # of the way that an arc bridges


def is_dense(scene: Scene) -> bool:
    """Whether a level is drawn as a column."""
    count = len(scene.arrows)
    return count > _MANY_ARROWS and count > _ARROWS_PER_BOX * len(scene.members)


def column(scene: Scene) -> tuple[Scene, list[Arrow]]:
    """Return the level with the arrows between neighbours alone, and the other arrows."""
    order = _order(scene)
    place = {name: number for number, name in enumerate(order)}
    near = [one for one in scene.arrows if place[one.head] - place[one.tail] == 1]
    far = [one for one in scene.arrows if place[one.head] - place[one.tail] != 1]
    tied = {(one.tail, one.head) for one in near}
    held = [
        Arrow(*pair, options={"style": "invis"}) for pair in pairwise(order) if pair not in tied
    ]
    return replace(scene, arrows=[*near, *held]), far


def _order(scene: Scene) -> list[str]:
    """Return the names of the boxes, each after what leads to it where that is possible."""
    before: dict[str, list[str]] = {one.name: [] for one in scene.members}
    for arrow in scene.arrows:
        before[arrow.head].append(arrow.tail)
    done: dict[str, None] = {}
    for name in before:
        _put(name, before, done, set())
    return list(done)


def _put(name: str, before: dict[str, list[str]], done: dict[str, None], open_: set[str]) -> None:
    stack = [name]
    while stack:
        top = stack[-1]
        waits = [one for one in before[top] if one not in done and one not in open_]
        open_.add(top)
        if waits:
            stack += waits[:1]
        else:
            done.setdefault(stack.pop())


def add_arcs(picture: Data, arrows: list[Arrow]) -> Data:
    """Draw the other arrows beside the column."""
    boxes = {one["k"]: one for one in picture["boxes"]}
    edge = max(one["x"] + one["w"] / 2 for one in picture["boxes"])
    labels = [one["l"] for one in picture["arrows"] if "l" in one]
    edge = max([edge, *(one["x"] + one["w"] / 2 for one in labels)]) + _GAP
    widest = edge
    for arrow in arrows:
        arc = _arc(arrow, boxes[arrow.tail], boxes[arrow.head], edge)
        picture["arrows"].append(arc)
        widest = max(widest, edge + 0.75 * (arc["p"][8] - edge))
    picture["w"] = max(picture["w"], round(widest + _GAP))
    return picture


def _arc(arrow: Arrow, tail: Data, head: Data, edge: float) -> Data:
    start, end = tail["y"] + tail["h"] * 0.2, head["y"] - head["h"] * 0.2
    left, right = tail["x"] + tail["w"] / 2, head["x"] + head["w"] / 2
    far = edge + _GAP + _BULGE * abs(end - start)
    curve = [left, start, left, start, edge, start, edge, start, far, start, far, end, edge, end]
    curve += [edge, end, right + 8, end, right + 8, end]
    changed = "changed" in arrow.classes.split()
    written = "written" in arrow.classes.split()
    return {
        "a": arrow.tail,
        "b": arrow.head,
        "c": arrow.classes + " arc",
        "p": [round(one, 1) for one in curve],
        "s": "changed" if changed else "written" if written else "line",
        "g": 3 if changed else 1,
        "n": int(arrow.options["id"]),
        "e": [round(right, 1), round(end, 1)],
        "t": arrow.tooltip,
    }
