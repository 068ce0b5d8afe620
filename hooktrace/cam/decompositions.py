"""Decompositions of a layer's positions: first components, with a sign that is always the same.

A layer's activations (C, *S) are taken as P points, the positions, of C coordinates.  A first
component is a map over the positions; an eigenvector leaves its sign open, so `oriented` chooses
it from the data.  Of the two Gram matrices, positions by positions and channels by channels, the
smaller one is decomposed, exactly; the map is the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["energy", "finite_only", "first_component", "leading", "oriented", "peak"]

EXACT_UP_TO = 640
"""Up to this size, `leading` decomposes a matrix in whole."""


def energy(activations: Tensor) -> Tensor:
    """Return how strongly each position is active: (N, P), the sum of squares over channels.

    Args:
        activations: (N, C, *S), of P positions.  Each image is divided by a power of two first,
            so that no square is lost.
    """
    return _in_range(activations.flatten(2))[0].square().sum(1)


def first_component(points: Tensor) -> Tensor:
    """Return the projections of points on their first principal component, of either sign.

    With X the centred points, (P, C), and v the eigenvector of ``X^T X`` of the largest eigenvalue
    this is ``X v = sqrt(l) u``, with u the eigenvector of ``X X^T`` of the same eigenvalue l.

    Args:
        points: (N, C, *S), of P positions.

    Returns:
        (N, P); NaN for an image that holds NaN or infinity.  Scaling the points by a power of two
        scales it exactly.
    """
    flat, finite = finite_only(points.flatten(2))
    small, exponent = _in_range(flat)
    small = small - small.mean(2, keepdim=True)
    channels, positions = small.shape[1:]
    if positions <= channels:
        values, vectors = torch.linalg.eigh(small.mT @ small)
        found = vectors[..., -1] * values[..., -1:].clamp_min(0).sqrt()
    else:
        _, vectors = torch.linalg.eigh(small @ small.mT)
        found = (vectors[..., -1].unsqueeze(1) @ small).squeeze(1)
    return torch.where(finite, torch.ldexp(found, exponent[..., 0]), torch.nan)


def leading(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalue, not in size, of symmetric matrices, and its eigenvector.

    Args:
        matrices: (N, P, P).  Above 640 positions they are not decomposed in whole but by Lanczos
            steps with full reorthogonalisation, until the residual is at the rounding error.

    Returns:
        (N,) and (N, P), of either sign.
    """
    if matrices.shape[-1] <= EXACT_UP_TO:
        values, vectors = torch.linalg.eigh(matrices)
        return values[..., -1], vectors[..., -1]
    pairs = [_lanczos(one) for one in matrices]
    return torch.stack([value for value, _ in pairs]), torch.stack([vector for _, vector in pairs])


def _lanczos(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalue of one matrix (P, P), and its eigenvector (P,)."""
    size, rounding = len(matrix), 8 * torch.finfo(matrix.dtype).eps
    start = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = [(start / start.norm()).to(matrix)]
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    largest = 0.0
    while True:
        following = matrix @ basis[-1]
        diagonal.append(basis[-1] @ following)
        known = torch.stack(basis)
        for _ in range(2):  # once is not enough in finite precision
            following = following - known.mT @ (known @ following)
        length = following.norm()
        largest = max(largest, float(diagonal[-1].abs()), float(length))
        ended = len(basis) == size or float(length) <= rounding * largest
        if ended or len(basis) % 8 == 0:
            off = torch.stack(beside) if beside else matrix.new_zeros(0)
            reduced = torch.diag(torch.stack(diagonal)) + off.diag(1) + off.diag(-1)
            values, vectors = torch.linalg.eigh(reduced)
            if ended or length * vectors[-1, -1].abs() <= rounding * values.abs().max():
                return values[-1], vectors[:, -1] @ known
        basis.append(following / length)
        beside.append(length)


def oriented(maps: Tensor, strength: Tensor) -> Tensor:
    """Return maps with the sign by which they correlate positively with a strength.

    Args:
        maps: (N, P), of either sign.
        strength: (N, P), such as `energy`.

    Returns:
        (N, P), `maps` or its negative, image by image.  Where the correlation is nothing but
        rounding error, the sign is that of `peak`.
    """
    centred = strength - strength.mean(1, keepdim=True)
    sizes = maps.norm(dim=1) * centred.norm(dim=1)
    agreement = (maps * centred).sum(1)
    nothing = agreement.abs() <= 64 * torch.finfo(maps.dtype).eps * sizes
    return torch.where(
        nothing.unsqueeze(1), peak(maps), torch.where(agreement.unsqueeze(1) < 0, -maps, maps)
    )


def peak(maps: Tensor) -> Tensor:
    """Return maps (N, P) with the sign by which the value of the largest size is positive."""
    largest = maps.gather(1, maps.abs().argmax(1, keepdim=True))
    return torch.where(largest < 0, -maps, maps)


def finite_only(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N, C, P) with zeros for each image that is not finite, and (N, 1) which are."""
    finite = flat.isfinite().all(2).all(1)
    return torch.where(finite[:, None, None], flat, 0), finite.unsqueeze(1)


def _in_range(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N, C, P) divided by the power of two that brings it to [-1, 1], and exponents."""
    _, exponent = torch.frexp(flat.abs().amax((1, 2), keepdim=True))
    exponent = exponent.clamp(-100, 100)  # beyond, the power itself is out of range in float32
    return torch.ldexp(flat, -exponent), exponent
