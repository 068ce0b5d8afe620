"""Checks a picture as the engine laid it out, from what it drew, not from what we asked for.

Every box in its own frames and no other, no two boxes on each other, no arrow through a caption
or a box, and no warning (`layout` raises on one).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Any

from hooktrace.render.captions import laid_out

ENGINES = ["graphviz-pure", *(["dot"] if shutil.which("dot") else [])]

Rectangle = tuple[float, float, float, float]
Point = tuple[float, float]


def audit(dot: str, engine: str | None = None, program: str = "dot") -> int:
    """Raise AssertionError at the first thing that is wrong; return the number of boxes."""
    found = json.loads(laid_out(dot, "json", engine, program))
    objects = found.get("objects", [])
    boxes = {
        one["_gvid"]: rectangle(one)
        for one in objects
        if "pos" in one and one.get("style") != "invis"
    }
    frames = [one for one in objects if one["name"].startswith("cluster")]
    names = {one["_gvid"]: one["name"] for one in objects}
    _boxes_in_frames(boxes, frames, names)
    for (first, one), (second, other) in combinations(boxes.items(), 2):
        assert not overlap(one, other), f"{names[first]} is on {names[second]}"
    lines = [(edge, list(drawn(edge))) for edge in found.get("edges", []) if visible(edge)]
    captions = [(one["name"], place) for one in frames for place in words(one)]
    for edge, points in lines:
        _off_captions(edge, points, captions, names)
        _off_boxes(edge, points, boxes, names)
    return len(boxes)


def _boxes_in_frames(
    boxes: dict[int, Rectangle], frames: list[dict[str, Any]], names: dict[int, str]
) -> None:
    for frame in frames:
        left, low, right, high = map(float, frame["bb"].split(","))
        for number, (x0, y0, x1, y1) in boxes.items():
            inside = left <= x0 and x1 <= right and low <= y0 and y1 <= high
            ours = number in frame.get("nodes", [])
            apart = not overlap((x0, y0, x1, y1), (left, low, right, high))
            assert inside if ours else apart, (frame["name"], names[number])


def _off_captions(
    edge: dict[str, Any],
    points: list[Point],
    captions: list[tuple[str, Rectangle]],
    names: dict[int, str],
) -> None:
    for frame, place in captions:
        ends = f"{names[edge['tail']]} -> {names[edge['head']]}"
        assert not any(crosses(*piece, place) for piece in pairwise(points)), f"{ends}: {frame}"


def _off_boxes(
    edge: dict[str, Any], points: list[Point], boxes: dict[int, Rectangle], names: dict[int, str]
) -> None:
    for number, (x0, y0, x1, y1) in boxes.items():
        if number not in (edge["tail"], edge["head"]):
            inner = (x0 + 2, y0 + 2, x1 - 2, y1 - 2)
            passed = any(crosses(*piece, inner) for piece in pairwise(points))
            assert not passed, f"{edge['tail']} -> {edge['head']} through {names[number]}"


def visible(edge: dict[str, Any]) -> bool:
    return edge.get("style") != "invis"


def drawn(edge: dict[str, Any]) -> Iterator[Point]:
    """Points along an arrow, from its drawing operations: Bezier curves."""
    for operation in edge.get("_draw_", []):
        if operation["op"] in "bB":
            points = [(x, y) for x, y in operation["points"]]
            yield points[0]
            for start in range(0, len(points) - 1, 3):
                yield from curve(points[start : start + 4])


def curve(points: list[Point]) -> Iterator[Point]:
    for step in range(1, 21):
        left = points
        while len(left) > 1:  # de Casteljau
            t = step / 20
            left = [(a + (c - a) * t, b + (d - b) * t) for (a, b), (c, d) in pairwise(left)]
        yield left[0]


def words(frame: dict[str, Any]) -> Iterator[Rectangle]:
    """The rectangles of the texts in a frame's caption, from its drawing operations."""
    size = 14.0
    for operation in frame.get("_ldraw_", []):
        if operation["op"] == "F":
            size = operation["size"]
        elif operation["op"] == "T" and operation["text"].strip():
            (x, y), width = operation["pt"], operation["width"]
            start = x - width * {"l": 0, "c": 0.5, "r": 1}[operation["align"]]
            yield start, y - 0.15 * size, start + width, y + 0.7 * size


def rectangle(node: dict[str, str]) -> Rectangle:
    x, y = map(float, node["pos"].split(","))
    width, height = float(node["width"]) * 36, float(node["height"]) * 36  # half, in points
    return x - width, y - height, x + width, y + height


def overlap(one: Rectangle, other: Rectangle) -> bool:
    across = one[2] > other[0] and other[2] > one[0]
    return across and one[3] > other[1] and other[3] > one[1]


def crosses(start: Point, end: Point, box: Rectangle) -> bool:
    """Whether a straight line enters a rectangle (Liang and Barsky's clipping)."""
    first, last = 0.0, 1.0
    for axis in (0, 1):
        step = end[axis] - start[axis]
        low, high = box[axis] - start[axis], box[axis + 2] - start[axis]
        if step == 0:
            if low >= 0 or high <= 0:
                return False
            continue
        first = max(first, min(low / step, high / step))
        last = min(last, max(low / step, high / step))
    return first < last
