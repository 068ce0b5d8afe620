"""The page's scripts: plain ES modules, joined into one inline script.

A page that is opened from a file may not import further files, and its content-security policy
names the one script by its hash.  So the modules are put one after the other, those that are
imported first, without their import lines and the word ``export``; their names are therefore
unique over all of them.  Comments that have lines of their own stay in the files.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

__all__ = ["asset", "digest", "script"]

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w.-]+)";\n', re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?://.*|/\*\*(?:[^*]|\*(?!/))*\*/)\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|let|class)\b)", re.MULTILINE)


def asset(name: str) -> str:
    """Return the text of a file of the page."""
    return (files("hooktrace.report") / "assets" / name).read_text("utf-8")


@cache
def script(entry: str = "main.js") -> str:
    """Return a module and all that it imports as one script."""
    done: list[str] = []
    joined: list[str] = []

    def add(name: str) -> None:
        if name in done:
            return
        done.append(name)
        source = asset(name)
        for wanted in _IMPORT.findall(source):
            add(wanted)
        joined.append(_EXPORT.sub("", _COMMENT.sub("", _IMPORT.sub("", source))).strip())

    add(entry)
    return "\n".join(joined)


def digest(text: str) -> str:
    """Return how a content-security policy names an inline script or style sheet."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
