"""The words of the page in each language."""

from __future__ import annotations

import json
from functools import cache

from hooktrace.report.extras import LANGUAGES
from hooktrace.report.script import asset

__all__ = ["all_words", "words"]

_PANELS = (
    "",
    "inspector-",
    "graph-",
    "lists-",
    "told-",
)  # the words of the page, and those of panels that have many


@cache
def words(language: str) -> dict[str, str]:
    """Return the words of a language by key; ``{name}`` in them is filled in by the page."""
    found: dict[str, str] = {}
    for panel in _PANELS:
        found.update(json.loads(asset(f"words/{panel}{language}.json")))
    return found


def all_words() -> dict[str, dict[str, str]]:
    """Return the words of all languages by its code."""
    return {language: words(language) for language in LANGUAGES}
