"""The looks of values as a part of the page: richer or poorer, as there is room."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from hooktrace.events import Value
from hooktrace.report.extras import Extras
from hooktrace.report.parts import Form, Part
from hooktrace.report.phrases import say

__all__ = ["looks_part"]

Look = dict[str, Any]
_FEWER = (8, 4)


def looks_part(extras: Extras, share: float) -> Part:
    """Return the looks as a part, which in its poorest form has none."""
    values, changes = extras.looks, extras.differences
    edited = {value for pair in changes for value in pair}
    drawn = sum("tiles" in one for one in values.values())
    others = sum("tiles" in one for value, one in values.items() if value not in edited)
    forms = [Form(lambda: _data(extras, lambda _, look: look))]
    if any("tiles" in one for one in (*values.values(), *changes.values())):
        forms += [
            Form(
                lambda most=most: _data(extras, lambda _, look: _cut(look, most)),  # type: ignore[misc]
                [say("left_tiles", most=str(most))],
            )
            for most in _FEWER
        ]
        forms += [
            Form(
                lambda: _data(
                    extras, lambda value, look: _cut(look, 4 if value in edited | {None} else 0)
                ),
                [say("left_unchanged_thumbnails", count=f"{others:,}")],
            ),
            Form(
                lambda: _data(extras, lambda _, look: _cut(look, 0)),
                [say("left_thumbnails", count=f"{drawn:,}")],
            ),
        ]
    if values:
        told = say("left_looks", count=f"{len(values):,}")
        forms.append(Form(lambda: {"values": {}, "differences": {}}, [told]))
    return Part("looks", forms, share)


def _data(extras: Extras, form: Callable[[Value | None, Look], Look]) -> Look:
    """Return all looks in a form; `form` is given None for what is a difference."""
    return {
        "values": {str(value): form(value, look) for value, look in extras.looks.items()},
        "differences": {
            f"{before}>{after}": form(None, look)
            for (before, after), look in extras.differences.items()
        },
    }


def _cut(look: Mapping[str, Any], most: int) -> Look:
    """Return a look with so many tiles at most."""
    found = dict(look)
    tiles = found.get("tiles")
    if tiles is None:
        return found
    if not most:
        del found["tiles"]
        return found
    pixels = base64.b64decode(tiles["pixels"])[: most * prod(tiles["size"])]
    shown = {"places": tiles["places"][:most], "pixels": base64.b64encode(pixels).decode()}
    found["tiles"] = {**tiles, **shown}
    return found
