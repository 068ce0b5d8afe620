"""Which grid tokens are of: from the convolutions that ran before, or the proportions of the input.

A transformer returns tokens (N, T, C).  Some of them, such as a class token and registers, have no
place in space; they are taken to come first, as in the published models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from hooktrace.cam.axes import FIRST, descendants, own
from hooktrace.events import TensorSummary
from hooktrace.views.calls import Call

__all__ = ["Grid", "find_grid", "proportion", "seen_grids"]

_WITH_SEEN = 17
_WITHOUT = 5


class Grid(NamedTuple):
    """A grid of tokens.

    Attributes:
        sizes: Along its axes.
        leading: How many tokens come before it.
        by: What it is known by, in a few words.
    """

    sizes: tuple[int, ...]
    leading: int
    by: str


def find_grid(
    count: int, seen: Sequence[tuple[Call, tuple[int, ...]]], image: tuple[int, ...]
) -> Grid | None:
    """Find the grid of some tokens.

    Args:
        count: How many tokens there are.
        seen: Grids that feature maps had, the latest first, each with its call.
        image: Spatial sizes of the model's input; () if they are not known.  A single one says
            nothing.

    Returns:
        The grid of a feature map, with at most 17 tokens before it, the fewest possible; else one
        smaller than the latest of them by the same whole factor on each axis; if there were
        none, one smaller than the image so, with at most 5 tokens before it.  None if none fits.
    """
    fitting = [
        (count - math.prod(sizes), call, sizes)
        for call, sizes in seen
        if 0 <= count - math.prod(sizes) <= min(_WITH_SEEN, math.prod(sizes) - 1)
    ]
    if fitting:
        leading, call, sizes = min(fitting, key=lambda one: one[0])
        return Grid(sizes, leading, f"as of {call}")
    if seen:
        return _smaller(count, seen[0][1], f"that of {seen[0][0]} made smaller")
    return _smaller(count, image, "the proportions of the input") if len(image) > 1 else None


def _smaller(count: int, whole: tuple[int, ...], by: str) -> Grid | None:
    """Return the grid that is `whole` made smaller by one whole factor, rounded if need be."""
    exact: dict[int, tuple[int, ...]] = {}
    rounded: dict[int, tuple[int, ...]] = {}
    for factor in range(1, max(whole) + 1):
        down = tuple(size // factor for size in whole)
        up = tuple(-(-size // factor) for size in whole)
        if down == up:
            exact[math.prod(down)] = down
        else:
            rounded.update({math.prod(up): up, math.prod(down): down})
    for grids, most in ((exact, 0), (rounded, 0), (exact, _WITHOUT), (rounded, 1)):
        for leading in range(most + 1):
            if leading < count - leading and count - leading in grids:
                return Grid(grids[count - leading], leading, by)
    return None


def seen_grids(call: Call, axes: int) -> list[tuple[Call, tuple[int, ...]]]:
    """Return the grids of feature maps (N, C, *S) up to the end of a call, the latest first.

    Args:
        call: The last that counts, with what is inside it.
        axes: How many spatial axes; 0 for any number.
    """
    end = max([call.id, *(one.id for one in descendants(call))])
    found: dict[tuple[int, ...], Call] = {}
    for one in descendants(call.root):
        if one.id > end or not one.seen_outputs or one.children:
            continue
        summary = one.seen_outputs[0].summary
        if not isinstance(summary, TensorSummary) or len(summary.shape) < 3:
            continue
        sizes = tuple(summary.shape[2:])
        if (not axes or len(sizes) == axes) and math.prod(sizes) > 1 and own(one) == FIRST:
            found.pop(sizes, None)
            found[sizes] = one
    return [(one, sizes) for sizes, one in reversed(found.items())]


def proportion(grid: tuple[int, ...], image: tuple[int, ...]) -> float:
    """Return by which factor the scales of the axes differ: 1 for the proportions of the image.

    A grid may be smaller or larger than the image.  Of three axes the first may be time, which
    has a scale of its own, so the other two count.
    """
    pairs = list(zip(image, grid, strict=True))[-2:]
    factors = [size / max(1, cells) for size, cells in pairs]
    return max(factors) / min(factors)
