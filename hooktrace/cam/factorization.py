"""Non-negative matrix factorization."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["factorize"]


def factorize(
    matrix: Tensor,
    rank: int,
    generator: torch.Generator,
    sweeps: int = 200,
    tolerance: float = 1e-4,
) -> tuple[Tensor, Tensor]:
    """Write a non-negative matrix as a product of two small ones, which are non-negative too.

    Minimises ``|matrix - left right|^2`` by hierarchical alternating least squares: one column of
    `left`, or one row of `right`, is brought to its best values while all else is held, in turn.
    No step makes it worse; as every method for this, it ends in a local minimum, which depends on
    the random start.

    Args:
        matrix: (M, C), non-negative.
        rank: K.
        generator: Draws the start, on the device of the matrix.
        sweeps: How often all columns and rows are visited at most.
        tolerance: Stop when a sweep changes less than this part of what the first one did.

    Returns:
        Left (M, K) and right (K, C).  Rows of `right` have length 1, or are zero with their column;
        columns come in the order of their sums, the largest first.  Both are NaN if the matrix
        holds NaN or infinity.

    Source: Cichocki and Phan 2009, IEICE Transactions E92-A, 708.
    """
    positions, channels = matrix.shape
    if not matrix.isfinite().all():
        lost = matrix.new_full((1, 1), torch.nan)
        return lost.expand(positions, rank), lost.expand(rank, channels)
    size = (matrix.mean() / rank).sqrt()
    left = size * _positive(rank, positions, matrix, generator)
    right = size * _positive(rank, channels, matrix, generator)
    first = 0.0
    for sweep in range(sweeps):
        changed = _improve(left, right @ matrix.mT, right @ right.mT)
        changed += _improve(right, left @ matrix, left @ left.mT)
        first = first or changed
        if sweep and changed <= tolerance * first:
            break
    lengths = right.norm(dim=1, keepdim=True)
    left = left * lengths
    order = left.sum(1).argsort(descending=True, stable=True)
    right = right / torch.where(lengths == 0, torch.ones_like(lengths), lengths)
    return left[order].mT, right[order]


def _positive(rank: int, size: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return (rank, size), the sizes of standard normal numbers."""
    drawn = torch.randn(rank, size, generator=generator, dtype=like.dtype, device=like.device)
    return drawn.abs()


def _improve(rows: Tensor, products: Tensor, gram: Tensor) -> float:
    """Bring each row to its best values, in place; return by how much that changed the product.

    Args:
        rows: (K, L) one of the two factors.
        products: (K, L) of the other factor and the matrix.
        gram: (K, K) of the other factor with itself.
    """
    before = rows.clone()
    weights = gram.diagonal()
    inverse = torch.where(weights > 0, 1 / weights, 0)
    for row, product, weight, others in zip(rows, products, inverse, gram, strict=True):
        row += torch.maximum((product - others @ rows) * weight, -row)
    return float(((rows - before).square().sum(1) * weights).sum().sqrt())
