"""Options of a function, read off it: names, types, defaults, and what its docstring says of them.

So that a command line offers what a function takes, and no list of options stands in two places.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Option", "options_of", "summary_of"]


@dataclass(frozen=True)
class Option:
    """One keyword argument.

    Attributes:
        name: Its name.
        type: Its type, such as ``int | None``.
        default: What it is if it is not given.
        help: What the docstring says of it, without markup.
    """

    name: str
    type: Any
    default: Any
    help: str


def options_of(function: Callable[..., Any]) -> list[Option]:
    """Return the keyword-only arguments of a function that have a default, in order."""
    said = _sections(function)
    types = typing.get_type_hints(function)
    return [
        Option(name, types.get(name, str), one.default, said.get(name, ""))
        for name, one in inspect.signature(function).parameters.items()
        if one.kind is one.KEYWORD_ONLY
    ]


def summary_of(function: Callable[..., Any]) -> str:
    """Return the first line of a function's docstring, without markup and full stop."""
    return _plain(inspect.getdoc(function) or "").partition("\n")[0].rstrip(".")


def _sections(function: Callable[..., Any]) -> dict[str, str]:
    """Return by name what a docstring says below ``Args:``."""
    _, _, below = (inspect.getdoc(function) or "").partition("\nArgs:\n")
    args = re.split(r"\n\n|\n(?=\S)", below)[0]
    entries = re.split(r"^ {4}(?=\S)", args, flags=re.MULTILINE)
    pairs = (entry.partition(": ") for entry in entries)
    return {name.strip(): _plain(" ".join(text.split())) for name, _, text in pairs}


def _plain(text: str) -> str:
    """Take markup off.

    >>> _plain("``None`` for `all`, as in `hooktrace.trace`")
    'None for all, as in hooktrace.trace'
    """
    return text.replace("`", "")
