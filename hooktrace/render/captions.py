"""Captions of frames stand where no arrow passes.

The engine reserves room for a caption at the top of its frame, and lets arrows into the frame
pass through that room.  So a picture is laid out, each caption is moved to a gap between the
arrows, and where no gap is wide enough the frame is made wider; the engine lays out the result.
Only spacers in the captions change, which any engine understands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from hooktrace.render.engine import layout

__all__ = ["laid_out", "settle"]

_ROUNDS = 8
_MANY = 600  # arrows from which on it takes seconds to lay them out
_PATIENCE = 4  # rounds in which a frame is made only as much wider as seems to do
_PAD = 8.0  # points that the engine leaves beside a caption
_CLEAR = 4.0  # points between a caption and an arrow
_STEPS = 8  # straight pieces for each curve

Interval = tuple[float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class _Place:
    """The spacers of a caption, in points, and the least width that both and the words take."""

    left: float = 0
    right: float = 0
    total: float = 0


@dataclass
class _Curve:
    """An arrow as the engine drew it: points along it, and the box around them."""

    points: list[Point]

    def __post_init__(self) -> None:
        xs, ys = zip(*self.points, strict=True)
        self.left, self.right, self.low, self.high = min(xs), max(xs), min(ys), max(ys)


def laid_out(source: str, form: str, engine: str | None = None, program: str = "dot") -> bytes:
    """Lay out a diagram with every caption off the arrows.

    Args:
        source: DOT text of `hooktrace.render.dot.write`.
        form: Output format of Graphviz, such as ``svg``.
        engine: See `hooktrace.render.engine.find_engine`.
        program: Kind of layout; only ``dot`` draws frames with arrows into them.

    Raises:
        RenderError: There is no engine, or it refused the text, or it warned.
    """
    settled = settle(source, engine) if program == "dot" else source
    return layout(settled, form, engine, program)


def settle(source: str, engine: str | None = None) -> str:
    """Return the DOT text with spacers in the captions that arrows would cross."""
    if "  subgraph " not in source:
        return source
    places: dict[str, _Place] = {}
    rounds = _ROUNDS if source.count(" -> ") <= _MANY else 2
    for number in range(rounds):
        moved = _spaced(source, places)
        found = json.loads(layout(moved, "json0", engine))
        better = places | dict(_moves(found, places, number >= _PATIENCE))
        if better == places:
            break
        places = better
    return _spaced(source, places)


def _moves(
    found: dict[str, Any], places: dict[str, _Place], surely: bool
) -> Iterator[tuple[str, _Place]]:
    """Yield a new place for every caption that an arrow crosses."""
    curves = [
        curve
        for edge in found.get("edges", ())
        if edge.get("style") != "invis" and "pos" in edge
        for curve in _curves(edge["pos"])
    ]
    for frame in found.get("objects", ()):
        if "lp" in frame and frame["name"].startswith("cluster"):
            place = places.get(frame["name"], _Place())
            moved = _moved(frame, place, curves, surely)
            if moved != place:
                yield frame["name"], moved


def _moved(frame: dict[str, Any], place: _Place, curves: Iterable[_Curve], surely: bool) -> _Place:
    """Return where a caption should go: where it is if nothing crosses it there."""
    left, _, right, _ = map(float, frame["bb"].split(","))
    x, y = map(float, frame["lp"].split(","))
    width, height = float(frame["lwidth"]) * 72, float(frame["lheight"]) * 72
    words = width - place.left - place.right
    crossing = sorted(_crossing(curves, (left, right), (y - height / 2, y + height / 2)))
    end = x + width / 2 - place.right
    if not any(low < end + 1 and high > end - words - 1 for low, high in crossing):
        return place
    room = (left + _PAD, right - _PAD)
    gaps = list(_gaps(crossing, room))
    for low, high in reversed(gaps):
        if high - low >= words:
            spacer = right - _PAD - high
            return replace(place, left=max(0, place.total - words - spacer), right=spacer)
    widest = max((high - low for low, high in gaps), default=0)
    total = room[1] - room[0] + words - widest + _CLEAR
    if surely:
        total = max(total, (len(crossing) + 1) * (words + 3 * _CLEAR))
    return _Place(total - words, 0, total)


def _gaps(crossing: Iterable[Interval], room: Interval) -> Iterator[Interval]:
    """Yield the free intervals between what crosses, from left to right."""
    start = room[0]
    for low, high in crossing:
        if low - _CLEAR > start:
            yield start, low - _CLEAR
        start = max(start, high + _CLEAR)
    if room[1] > start:
        yield start, room[1]


def _crossing(curves: Iterable[_Curve], across: Interval, band: Interval) -> Iterator[Interval]:
    """Yield where arrows cross a band, as intervals from left to right."""
    for curve in curves:
        if curve.high < band[0] or curve.low > band[1]:
            continue
        if curve.right < across[0] or curve.left > across[1]:
            continue
        xs = [x for piece in pairwise(curve.points) for x in _clip(*piece, *band)]
        if xs and max(xs) >= across[0] and min(xs) <= across[1]:
            yield min(xs), max(xs)


def _clip(start: Point, end: Point, low: float, high: float) -> tuple[float, ...]:
    """Return the horizontal ends of the part of a line that is inside a band."""
    (x0, y0), (x1, y1) = sorted((start, end), key=lambda point: point[1])
    if y1 < low or y0 > high:
        return ()
    if y0 == y1:
        return x0, x1
    slope = (x1 - x0) / (y1 - y0)
    return x0 + slope * (max(y0, low) - y0), x0 + slope * (min(y1, high) - y0)


def _curves(pos: str) -> Iterator[_Curve]:
    """Read the Bezier curves of an edge, with its arrowhead as a last straight piece."""
    for part in pos.split(";"):
        tips: dict[str, Point] = {}
        points: list[Point] = []
        for word in part.split():
            *mark, x, y = word.split(",")
            if mark:
                tips[mark[0]] = (float(x), float(y))
            else:
                points.append((float(x), float(y)))
        line = [points[0]]
        for first in range(0, len(points) - 3, 3):
            line += _bezier(*points[first : first + 4])
        yield _Curve(
            [*(tips[k] for k in "s" if k in tips), *line, *(tips[k] for k in "e" if k in tips)]
        )


def _bezier(a: Point, b: Point, c: Point, d: Point) -> Iterator[Point]:
    for step in range(1, _STEPS + 1):
        t = step / _STEPS
        u = 1 - t
        weights = (u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t)
        yield (
            sum(w * point[0] for w, point in zip(weights, (a, b, c, d), strict=True)),
            sum(w * point[1] for w, point in zip(weights, (a, b, c, d), strict=True)),
        )


def _spaced(source: str, places: dict[str, _Place]) -> str:
    """Write the spacers into the captions; `write` puts each on a line of its own."""
    if not places:
        return source
    lines, frame = source.split("\n"), ""
    for number, line in enumerate(lines):
        words = line.strip()
        if words.startswith('subgraph "'):
            frame = words.split('"')[1]
        elif words.startswith("label=<") and frame in places:
            lines[number] = _wrapped(words, places[frame])
    return "\n".join(lines)


def _wrapped(label: str, place: _Place) -> str:
    inner = label.removeprefix("label=<").removesuffix(">]")
    left, right = (
        f'<TD WIDTH="{spacer:.0f}"></TD>' if spacer >= 1 else ""
        for spacer in (place.left, place.right)
    )
    table = '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0">'
    return f"label=<{table}<TR>{left}<TD>{inner}</TD>{right}</TR></TABLE>>]"
