"""How the axes of an activation are laid out: which are channels, which are space.

Maps are computed from (N, C, *S).  Convolutions return that; Swin returns (N, H, W, C), and
transformers return tokens (N, T, C), some of which, as the class token, have no place in space.
What the modules around a tensor say of it goes first, then the proportions of the model's input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hooktrace.cam.axes import (
    FIRST,
    LAST,
    Told,
    around,
    descendants,
    guess,
    own,
    spatial_axes,
    tell,
)
from hooktrace.cam.grids import find_grid, proportion, seen_grids
from hooktrace.errors import MapShapeError
from hooktrace.events import TensorSummary
from hooktrace.views.calls import Call

__all__ = ["Layout", "find_layout", "image_of", "images_of", "listed"]

_RESHAPE = "say how to arrange it with reshape=, a function that returns (N, C, *S)"
_UNLIKE = 2.0  # scales of axes may differ by this factor, where only the sizes tell the layout


@dataclass(frozen=True)
class Layout:
    """How to bring an activation, or its gradient, into (N, C, *S).

    Attributes:
        why: How that is known, in a few words.
        grid: Sizes of the spatial axes *S.
        arrange: From what the layer returned to (N, C, *S).
        tokens: How many leading tokens have no place in space.
        batch: Which axis of what the layer returned the images are along.
    """

    why: str
    grid: tuple[int, ...]
    arrange: Callable[[Tensor], Tensor]
    tokens: int = 0
    batch: int = 0


def find_layout(call: Call, shape: tuple[int, ...], image: tuple[int, ...]) -> Layout:
    """Tell the layout of what a call returned.

    Feature maps may be smaller or larger than the input, and of any number of spatial axes.

    Args:
        call: The call of the layer.
        shape: Of its output.
        image: Spatial sizes *S of the model's input; () if they are not known.

    Raises:
        MapShapeError: The output has no spatial extent, or its layout cannot be told.
    """
    axes = spatial_axes(call)
    if axes is not None and len(shape) == axes + 1:
        raise MapShapeError(
            f"{call} returned {shape}, which has no batch axis. Give the model a batch."
        )
    if len(shape) < 3:
        raise MapShapeError(
            f"{call} returned shape {shape}, which has no spatial extent. Choose a layer before "
            f"pooling and flattening, or {_RESHAPE}."
        )
    told = tell(call)
    if told is not None and told.axis == FIRST:
        return _channels_first(call, shape, told.by)
    if len(shape) == 3 and (len(image) != 1 or told is not None):
        return _tokens(call, shape, image)
    if told is not None:
        return _channels_last(call, shape, image, told.by)
    return _by_size(call, shape, image)


def image_of(root: Call) -> tuple[int, ...]:
    """Return the spatial sizes *S of a model's first input of at least three dimensions.

    Images in a list, as detection takes them, are (C, H, W), and scaled and padded to one batch:
    the sizes are those of that batch, as the first module took it, which are the ones that maps go
    over.  Channels come second, unless a module takes the input with channels last.
    """
    found = list(_images(root))
    if found and listed(found[0]):
        return _padded(root, sum(map(listed, found)))
    if not found:
        return ()
    told = around(root, found[0].value)
    shape = tuple(found[0].summary.shape)
    return shape[1:-1] if told is not None and told.axis == LAST else shape[2:]


def _padded(root: Call, images: int) -> tuple[int, ...]:
    """Return the spatial sizes of the batch that a model makes of a list of images; () if none."""
    for call in descendants(root):
        if own(call) != FIRST or not call.seen_inputs:
            continue
        summary = call.seen_inputs[0].summary
        if isinstance(summary, TensorSummary) and len(summary.shape) > 2:
            return tuple(summary.shape[2:]) if summary.shape[0] == images else ()
    return ()


def _images(root: Call) -> Iterator[Any]:
    for seen in root.seen_inputs:
        if isinstance(seen.summary, TensorSummary) and len(seen.summary.shape) >= 3:
            yield seen


def listed(seen: Any) -> bool:
    """Whether it is an image of a list of images, (C, H, W), as detection takes them."""
    return len(seen.summary.shape) == 3 and re.search(r"\]\[\d+\]$", seen.role) is not None


def images_of(root: Call) -> int | None:
    """Return how many images a model got; None if that is not known."""
    for seen in root.seen_inputs:
        if isinstance(seen.summary, TensorSummary) and len(seen.summary.shape) >= 2:
            several = [one for one in root.seen_inputs if one.role.startswith("args[0][")]
            return len(several) if listed(seen) else int(seen.summary.shape[0])
    return None


# ------------------------------------------------------------------ channels


def _channels_first(call: Call, shape: tuple[int, ...], by: str) -> Layout:
    _extended(call, shape[2:])
    return Layout(f"channels first (N, C, *S): {by}", shape[2:], lambda t: t)


def _channels_last(call: Call, shape: tuple[int, ...], image: tuple[int, ...], by: str) -> Layout:
    grid = shape[1:-1]
    _extended(call, grid)
    batch = images_of(call.root)
    alike = not image or (len(grid) == len(image) and proportion(grid, image) < _UNLIKE)
    if not alike or (batch is not None and shape[0] != batch):
        raise MapShapeError(
            f"{call} returned shape {shape} with channels last ({by}), but {shape[0]} grids of "
            f"{_sizes(grid)} are not {batch} images of {_sizes(image)}: they may be windows or "
            f"heads of attention. Choose the block around it, or {_RESHAPE}."
        )
    return Layout(f"channels last (N, *S, C): {by}", grid, lambda t: t.movedim(-1, 1))


def _by_size(call: Call, shape: tuple[int, ...], image: tuple[int, ...]) -> Layout:
    """Tell the layout where no module says it: by the proportions of the image."""
    said = guess(call)
    if not image or len(shape) != 2 + len(image):
        if said is None:
            said = Told(FIRST, "no module says otherwise")
        return _either(call, shape, image, said)
    first, last = proportion(shape[2:], image), proportion(shape[1:-1], image)
    if first != last and min(first, last) < _UNLIKE:
        by = f"in this order the sizes have the proportions of the input, {_sizes(image)}"
        return _either(call, shape, image, Told(FIRST if first < last else LAST, by))
    if said is None and first < _UNLIKE:
        said = Told(FIRST, "both orders have the proportions of the input, and no module tells")
    if said is not None:
        return _either(call, shape, image, said)
    raise MapShapeError(
        f"{call} returned shape {shape}, and neither {_sizes(shape[2:])} nor "
        f"{_sizes(shape[1:-1])} has the proportions of an input of {_sizes(image)}. Choose another "
        f"layer, or {_RESHAPE}."
    )


def _either(call: Call, shape: tuple[int, ...], image: tuple[int, ...], told: Told) -> Layout:
    if told.axis == FIRST:
        return _channels_first(call, shape, told.by)
    return _channels_last(call, shape, image, told.by)


def _extended(call: Call, grid: tuple[int, ...]) -> None:
    if math.prod(grid) <= 1:
        raise MapShapeError(
            f"{call} returned a single position {grid}: it has no spatial extent, so there "
            f"is nothing to see on a map. Choose a layer before the pooling."
        )


def _sizes(grid: tuple[int, ...]) -> str:
    return "x".join(map(str, grid)) or "unknown size"


# ------------------------------------------------------------------ tokens


def _tokens(call: Call, shape: tuple[int, ...], image: tuple[int, ...]) -> Layout:
    """Tell which grid the tokens (N, T, C), (T, N, C) or (N, C, T) are of."""
    batch = images_of(call.root)
    seen = seen_grids(call, len(image))
    told = tell(call) or guess(call)
    orders = [(0, 1, 2)]
    if batch is not None and shape[0] != batch:
        orders = [(1, 0, 2)] if shape[1] == batch else []
    elif told is None:
        orders.append((0, 2, 1))
    for order in orders:
        found = find_grid(shape[order[1]], seen, image)
        if found is not None:
            _extended(call, found.sizes)
            return _token_layout(order, found.sizes, found.leading, found.by)
    if orders and len(image) <= 1 and all(len(sizes) == 1 for _, sizes in seen):
        order = orders[0]
        _extended(call, (shape[order[1]],))
        return _token_layout(order, (shape[order[1]],), 0, "the positions of a sequence")
    raise MapShapeError(
        f"{call} returned shape {shape}; its {shape[1]} tokens are no grid of the proportions of "
        f"an input of {_sizes(image)}, nor of a feature map before it, for each of "
        f"{'some' if batch is None else batch} images. Choose another layer, or {_RESHAPE}."
    )


def _token_layout(order: tuple[int, ...], grid: tuple[int, ...], leading: int, by: str) -> Layout:
    axes = "({}, {}, {})".format(*("NTC"[order.index(axis)] for axis in range(3)))
    before = f"{leading} leading token{'s' * (leading != 1)} and " if leading else ""

    def arrange(tensor: Tensor) -> Tensor:
        placed = tensor.permute(order)[:, leading:].movedim(-1, 1)
        return placed.reshape(*placed.shape[:2], *grid)

    why = f"tokens {axes}: {before}a grid of {_sizes(grid)}, {by}"
    return Layout(why, grid, arrange, leading, order[0])
