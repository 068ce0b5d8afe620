"""A picture as the engine laid it out, as small data: boxes, frames, arrows, words.

Colours are their names, so that one style sheet serves light and dark.  Lengths are in points;
x goes to the right and y down.  What is drawn in a box is relative to its middle.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hooktrace.render.dot import Scene, write
from hooktrace.render.engine import layout
from hooktrace.render.theme import COLOURS
from hooktrace.report.dense import add_arcs, column, is_dense

__all__ = ["lay_out"]

Data = dict[str, Any]

_NAMES = {pair[0]: name for name, pair in reversed(COLOURS.items())}
_DASHES = {"solid": 0, "dashed": 1, "dotted": 2}
_BATCHES = 2
# One backslash as `hooktrace.render.dot.text` writes it: some engines double it in JSON.
_PROBE = "digraph { probe [label=<\\\\>] }\n"


def lay_out(scenes: Sequence[Scene]) -> list[Data]:
    """Lay out pictures, several in one run of the engine.

    Raises:
        RenderError: There is no engine, or it refused a picture, or it warned.
    """
    for scene in scenes:
        _number(scene)
    columns = [column(scene) if is_dense(scene) else (scene, []) for scene in scenes]
    sources = [write(scene) for scene, _ in columns]
    batches = [sources[start::_BATCHES] for start in range(_BATCHES)]
    with ThreadPoolExecutor(_BATCHES) as pool:
        found = list(pool.map(_run, batches))
    pictures = (
        _picture(*found[number % _BATCHES][number // _BATCHES]) for number in range(len(scenes))
    )
    return [
        add_arcs(picture, arcs) if arcs else picture
        for picture, (_, arcs) in zip(pictures, columns, strict=True)
    ]


def _number(scene: Scene) -> None:
    """Give the arrows numbers, by which they are found in what the engine returns."""
    for number, arrow in enumerate(scene.arrows):
        arrow.options["id"] = str(number)


def _run(sources: Sequence[str]) -> list[Any]:
    if not sources:
        return []
    text = layout("".join([_PROBE, *sources]), "json").decode()
    decoder, found, start = json.JSONDecoder(), [], 0
    while start < len(text):
        one, start = decoder.raw_decode(text, start)
        found.append(one)
        while start < len(text) and text[start].isspace():
            start += 1
    doubled = "\\\\" in {one.get("text") for one in found[0]["objects"][0]["_ldraw_"]}
    return [(one, doubled) for one in found[1:]]


def _picture(found: Any, doubled: bool) -> Data:
    *_, width, height = map(float, found["bb"].split(","))
    page = _Page(height, doubled)
    objects = [one for one in found.get("objects", ()) if one.get("style") != "invis"]
    names = {one["_gvid"]: one["name"] for one in objects}
    return {
        "w": round(width),
        "h": round(height),
        "title": [*page.drawn(found.get("_ldraw_", ()), 0, 0)],
        "frames": [page.frame(one) for one in objects if one["name"].startswith("cluster_")],
        "boxes": [page.box(one) for one in objects if "pos" in one],
        "arrows": [
            page.arrow(one, names)
            for one in sorted(found.get("edges", ()), key=lambda edge: int(edge.get("id", -1)))
            if one.get("style") != "invis" and "pos" in one
        ],
    }


class _Page:
    """Reads what was drawn; the engine's y goes up, ours goes down."""

    def __init__(self, height: float, doubled: bool) -> None:
        self._height = height
        self._doubled = doubled

    def box(self, one: Any) -> Data:
        x, y = map(float, one["pos"].split(","))
        y = self._height - y
        operations = [*one.get("_draw_", ()), *one.get("_ldraw_", ())]
        return {
            "k": one["name"],
            "c": one.get("class", ""),
            "x": round(x, 1),
            "y": round(y, 1),
            "w": round(float(one["width"]) * 72, 1),
            "h": round(float(one["height"]) * 72, 1),
            "t": _plain(one.get("tooltip", "")),
            "d": [*self.drawn(operations, x, y)],
        }

    def frame(self, one: Any) -> Data:
        left, low, right, high = map(float, one["bb"].split(","))
        x, y = (left + right) / 2, self._height - (low + high) / 2
        operations = [*one.get("_draw_", ()), *one.get("_ldraw_", ())]
        return {
            "k": one["name"].removeprefix("cluster_"),
            "c": one.get("class", ""),
            "x": round(x, 1),
            "y": round(y, 1),
            "w": round(right - left, 1),
            "h": round(high - low, 1),
            "t": _plain(one.get("tooltip", "")),
            "d": [*self.drawn(operations, x, y)],
        }

    def arrow(self, one: Any, names: dict[int, str]) -> Data:
        points, tip = _points(one["pos"])
        flat = [round(way, 1) for x, y in points for way in (x, self._height - y)]
        pen = _Pen()
        for operation in one.get("_draw_", ()):
            pen.take(operation)
        made = {
            "a": names[one["tail"]],
            "b": names[one["head"]],
            "c": one.get("class", ""),
            "p": flat,
            "s": pen.stroke,
            "g": pen.width,
            "n": int(one.get("id", -1)),
        }
        if tip:
            made["e"] = [round(tip[0], 1), round(self._height - tip[1], 1)]
        if pen.dash:
            made["dash"] = pen.dash
        if one.get("edgetooltip"):
            made["t"] = _plain(one["edgetooltip"])
        words = [*self.drawn(one.get("_ldraw_", ()), 0, 0)]
        return made | ({"l": _label(words, one["_ldraw_"])} if words else {})

    def drawn(self, operations: Any, x: float, y: float) -> Iterator[list[Any]]:
        """Yield rectangles [x, y, w, h, fill, stroke, width, dash, radius] and texts.

        A text is [x, y, text, size, ink, bold], with x at its start; y is its base line.
        """
        pen = _Pen()
        filled: list[Any] | None = None
        for operation in operations:
            kind = operation["op"]
            if kind in "bBpPL":
                shape = _rectangle(operation["points"], x, y, self._height, kind in "bB")
                if filled is not None and shape == filled[:4] + filled[8:] and kind in "bp":
                    filled[5:8] = [pen.stroke, pen.width, pen.dash]
                    continue
                if filled is not None:
                    yield filled
                fill = pen.fill if kind in "BP" else ""
                filled = [*shape[:4], fill, pen.stroke, pen.width, pen.dash, shape[4]]
            elif kind == "T" and operation["text"].strip():
                if filled is not None:
                    yield filled
                    filled = None
                yield self._text(operation, pen, x, y)
            else:
                pen.take(operation)
        if filled is not None:
            yield filled

    def _text(self, operation: Any, pen: _Pen, x: float, y: float) -> list[Any]:
        words, (left, base) = operation["text"], operation["pt"]
        if self._doubled:
            words = words.replace("\\\\", "\\")
        left -= operation["width"] * {"l": 0, "c": 0.5, "r": 1}[operation["align"]]
        lead = (len(words) - len(words.lstrip())) * pen.size * 0.278
        trail = (len(words) - len(words.rstrip())) * pen.size * 0.278
        return [
            round(left + lead - x, 1),
            round(self._height - base - y, 1),
            words.strip(),
            pen.size,
            pen.stroke,
            pen.bold,
            round(operation["width"] - lead - trail, 1),
        ]


class _Pen:
    """The state of the engine's pen."""

    def __init__(self) -> None:
        self.stroke = ""
        self.fill = ""
        self.width: float = 1
        self.dash = 0
        self.size: float = 10
        self.bold = 0

    def take(self, operation: Any) -> None:
        kind = operation["op"]
        if kind == "c":
            self.stroke = _NAMES.get(operation["color"], "")
        elif kind == "C":
            self.fill = _NAMES.get(operation["color"], "")
        elif kind == "F":
            self.size = operation["size"]
        elif kind == "t":
            self.bold = operation["fontchar"] & 1
        elif kind == "S":
            self._style(operation["style"])

    def _style(self, style: str) -> None:
        wide = re.fullmatch(r"setlinewidth\(([\d.]+)\)", style)
        if wide:
            self.width = float(wide[1])
        elif style in _DASHES:
            self.dash = _DASHES[style]
            self.width = 1 if style == "solid" else self.width


def _rectangle(points: Any, x: float, y: float, height: float, round_: bool) -> list[Any]:
    xs, ys = [one[0] for one in points], [height - one[1] for one in points]
    left, top = min(xs), min(ys)
    return [
        round(left - x, 1),
        round(top - y, 1),
        round(max(xs) - left, 1),
        round(max(max(ys) - top, 0.1), 1),  # a line is a very low rectangle
        5 if round_ else 0,
    ]


def _points(pos: str) -> tuple[list[tuple[float, float]], tuple[float, float] | None]:
    """Return the Bezier points of an arrow, and where its tip is."""
    points: list[tuple[float, float]] = []
    tip = None
    for word in pos.split(";")[0].split():
        *mark, x, y = word.split(",")
        if not mark:
            points.append((float(x), float(y)))
        elif mark[0] == "e":
            tip = (float(x), float(y))
    return points, tip


def _label(words: list[list[Any]], operations: Any) -> Data:
    """Return the words beside an arrow, relative to the middle of all of them."""
    left, right = min(one[0] for one in words), max(one[0] + one[6] for one in words)
    top = min(one[1] - 0.8 * one[3] for one in words)
    low = max(one[1] + 0.25 * one[3] for one in words)
    x, y = (left + right) / 2, (top + low) / 2
    moved = [[round(one[0] - x, 1), round(one[1] - y, 1), *one[2:]] for one in words]
    return {
        "x": round(x, 1),
        "y": round(y, 1),
        "w": round(right - left, 1),
        "h": round(low - top, 1),
        "d": moved,
    }


def _plain(tooltip: str) -> str:
    """Return a tooltip as it was before `hooktrace.render.dot.tooltip` escaped it."""
    return html.unescape(tooltip.replace("\\" * 4, "\\"))
