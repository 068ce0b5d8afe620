"""Which pictures an engine can draw: letters of every script, and PDF.

An SVG is drawn by its reader, with the reader's fonts.  A PNG or a PDF is drawn by the engine:
`graphviz-pure` brings fonts for Latin, Greek, Cyrillic and Hebrew letters only, and Graphviz takes
those that are installed.  What no font has would be an empty box; so it is refused instead.
"""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

from hooktrace.errors import RenderError
from hooktrace.render.engine import find_engine

__all__ = ["drawing_engine", "foreign"]

_PURE = "graphviz-pure"
# Latin, Greek, Cyrillic, Hebrew, punctuation: what the fonts of `graphviz-pure` hold.
_BUNDLED = re.compile("[\\x00-\u024f\u0370-\u052f\u05d0-\u05ea\u2010-\u2027\ufffd]")
_TIMEOUT_S = 20


def foreign(source: str) -> list[str]:
    """Return the letters of a diagram that the fonts of `graphviz-pure` do not hold."""
    found = dict.fromkeys(html.unescape(source))
    return [
        one
        for one in found
        if not _BUNDLED.match(one) and unicodedata.category(one)[0] not in "CZM"
    ]


def drawing_engine(source: str, form: str, engine: str | None = None) -> str:
    """Return the engine that draws this diagram as ``png`` or ``pdf``.

    Args:
        source: DOT text.
        form: ``png`` or ``pdf``.
        engine: As for `find_engine`; None for one that can.

    Raises:
        RenderError: None can; the message says what to install.
    """
    letters = foreign(source)
    chosen = find_engine(engine)
    pure = Path(chosen).stem == _PURE
    if pure and (form == "pdf" or letters):
        chosen = _system(form, letters, given=engine is not None)
    if letters and (missing := _without_font(letters)):
        raise RenderError(
            f"No installed font has {_listed(missing)}, so the .{form} would show empty boxes. "
            "Install one, such as the package fonts-noto-cjk, or write .svg: its reader's fonts "
            "draw it."
        )
    return chosen


def _system(form: str, letters: list[str], given: bool) -> str:
    """Return Graphviz's own ``dot``, which draws what `graphviz-pure` cannot."""
    what = f"draws no {_listed(letters)}" if letters else "writes no .pdf"
    found = None if given else shutil.which("dot")
    if found is None:
        raise RenderError(
            f"{_PURE} {what}. Install Graphviz, which brings 'dot', "
            f"{'and leave engine= out, ' if given else ''}or write .svg."
        )
    return found


def _without_font(letters: list[str]) -> list[str]:
    """Return the letters that no font has which Graphviz can use, as fontconfig knows them."""
    program = shutil.which("fc-list")
    if program is None:
        return letters
    if _fonts(program, letters):
        return []
    return [one for one in letters if not _fonts(program, [one])]


def _fonts(program: str, letters: list[str]) -> bool:
    """Whether a font has all of these letters."""
    command = [program, f":charset={' '.join(f'{ord(one):x}' for one in letters)}", "family"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return bool(done.stdout.strip())


def _listed(letters: list[str]) -> str:
    shown = ", ".join(f"'{one}'" for one in letters[:3])
    return shown + (f" and {len(letters) - 3} more letters" if len(letters) > 3 else "")
