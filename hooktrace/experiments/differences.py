"""How the results of two runs differ, the first with hooks and the second without them.

"Equal" is bit for bit.  What is measured is how the second run's values differ from the first
one's: a change of ``x0.5`` says that the second is half the first.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from hooktrace import _torch
from hooktrace.agreement import same_bits
from hooktrace.events import Change
from hooktrace.identity import text_of
from hooktrace.measure import difference
from hooktrace.records import Record
from hooktrace.render.grid import add_row, grid_of, lay_out

__all__ = ["WHAT", "Difference", "Values", "compare_values", "contrast", "table"]

WHAT = ("loss", "returned", "output", "gradient", "parameter", "buffer")
"""What is compared, in the order in which it comes about in a step."""

Values = dict[tuple[str, str], Any]
"""What a run left behind: (one of `WHAT`, name) -> a copy of a tensor, or another value."""

_FEW = 3  # elements that are written out
_FAINT = 1e-6  # of the largest values of its kind, a value that may well be rounding


class Difference(Record, frozen=True, gc=False):
    """One thing that differs between two runs.

    Attributes:
        what: One of ``loss``, ``returned``, ``output`` (of a module call), ``gradient``,
            ``parameter``, ``buffer``.
        name: Which one.
        before: What the first run had, as a short text; empty if it had no such thing.
        after: What the second run had.
        change: How `after` differs from `before`.
        relative: Largest absolute difference over the largest absolute value before; None if it
            was not measured.
    """

    what: str
    name: str
    before: str
    after: str
    change: Change
    relative: float | None

    @property
    def max_difference(self) -> float | None:
        """Largest absolute difference; None if it was not measured."""
        return self.change.max_difference

    @property
    def scale(self) -> float:
        """Largest absolute value before; 0 where that was not measured."""
        by, relative = self.max_difference, self.relative
        return by / relative if by and relative and not math.isnan(relative) else 0.0

    @property
    def size(self) -> float:
        """By how much it differs, to sort by: infinity where that has no number."""
        known = self.relative is not None and not math.isnan(self.relative)
        return self.relative if known else math.inf  # type: ignore[return-value]


def compare_values(first: Values, second: Values) -> tuple[list[Difference], Counter[str]]:
    """Compare what two runs left behind.

    Returns:
        The differences, and how many things of each kind were compared.
    """
    keys = [*first, *(key for key in second if key not in first)]
    keys.sort(key=lambda key: WHAT.index(key[0]))
    totals = Counter(what for what, _ in keys)
    return list(_differing(keys, first, second)), totals


def _differing(keys: list[tuple[str, str]], first: Values, second: Values) -> Iterator[Difference]:
    for key in keys:
        if key not in first:
            change = Change("replaced", "only without")
            yield Difference(*key, "", written(second[key]), change, None)
        elif key not in second:
            change = Change("replaced", "only with")
            yield Difference(*key, written(first[key]), "", change, None)
        else:
            found = _difference(first[key], second[key])
            if found is not None:
                yield Difference(*key, written(first[key]), written(second[key]), *found)


def _difference(one: Any, other: Any) -> tuple[Change, float | None] | None:
    """Return how two values differ, and by how much of the first; None if they are equal."""
    if _is_number(one) and _is_number(other):
        one, other = (torch.tensor(float(side), dtype=torch.float64) for side in (one, other))
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        before, after = written(one), written(other)
        return None if before == after else (Change("replaced", f"{before} -> {after}"), None)
    if _torch.is_wrapped(one) or _torch.is_wrapped(other) or same_bits(one, other):
        return None
    change = difference(one, other)
    if change.kind == "unchanged":
        change = Change("changed", "same values, other bits", None, 0, one.numel(), 0.0)
    if change.max_difference is None:
        return change, None
    scale = max(_largest(one), _largest(other) if not _largest(one) else 0.0)
    return change, change.max_difference / scale if scale else 0.0


def _is_number(thing: Any) -> bool:
    return isinstance(thing, (int, float)) and not isinstance(thing, bool)


def _largest(tensor: torch.Tensor) -> float:
    found = torch.nan_to_num(tensor.detach().abs().double(), nan=0.0)
    return float(found.max()) if found.numel() else 0.0


def written(thing: Any) -> str:
    """Describe a value in a few characters; of a large tensor its norm."""
    if not isinstance(thing, torch.Tensor):
        return f"{thing:.6g}" if isinstance(thing, float) else text_of(thing)
    if _torch.is_wrapped(thing) or thing.dtype.is_complex:
        return f"{tuple(thing.shape)}"
    if thing.dim() == 0:
        return f"{float(thing):.6g}"
    if thing.numel() <= _FEW:
        return f"[{', '.join(f'{float(one):.4g}' for one in thing.reshape(-1))}]"
    return f"norm {float(thing.double().norm()):.4g}"


# ------------------------------------------------------------------ as text

_ROWS = 20  # most rows of a printed table
_PLURAL = {
    "returned": "returned values",
    "output": "outputs of modules",
    "gradient": "gradients",
    "parameter": "parameters",
    "buffer": "buffers",
}


def contrast(records: Sequence[Difference], totals: Mapping[str, int]) -> str:
    """Say in a sentence without its end what differs: ``the loss is 1 instead of 2; ...``."""
    if not records:
        counts = [f"{n} {_noun(what, n)}" for what, n in totals.items() if what != "loss"]
        counts = (["the loss"] if totals.get("loss") else []) + counts
        return f"nothing is different, bit for bit: {_joined(counts)}"
    parts = [_loss(one) for one in records if one.what == "loss"]
    if not parts and totals.get("loss"):
        parts = ["the loss is the same"]
    for what in WHAT[1:]:
        found = [one for one in records if one.what == what]
        if found:
            parts.append(_counted(what, found, totals[what]))
    return "; ".join(parts)


def _loss(one: Difference) -> str:
    if not one.after or not one.before:
        return f"there is {'a' if one.after else 'no'} loss{one.name}"
    return f"the loss{one.name} is {one.after} instead of {one.before}"


def _counted(what: str, found: list[Difference], total: int) -> str:
    if what == "returned" and total == 1:
        return f"the step returns {found[0].after} instead of {found[0].before}"
    one = _ranked(what, found)[0]
    if total == 1:
        return f"the one {_noun(what, 1)} differs, {one.name}: {_extent(one)}"
    if len(found) == 1:
        return f"1 of {total} {_noun(what, total)} differs, {one.name}: {_extent(one)}"
    which = "first" if what in ("output", "returned") else "most"
    return (
        f"{len(found)} of {total} {_noun(what, total)} differ, the {which} {one.name}: "
        f"{_extent(one)}"
    )


def _extent(one: Difference) -> str:
    if one.change.kind == "changed" and one.relative is not None:
        return f"by up to {100 * one.relative:.3g} %"
    return one.change.text


def _ranked(what: str, found: list[Difference]) -> list[Difference]:
    """Return outputs in order; else what differs most first, and faint values last."""
    if what in ("loss", "output", "returned"):
        return found
    largest = max((one.scale for one in found), default=0.0)
    return sorted(found, key=lambda one: (one.scale < _FAINT * largest, -one.size))


def _noun(what: str, count: int) -> str:
    plural = _PLURAL[what]
    if count != 1:
        return plural
    return "output of a module" if what == "output" else plural.removesuffix("s")


def _joined(parts: list[str]) -> str:
    if len(parts) < 2:
        return "".join(parts) or "there is nothing to compare"
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def table(records: Sequence[Difference]) -> str:
    """Write what differs one below the other: outputs in order, of the rest the most first."""
    kinds = {what: [one for one in records if one.what == what] for what in WHAT}
    share = max(2, _ROWS // max(1, sum(map(bool, kinds.values()))))
    grid = grid_of("", "name", "with", "without", "by at most", "relative", "change")
    left = len(records)
    for what, found in kinds.items():
        for one in _ranked(what, found)[:share]:
            left -= 1
            numbers = (one.max_difference, one.relative)
            add_row(
                grid,
                one.what,
                one.name,
                one.before or "-",
                one.after or "-",
                *("" if number is None else f"{number:.3g}" for number in numbers),
                one.change.text,
            )
    more = [f"... and {left} more in .records"] if left else []
    return "\n".join([lay_out(grid, 140), *more])
