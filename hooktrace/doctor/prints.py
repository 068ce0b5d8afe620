"""Findings as text, those alike together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hooktrace.findings import Finding

__all__ = ["texts"]

_NAMED = 6  # of those alike, how many are named


def texts(found: Iterable[Finding]) -> Iterator[str]:
    """Yield a text for each finding, and one for all of a rule that one line of code brought about.

    Why it matters is said once for each rule.
    """
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for number, one in enumerate(found):
        alone = not one.source or bool(one.possible)
        key = (one.severity, one.rule, one.source, number if alone else -1)
        groups.setdefault(key, []).append(one)
    told: set[str] = set()
    for first, *alike in groups.values():
        yield first.text(why=first.rule not in told, likewise=_named(alike))
        told.add(first.rule)


def _named(alike: list[Finding]) -> str:
    """Name the first of several findings by what they are about."""
    if not alike:
        return ""
    names = list(dict.fromkeys(one.where for one in alike))
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(alike)} more: {', '.join(names[:_NAMED])}{rest}"
