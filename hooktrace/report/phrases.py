"""What the page says in any language: the key of its words, and what to insert there.

Names of the traced program are inserted isolated: one in Hebrew or Arabic does not turn the
sentence around it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup, escape

from hooktrace.report.words import words

__all__ = ["Phrase", "coded", "in_order", "ordered", "said", "say", "values_text"]

_PLACE = re.compile(r"\{(\w+)\}")
_RTL = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff"
_RIGHT_TO_LEFT = re.compile(f"[{_RTL}]+(?:[0-9 \\t\\n\u00a0_.,'-]*[{_RTL}]+)*")
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Phrase:
    """A text of the page in any language: the key of its words, and what to insert.

    Attributes:
        key: Of the words.
        values: What stands for ``{name}`` in them: text as it is, or another phrase.
    """

    key: str
    values: Mapping[str, str | Phrase] = field(default_factory=dict)

    def data(self) -> list[Any]:
        """Return it as JSON can hold it: ``[key, values]``."""
        inner = {
            name: value.data() if isinstance(value, Phrase) else value
            for name, value in self.values.items()
        }
        return [self.key, inner]

    def __str__(self) -> str:
        inner = ", ".join(f"{name}={value}" for name, value in self.values.items())
        return f"{self.key}({inner})"


def say(key: str, **values: str | Phrase) -> Phrase:
    """Return a phrase: ``say("lesson_hook", name="double")``."""
    return Phrase(key, values)


def said(phrase: Phrase, language: str) -> Markup:
    """Return a phrase as HTML in a language: values isolated, what is in backticks as code."""
    text = words(language)[phrase.key]
    return coded(text, {name: _inserted(one, language) for name, one in phrase.values.items()})


def _inserted(value: str | Phrase, language: str) -> Markup:
    if isinstance(value, Phrase):
        return said(value, language)
    return Markup("<bdi>{}</bdi>").format(value)


def values_text(phrase: Phrase) -> str:
    """Return the values of a phrase as the page's script reads them."""
    return json.dumps(phrase.data()[1], ensure_ascii=False) if phrase.values else ""


def coded(text: str, values: Mapping[str, Markup] | None = None) -> Markup:
    """Return text as HTML: what stands between backticks as code, ``{name}`` filled in.

    >>> coded("call `a.b()` < now")
    Markup('call <code>a.b()</code> &lt; now')
    """
    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # one too many, as a name may have
        return ordered(text)
    code = Markup("<code>{}</code>")
    filled = [_filled(one, values) for one in pieces]
    return Markup("").join(code.format(one) if at % 2 else one for at, one in enumerate(filled))


def _filled(text: str, values: Mapping[str, Markup] | None) -> Markup:
    if values is None:
        return ordered(text)
    pieces = _PLACE.split(text)
    return Markup("").join(values[one] if at % 2 else escape(one) for at, one in enumerate(pieces))


def ordered(text: str) -> Markup:
    """Return text as HTML in which what is written from right to left turns nothing around it."""
    shown = _TURNING.sub("\ufffd", text)
    pieces, start = [], 0
    for found in _RIGHT_TO_LEFT.finditer(shown):
        pieces += [escape(shown[start : found.start()]), Markup("<bdi>{}</bdi>").format(found[0])]
        start = found.end()
    return Markup("").join([*pieces, escape(shown[start:])])


def in_order(text: str) -> str:
    """Return the same as text without elements, as for a picture: isolated by invisible signs."""
    return _RIGHT_TO_LEFT.sub("\u2068\\g<0>\u2069", _TURNING.sub("\ufffd", text))
