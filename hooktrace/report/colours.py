"""The colours of the diagrams as variables of the page's style sheet, light and dark."""

from __future__ import annotations

from functools import cache

from hooktrace.render.theme import COLOURS

__all__ = ["colours"]


@cache
def colours() -> str:
    """Return CSS: a variable for each colour, and that pictures of the engine use them.

    The reader's system chooses, unless ``data-theme`` on the root element does.
    """
    light, dark = (
        "".join(f"--{name}:{pair[side]};" for name, pair in COLOURS.items()) for side in (0, 1)
    )
    used = "".join(
        f'[fill="{pair[0]}"]{{fill:var(--{name})}}[stroke="{pair[0]}"]{{stroke:var(--{name})}}'
        for name, pair in COLOURS.items()
    )
    used += "".join(
        f".fill-{name}{{fill:var(--{name})}}.line-{name}{{stroke:var(--{name})}}"
        for name in COLOURS
    )
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light])"
        f"{{color-scheme:dark;{dark}}}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
        f"@media print{{:root,:root[data-theme=dark]{{color-scheme:light;{light}}}}}\n"
        f"{used}\n"
    )
