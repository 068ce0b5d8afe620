"""The colours of the diagrams, and how one SVG serves light and dark.

Every colour has six digits and a name.  The engine writes the light colours into the SVG; a
style sheet inside it replaces each of them where the reader's system prefers dark.  Colours
are never the only sign: a changed value is thick and says what changed, a hook that never
fired has a dashed frame and says so.  What is bright enough for a line is too bright for letters:
some colours have a darker one for text, NAME_ink, which has a contrast of 4.5 on every fill
(WCAG 2.2, 1.4.3).  Orange, blue, vermilion and purple are those of the Okabe-Ito palette, which
colour-blind readers can tell apart.
"""

from __future__ import annotations

__all__ = ["COLOURS", "FONT", "MONO", "ink_of", "style_sheet", "themed"]

FONT = "Helvetica"
MONO = "Courier"

#: name: (light, dark)
COLOURS: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#15181c"),
    "ink": ("#1b1f24", "#e9edf1"),
    "soft": ("#57606a", "#a9b3bd"),
    "line": ("#6e7781", "#8d97a1"),
    "frame": ("#afb8c1", "#4a535c"),
    "leaf": ("#f3f6f9", "#20262c"),
    "box": ("#e4ebf5", "#263143"),
    "operation": ("#fbfbfc", "#1a1e22"),
    "cluster0": ("#fcfdfe", "#181c20"),
    "cluster1": ("#f6f9fc", "#1c2126"),
    "changed": ("#d55e00", "#ff9447"),
    "changed_fill": ("#ffe8d1", "#4d2a0c"),
    "seen": ("#0072b2", "#6cc0f5"),
    "seen_fill": ("#e3f1fb", "#12324a"),
    "never": ("#7d8590", "#98a1ab"),
    "raised": ("#b3261e", "#ff8a80"),
    "raised_fill": ("#fde7e5", "#4c1512"),
    "written": ("#9b3d82", "#e59fd0"),
    "changed_ink": ("#a84800", "#ff9447"),
    "seen_ink": ("#00629b", "#6cc0f5"),
    "never_ink": ("#57606a", "#a9b3bd"),
}


def ink_of(name: str) -> str:
    """Return the light colour in which text of this colour is written."""
    return COLOURS.get(f"{name}_ink", COLOURS[name])[0]


def style_sheet() -> str:
    """Return the CSS that turns the light colours into the dark ones."""
    rules = []
    for light, dark in COLOURS.values():
        rules.append(f'[fill="{light}"]{{fill:{dark}}}[stroke="{light}"]{{stroke:{dark}}}')
    return (
        "svg{color-scheme:light dark}"
        ".node:hover>polygon,.node:hover>path{stroke-width:2.5}"
        "@media (prefers-color-scheme:dark){" + "".join(rules) + "}"
    )


def themed(svg: str) -> str:
    """Put the style sheet into an SVG of the engine, as the first thing inside ``<svg>``."""
    start = svg.find("<svg")
    end = svg.find(">", start)
    if start < 0 or end < 0 or "prefers-color-scheme" in svg:
        return svg
    return f"{svg[: end + 1]}\n<style>{style_sheet()}</style>{svg[end + 1 :]}"
