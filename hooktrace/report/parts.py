"""The data of a page in parts, each as rich as fits; what does not fit is told in a ledger."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from hooktrace.report.phrases import Phrase, say

__all__ = ["Form", "Packed", "Part", "encoded", "fit", "packed"]


@dataclass(frozen=True)
class Form:
    """One way to give a part.

    Attributes:
        make: Returns its data, which JSON can hold.
        left_out: What is missing in it, a sentence for each; empty if nothing is.
    """

    make: Callable[[], Any]
    left_out: Sequence[Phrase] = ()


@dataclass(frozen=True)
class Part:
    """Data that belongs together.

    Attributes:
        name: How the page finds it.
        forms: From the richest to the poorest; the last one is taken whatever its size.
        share: How much of what is still free it may take, from 0 to 1.
    """

    name: str
    forms: Sequence[Form]
    share: float = 1.0


@dataclass(frozen=True)
class Packed:
    """A part as it stands in the page: compressed JSON in base 64."""

    name: str
    text: str


def encoded(data: Any) -> bytes:
    """Return data as JSON; what JSON does not know is written as text."""
    try:
        return msgspec.json.encode(data, enc_hook=str)
    except UnicodeEncodeError:  # half a surrogate pair in a name
        return json.dumps(data, default=str).encode()


def packed(name: str, data: Any) -> Packed:
    """Pack a part.  The same data gives the same text."""
    return Packed(name, base64.b64encode(gzip.compress(encoded(data), 9, mtime=0)).decode())


def fit(parts: Iterable[Part], limit_bytes: int) -> tuple[list[Packed], list[Phrase]]:
    """Pack parts within a limit, those that matter most first.

    Returns:
        The packed parts, and the ledger: what was left out, one sentence for each.
    """
    free = limit_bytes
    found: list[Packed] = []
    ledger: list[Phrase] = []
    for part in parts:
        for form in part.forms:
            one = packed(part.name, form.make())
            if len(one.text) <= free * part.share or form is part.forms[-1]:
                break
        found.append(one)
        free -= len(one.text)
        ledger += form.left_out
    if free < 0:
        ledger.append(say("left_too_large", bytes=f"{-free:,}"))
    return found, ledger
