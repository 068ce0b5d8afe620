"""Noisy linear imputation: what is taken away is filled with the weighted mean of its neighbours.

The values x of the missing positions solve a linear system, so that each is the weighted mean of
all its neighbours, known ones and imputed ones.  The matrix is symmetric and positive definite; it
is never built, for conjugate gradients need its product with a vector only.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hooktrace.cam.resizing import resized
from hooktrace.errors import MapShapeError

__all__ = ["imputed"]

_LIMIT = 10_000  # rounds; a few dozen are the rule
_TOLERANCE = 1e-7  # size of what is left, relative to the right-hand side
_SMALL = 8  # positions along an axis, below which no coarser system is solved


def imputed(images: Tensor, missing: Tensor, *, noise: float = 0.01, seed: int = 0) -> Tensor:
    """Fill missing positions of images with what their surroundings tell.

    Neighbours that share a face weigh twice as much as those one axis further off: 1/6 and 1/12 in
    2-D; at the edges those that there are count.  Noise keeps the shape of the hole from showing.

    Args:
        images: (N, C, *S).
        missing: (N, *S) bool, True where a value is taken away.
        noise: Standard deviation of the noise on imputed values, in units of the images.
        seed: For the noise; the global generator is not used.

    Returns:
        (N, C, *S), at known positions equal to `images`.

    Raises:
        MapShapeError: `missing` does not fit, or nothing of an image is known.

    Source: Rong 2022 (noisy linear imputation), arXiv 2202.00449.
    """
    if images.shape[:1] + images.shape[2:] != missing.shape:
        raise MapShapeError(
            f"missing= of shape {tuple(missing.shape)} does not fit images {tuple(images.shape)}."
        )
    if missing.flatten(1).all(1).any():
        raise MapShapeError("Nothing of an image is left from which the rest could be imputed.")
    hole = missing.unsqueeze(1)
    exact = _harmonic(images.double(), hole)
    if noise:
        generator = torch.Generator(images.device).manual_seed(seed)
        exact = exact + noise * torch.randn(
            exact.shape, generator=generator, device=exact.device, dtype=exact.dtype
        )
    return torch.where(hole, exact.to(images.dtype), images)


def _around(values: Tensor) -> Tensor:
    """Return the weighted sum over the neighbours of each position; beyond the edge there is 0.

    The kernel is [1/2, 1, 1/2] along each axis, less its centre, scaled to the sum 1.
    """
    smooth = values
    axes = range(2, values.dim())
    for axis in axes:
        length = values.shape[axis] - 1
        along = smooth.clone()
        along.narrow(axis, 1, length).add_(smooth.narrow(axis, 0, length), alpha=0.5)
        along.narrow(axis, 0, length).add_(smooth.narrow(axis, 1, length), alpha=0.5)
        smooth = along
    return (smooth - values) / float((1 << len(axes)) - 1)


def _harmonic(images: Tensor, hole: Tensor) -> Tensor:
    """Solve ``weight * x - around(x) = around(known)`` in the hole: (N, C, *S) and (N, 1, *S).

    The solution at half the size is where the solver starts, so that large holes are no slower.
    """
    sizes = tuple(images.shape[2:])
    known = (~hole).to(images)
    if min(sizes) < _SMALL:
        axes = tuple(range(2, images.dim()))
        start = (images * known).sum(axes, keepdim=True) / known.sum(axes, keepdim=True)
    else:
        half = tuple((size + 1) // 2 for size in sizes)
        weights = functional.interpolate(known, half, mode="area")
        sums = functional.interpolate(images * known, half, mode="area")
        empty = weights == 0
        coarse = _harmonic(sums / weights.masked_fill(empty, 1.0), empty)
        start = resized(coarse.flatten(0, 1), sizes).reshape(images.shape)
    return _refined(images, hole, start)


def _refined(images: Tensor, hole: Tensor, start: Tensor) -> Tensor:
    """Solve the system by conjugate gradients, for each image and channel with steps of its own."""
    axes = tuple(range(2, images.dim()))
    weight = _around(torch.ones_like(images[:1, :1]))
    inverse = torch.where(hole, 1 / weight, 0.0)

    def product(values: Tensor) -> Tensor:
        return torch.where(hole, weight * values - _around(values), 0.0)

    def dot(left: Tensor, right: Tensor) -> Tensor:
        return (left * right).sum(axes, keepdim=True)

    right = torch.where(hole, _around(images.masked_fill(hole, 0.0)), 0.0)
    goal = dot(right, inverse * right) * _TOLERANCE**2
    found = torch.where(hole, start, 0.0)
    rest = right - product(found)
    step = inverse * rest
    size = dot(rest, step)
    for _ in range(_LIMIT):
        going = size > goal
        if not going.any():
            break
        ahead = product(step)
        length = torch.where(going, size / dot(step, ahead).where(going, 1.0), 0.0)
        found = found + length * step
        rest = rest - length * ahead
        scaled = inverse * rest
        now = dot(rest, scaled)
        step = scaled + torch.where(going, now / size.where(going, 1.0), 0.0) * step
        size = torch.where(going, now, size)
    return torch.where(hole, found, images)
