"""Small parts that pictures are made of: pills, captions, lines of arrow labels."""

from __future__ import annotations

from hooktrace.render.dot import Box, colour, text
from hooktrace.render.theme import ink_of

__all__ = ["caption", "heading_row", "label", "line", "pill", "stroke"]


def pill(name: str, words: str, classes: str, tooltip: str, border: str = "ink") -> Box:
    """Return a small rounded box with one line of text, such as ``input``."""
    inner = f'<<FONT POINT-SIZE="10" COLOR="{ink_of(border)}">{text(words) or " "}</FONT>>'
    options = {
        "shape": "box", "style": '"rounded,filled"', "height": "0.28", "width": "0.7",
        "margin": '"0.08,0.03"', "fillcolor": f'"{colour("paper")}"',
        "color": f'"{colour(border)}"',
    }  # fmt: skip
    return Box(name, inner, classes, tooltip, options)


def caption(rows: list[str]) -> str:
    """Write the HTML-like label of a frame."""
    return (
        '<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="1" CELLPADDING="1">'
        + "".join(rows)
        + "</TABLE>>"
    )


def heading_row(name: str, kind: str, side: str = "RIGHT") -> str:
    """Write the first row of a frame's label: its name in bold, and its class below."""
    end = f'<BR ALIGN="{side}"/>'
    tail = f'<FONT COLOR="{colour("soft")}">{text(kind)}</FONT>{end}' if kind else ""
    return (
        f'<TR><TD ALIGN="{side}"><FONT POINT-SIZE="11" COLOR="{colour("ink")}">'
        f"<B>{text(name) or ' '}</B>{end}{tail}</FONT></TD></TR>"
    )


def line(words: str, ink: str, bold: bool = False) -> str:
    """Write one line of an arrow's label."""
    inner = f"<B>{text(words)}</B>" if bold else text(words)
    return f'<FONT COLOR="{ink_of(ink)}">{inner or " "}</FONT>'


def label(lines: list[str]) -> str:
    """Write an arrow's label, its lines one below the other and off the arrow."""
    if not lines:
        return ""
    return "<" + "".join(f'  {one}<BR ALIGN="LEFT"/>' for one in lines) + ">"


def stroke(name: str, width: float) -> dict[str, str]:
    """Return the attributes of an arrow of this colour and width in points."""
    return {"color": f'"{colour(name)}"', "penwidth": f"{width:g}"}
