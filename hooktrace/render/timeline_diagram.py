"""The picture of when each call ran: one line for each, time from left to right."""

from __future__ import annotations

from hooktrace.errors import RenderError
from hooktrace.log import EventLog
from hooktrace.render.asked import Asked, view
from hooktrace.render.dot import Box, Scene, colour, text
from hooktrace.render.legend import heading
from hooktrace.render.wording import clip
from hooktrace.views.calls import CallIndex
from hooktrace.views.lanes import Span, spans

__all__ = ["timeline_scene"]

_WIDTH = 560  # points for the time from the first beginning to the last end
_LINES = 60  # that can be read on one screen
_FILLS = {"call": "seen", "backward": "written", "step": "ink"}
_FILLS_OF_HOOKS = {"changed": "changed", "raised": "raised"}  # of others: as of what is said softly


@view("timeline", "depth", "budget")
def timeline_scene(log: EventLog, calls: CallIndex, asked: Asked) -> Scene:
    """Compose the picture of the spans: as deep as can be read on one screen, or as asked."""
    found = spans(log, calls)
    if not found:
        raise RenderError("Nothing that takes time was recorded, so there is no timeline.")
    most = asked.most if asked.budget or asked.depth is not None else _LINES
    depth = _deepest(found, most) if asked.depth is None else asked.depth
    deep = [one for one in found if one.depth <= depth or one.kind == "hook"]
    if len(deep) > most:
        deep = [one for one in found if one.depth <= depth]
    shown = deep[:most]
    start = min(one.start_ns for one in found)
    end = max(one.end_ns or one.start_ns for one in found)
    rows = "".join(_line(one, start, max(end - start, 1)) for one in shown)
    label = f'<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="1" CELLPADDING="1">{rows}</TABLE>>'
    words = f"Timeline: {len(shown)} of {len(found)} spans in {_time(end - start)}"
    notes = [("soft", "Each line begins where its span began; what is inside is indented.")]
    if len(shown) < len(found):
        notes.append(("soft", "The rest is deeper or later: depth= and budget= show more."))
    box = Box("timeline", label, "timeline", words)
    return Scene(heading(words, notes, set()), [box])


def _deepest(found: list[Span], most: int) -> int:
    """Return the number of levels that have no more than so many lines; hooks always count."""
    hooks = sum(one.kind == "hook" for one in found)
    for depth in range(max(one.depth for one in found), 0, -1):
        calls = sum(one.depth <= depth and one.kind != "hook" for one in found)
        if calls + hooks <= most:
            return depth
    return 0


def _line(span: Span, start: int, whole: int) -> str:
    """Write the row of one span: its kind and name, and its bar at its time."""
    end = start + whole if span.end_ns is None else span.end_ns
    width = max(2, round((end - span.start_ns) / whole * _WIDTH))
    left = min(round((span.start_ns - start) / whole * _WIDTH), _WIDTH - width)
    took = "not ended" if span.end_ns is None else _time(span.end_ns - span.start_ns)
    told = f"{took}, {span.note}" if span.note else took
    indent = "&#160;" * (3 * span.depth)
    name = f"{indent}{text(clip(span.name, 52))}"
    cells = [
        f'<FONT POINT-SIZE="8" COLOR="{colour("soft")}">{span.kind}</FONT>',
        f'<FONT POINT-SIZE="9" COLOR="{colour("ink")}">{name}</FONT>',
        _bar(left, width, _fill(span)),
        f'<FONT POINT-SIZE="8" COLOR="{colour("soft")}">{text(told)}</FONT>',
    ]
    return "<TR>" + "".join(f'<TD ALIGN="LEFT">{cell}</TD>' for cell in cells) + "</TR>"


def _fill(span: Span) -> str:
    """Return the ink of a bar; orange is for a hook that changed something, as everywhere."""
    return _FILLS.get(span.kind) or _FILLS_OF_HOOKS.get(span.note, "soft")


def _bar(left: int, width: int, fill: str) -> str:
    """Write a bar in a row of fixed width: the engine would stretch a shorter one."""
    fills = [(left, ""), (width, f' BGCOLOR="{colour(fill)}"')]
    fills.append((_WIDTH - left - width, ""))
    cells = "".join(
        f'<TD FIXEDSIZE="TRUE" WIDTH="{size}" HEIGHT="8"{fill}></TD>'
        for size, fill in fills
        if size
    )
    table = '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0">'
    return f"{table}<TR>{cells}</TR></TABLE>"


def _time(nanoseconds: int) -> str:
    """Write a time to three digits.

    >>> _time(1_234_000), _time(950)
    ('1.23 ms', '0.95 us')
    """
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds / 1e3:.3g} us"
