"""DOT text: quoting, and a scene of boxes, frames and arrows that is written out.

Two languages nest here, and each has its own escape: a quoted DOT string (`quote`), and the
HTML-like text inside a label (`text`).  Any string survives both.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field

from hooktrace.render.theme import COLOURS, FONT, ink_of

__all__ = [
    "Arrow",
    "Box",
    "Frame",
    "Scene",
    "colour",
    "printable",
    "quote",
    "row",
    "table",
    "text",
    "tooltip",
    "write",
]

# What XML 1.0 does not allow, plus lone surrogates, which cannot be encoded.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufddf\ufffe\uffff]"
)


def colour(name: str) -> str:
    """Return the light colour of this name, with six digits."""
    return COLOURS[name][0]


def printable(string: str) -> str:
    """Replace the characters that no picture can show by U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", string)


def quote(string: str) -> str:
    r"""Write a string as a quoted DOT string that stands for exactly that string.

    DOT reads ``\"`` as a quote and leaves every other backslash alone, but the attributes that
    hold text read ``\n``, ``\N`` and so on; doubling the backslash makes each a plain one.  A
    tab, which has no width, becomes a space.

    >>> print(quote('say "hi"'))
    "say \"hi\""
    """
    escaped = printable(string).replace("\t", " ").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\r\n", "\\n").replace("\n", "\\n").replace("\r", "\\n") + '"'


def text(string: str) -> str:
    """Write a string for an HTML-like label: one line, nothing in it is markup or an escape.

    >>> text("<lambda> & co")
    '&lt;lambda&gt; &amp; co'
    """
    line = " ".join(printable(string).split())
    return html.escape(line, quote=True).replace("\\", "\\\\")


def tooltip(string: str) -> str:
    """Write a string as the quoted value of a tooltip, whose escapes the engine reads twice."""
    return '"' + html.escape(printable(" ".join(string.split()))).replace("\\", "\\" * 4) + '"'


def row(
    content: str,
    *,
    size: int = 10,
    ink: str = "ink",
    bold: bool = False,
    fill: str = "",
    border: str = "",
    style: str = "ROUNDED",
    width: int = 1,
) -> str:
    """Write one table row of one cell.

    Args:
        content: Plain text; it is escaped here.
        size: Point size.
        ink: Name of the colour of the text.
        bold: Whether it is set in bold.
        fill: Name of the colour inside its frame; empty for none.
        border: Name of the colour of its frame; empty for no frame.
        style: Of that frame, such as ``ROUNDED,DASHED``.
        width: Of that frame, in points.
    """
    words = f" {text(content)} "
    words = f"<B>{words}</B>" if bold else words
    font = f'<FONT POINT-SIZE="{size}" COLOR="{ink_of(ink)}">{words}</FONT>'
    if not border:
        return f"<TR><TD>{font}</TD></TR>"
    return (
        f'<TR><TD CELLPADDING="2"><TABLE BORDER="{width}" CELLBORDER="0" CELLSPACING="0" '
        f'CELLPADDING="2" COLOR="{colour(border)}" STYLE="{style}"'
        + (f' BGCOLOR="{colour(fill)}"' if fill else "")
        + f"><TR><TD>{font}</TD></TR></TABLE></TD></TR>"
    )


def table(
    rows: list[str], *, fill: str, border: str, width: float = 1, dashed: bool = False
) -> str:
    """Write an HTML-like label: a rounded table of rows."""
    style = "ROUNDED,DASHED" if dashed else "ROUNDED"
    return (
        f'<<TABLE BORDER="{width:g}" CELLBORDER="0" CELLSPACING="1" CELLPADDING="1" '
        f'STYLE="{style}" BGCOLOR="{colour(fill)}" COLOR="{colour(border)}">'
        + "".join(rows)
        + "</TABLE>>"
    )


@dataclass
class Box:
    """A node of the picture.

    Attributes:
        name: Its id in the DOT text and in the SVG.
        label: HTML-like label with its angle brackets, or a quoted string.
        classes: For style sheets.
        tooltip: Shown on hovering; plain text.
        options: Further attributes, unquoted.
    """

    name: str
    label: str
    classes: str
    tooltip: str = ""
    options: dict[str, str] = field(default_factory=dict)


@dataclass
class Frame:
    """A cluster: a frame around boxes and further frames.

    Attributes:
        label: HTML-like label.
        continued: Its label in a further column, if the picture wraps.
    """

    name: str
    label: str
    classes: str
    tooltip: str = ""
    fill: str = "cluster0"
    border: str = "frame"
    continued: str = ""
    members: list[Box | Frame] = field(default_factory=list)


@dataclass
class Arrow:
    """An edge of the picture.

    Attributes:
        tail, head: Names of boxes.
        label: HTML-like label, or empty.
        classes: For style sheets.
        tooltip: Shown on hovering; plain text.
        options: Further attributes, unquoted.
    """

    tail: str
    head: str
    label: str = ""
    classes: str = "edge"
    tooltip: str = ""
    options: dict[str, str] = field(default_factory=dict)


@dataclass
class Scene:
    """A whole picture, before its layout.

    Attributes:
        title: HTML-like label above it.
        members: Boxes and frames.
        arrows: Edges.
        heads: For a picture that wraps, the boxes that nothing leads to, with their columns.
    """

    title: str
    members: list[Box | Frame] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    heads: dict[str, int] = field(default_factory=dict)


def write(scene: Scene) -> str:
    """Write the scene as DOT text."""
    lines = [
        "digraph hooktrace {",
        f'  graph [rankdir=TB, fontname="{FONT}", fontsize=12, labelloc=t, labeljust=l, pad=0.2,',
        f'         nodesep=0.35, ranksep=0.3, compound=true, bgcolor="{colour("paper")}",',
        f'         fontcolor="{colour("ink")}", label={scene.title}]',
        f'  node [fontname="{FONT}", fontsize=10, shape=plain, fontcolor="{colour("ink")}"]',
        f'  edge [fontname="{FONT}", fontsize=9, color="{colour("line")}", arrowsize=0.7,',
        f'        fontcolor="{colour("soft")}"]',
    ]
    lines += _columns(scene.heads)
    for member in scene.members:
        lines += _member(member, "  ")
    lines += [_arrow(arrow) for arrow in scene.arrows]
    return "\n".join([*lines, "}"]) + "\n"


def _columns(heads: dict[str, int]) -> list[str]:
    """Write invisible points in a row, which hold the columns in their order at the top."""
    if not heads:
        return []
    points = [f'"column-{number}"' for number in range(max(heads.values()) + 1)]
    lines = [f"  {point} [shape=point, style=invis, width=0.02]" for point in points]
    lines.append(f"  {{ rank=same; {' -> '.join(points)} [style=invis, minlen=3] }}")
    lines += [
        f"  {points[number]} -> {quote(name)} [style=invis, weight=3]"
        for name, number in heads.items()
    ]
    return lines


def _member(member: Box | Frame, indent: str) -> list[str]:
    if isinstance(member, Box):
        return [indent + _box(member)]
    lines = [
        f"{indent}subgraph {quote('cluster_' + member.name)} {{",
        f"{indent}  graph [id={quote(member.name)}, class={quote(member.classes)},",
        f'{indent}    style="rounded,filled", fillcolor="{colour(member.fill)}",',
        f'{indent}    color="{colour(member.border)}", labeljust=r, margin=10,',
        f"{indent}    tooltip={tooltip(member.tooltip)},",
        f"{indent}    label={member.label}]",
    ]
    for inner in member.members:
        lines += _member(inner, indent + "  ")
    return [*lines, f"{indent}}}"]


def _box(box: Box) -> str:
    name = quote(box.name)
    options = "".join(f", {key}={value}" for key, value in box.options.items())
    return (
        f"{name} [id={name}, class={quote(box.classes)}, tooltip={tooltip(box.tooltip)}, "
        f"label={box.label}{options}]"
    )


def _arrow(arrow: Arrow) -> str:
    parts = [f"class={quote(arrow.classes)}"]
    if arrow.label:
        parts.append(f"label={arrow.label}")
    if arrow.tooltip:
        parts.append(f"edgetooltip={tooltip(arrow.tooltip)}")
    parts += [f"{key}={value}" for key, value in arrow.options.items()]
    return f"  {quote(arrow.tail)} -> {quote(arrow.head)} [{', '.join(parts)}]"
