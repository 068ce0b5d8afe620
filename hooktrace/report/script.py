"""The page's scripts: plain ES modules, joined into one inline script.

A page that is opened from a file may not import further files, and its content-security policy
names the one script by its hash.  So each module becomes a function that is called once and
returns what the module exports, those that are imported first.  Comments stay in the files, and so
do indentation and blank lines, as no string goes over several lines.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

__all__ = ["asset", "digest", "script", "style"]

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w.-]+)";\n', re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?://.*|/\*\*(?:[^*]|\*(?!/))*\*/)\n", re.MULTILINE)
_REMARK = re.compile(r"(?<=[;{,]) +// [^\"'`\n]*$", re.MULTILINE)  # no string can end after it
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)
_BLANK = re.compile(r"^\n", re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:function|const|class) (\w+))", re.MULTILINE)


def asset(name: str) -> str:
    """Return the text of a file of the page."""
    return (files("hooktrace.report") / "assets" / name).read_text("utf-8")


@cache
def script(entry: str = "main.js") -> str:
    """Return a module and all that it imports as one script."""
    done: dict[str, str] = {}

    def add(name: str) -> None:
        source = asset(name)
        for _, wanted in _IMPORT.findall(source):
            if wanted not in done:
                add(wanted)
        done[name] = _enclosed(name, source)

    add(entry)
    return "\n".join(done.values())


def _enclosed(name: str, source: str) -> str:
    """Return a module as a constant that holds its exports."""
    exports = ", ".join(exported for _, exported in _EXPORT.findall(source))
    code = _IMPORT.sub(
        lambda one: f"const {{{one[1].replace(' as ', ': ')}}} = {_constant(one[2])};\n", source
    )
    code = _REMARK.sub("", _COMMENT.sub("", code))
    code = _BLANK.sub("", _INDENT.sub("", _EXPORT.sub(r"\1", code))).strip()
    return f"const {_constant(name)} = (() => {{\n{code}\nreturn {{ {exports} }};\n}})();"


def _constant(name: str) -> str:
    return f"_{re.sub(r'[^a-z0-9]', '_', name.removesuffix('.js'))}"


def style(names: Iterable[str]) -> str:
    """Return style sheets, one after the other, without indentation."""
    return _INDENT.sub("", "".join(asset(f"{name}.css") for name in names))


def digest(text: str) -> str:
    """Return how a content-security policy names an inline script or style sheet."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
