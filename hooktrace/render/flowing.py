"""How a value on its way is drawn: what it is, what hooks made of it, what overwrote it."""

from __future__ import annotations

from hooktrace.render.dot import Arrow
from hooktrace.render.pieces import label, line, stroke
from hooktrace.render.wording import clip, shape
from hooktrace.views.links import Link

__all__ = ["arrow"]


def arrow(link: Link, single: bool, seen: set[str]) -> Arrow:
    """Draw a link, and note its signs for the legend.

    Args:
        link: The value and its way.
        single: Whether its ends stand for one call each, so that small values can be shown.
        seen: The signs that occur in the picture.
    """
    shapes = list(dict.fromkeys(shape(one, single) for one in link.seen))
    lines = [line(clip(one, 44), "soft") for one in shapes[:3]]
    if len(shapes) > 3:
        lines.append(line(f"and {len(shapes) - 3} more", "soft"))
    options: dict[str, str] = {}
    classes = ["edge"]
    if link.written:
        seen.add("written")
        classes.append("written")
        lines.append(line(link.written, "written"))
        options = stroke("written", 1.6) | {"arrowhead": "normalnormal"}
    if link.edits:
        seen.add("changed")
        classes.append("changed")
        lines = [line(clip(one, 48), "changed", bold=True) for one in link.edits[:3]] + lines
        options = options | stroke("changed", 3)
    if not link.certain:
        seen.add("guess")
        classes.append("guess")
        options = {"style": "dashed"}
    words = "; ".join([*link.edits, *shapes])
    return Arrow(link.tail, link.head, label(lines), " ".join(classes), words, options)
