"""How the axes of an activation are laid out: which are channels, which are space.

Maps are computed from (N, C, *S).  Convolutions return that; Swin returns (N, H, W, C), and
transformers return tokens (N, T, C), some of which, such as the class token, have no place in space.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from hooktrace.errors import MapShapeError
from hooktrace.views.calls import Call

__all__ = ["Layout", "find_layout"]


@dataclass(frozen=True)
class Layout:
    """How to bring an activation, or its gradient, into (N, C, *S).

    Attributes:
        why: How that is known, in a few words.
        grid: Sizes of the spatial axes *S.
        arrange: From what the layer returned to (N, C, *S).
        tokens: How many leading tokens have no place in space.
    """

    why: str
    grid: tuple[int, ...]
    arrange: Callable[[Tensor], Tensor]
    tokens: int = 0


def find_layout(call: Call, shape: tuple[int, ...], image: tuple[int, ...]) -> Layout:
    """Tell the layout of what a call returned.

    Args:
        call: The call of the layer.
        shape: Of its output.
        image: Spatial sizes *S of the model's input; () if they are not known.

    Raises:
        MapShapeError: The output has no spatial extent, or its layout cannot be told.
    """
    if len(shape) == 2 + len(image) and len(shape) > 2:
        if not _proportional(shape[2:], image) and _proportional(shape[1:-1], image):
            return Layout("channels last (N, *S, C)", shape[1:-1], lambda t: t.movedim(-1, 1))
        return _extended(call, Layout("channels first (N, C, *S)", shape[2:], lambda t: t))
    if len(shape) == 3 and len(image) >= 2:
        return _tokens(call, shape, image)
    if len(shape) > 2 and not image:
        return _extended(call, Layout("channels first (N, C, *S)", shape[2:], lambda t: t))
    raise MapShapeError(
        f"{call} returned shape {shape}, which has no spatial extent. Choose a layer before "
        f"pooling and flattening, or say how to arrange it with reshape=, a function that "
        f"returns (N, C, *S)."
    )


def _extended(call: Call, layout: Layout) -> Layout:
    if math.prod(layout.grid) <= 1:
        raise MapShapeError(
            f"{call} returned a single position {layout.grid}: it has no spatial extent, so there "
            f"is nothing to see on a map. Choose a layer before the pooling."
        )
    return layout


def _proportional(grid: tuple[int, ...], image: tuple[int, ...]) -> bool:
    """Whether a grid may be the image, made smaller by about the same factor on every axis."""
    if any(small > large for small, large in zip(grid, image, strict=True)):
        return False
    factors = [large / max(1, small) for small, large in zip(grid, image, strict=True)]
    return max(factors) <= 2 * min(factors)


def _tokens(call: Call, shape: tuple[int, ...], image: tuple[int, ...]) -> Layout:
    """Tell a grid of tokens with up to 16 further ones before it."""
    count = shape[1]
    for extra in range(17):
        grid = _grid(count - extra, image)
        if grid is not None:
            return _extended(call, _token_layout(grid, extra))
    raise MapShapeError(
        f"{call} returned shape {shape}; its {count} tokens are no grid of the proportions of an "
        f"input of {'x'.join(map(str, image))}, with up to 16 further tokens. Say how to arrange "
        f"them with reshape=, a function that returns (N, C, *S)."
    )


def _token_layout(grid: tuple[int, ...], extra: int) -> Layout:
    sizes = "x".join(map(str, grid))
    leading = f"{extra} leading token{'s' * (extra != 1)} and " if extra else ""

    def arrange(tensor: Tensor) -> Tensor:
        placed = tensor[:, extra:].movedim(-1, 1)
        return placed.reshape(*placed.shape[:2], *grid)

    return Layout(f"tokens (N, T, C): {leading}a grid of {sizes}", grid, arrange, extra)


def _grid(count: int, image: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the grid of `count` positions that has exactly the proportions of the image."""
    if count < 1:
        return None
    patch = (math.prod(image) / count) ** (1 / len(image))
    grid = tuple(round(size / patch) for size in image)
    if math.prod(grid) != count or any(
        size % cells for size, cells in zip(image, grid, strict=True)
    ):
        return None
    return grid
