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
    if not matrix.isfinite().all():
        return matrix.new_full((len(matrix), rank), torch.nan), matrix.new_full(
            (rank, matrix.shape[1]), torch.nan
        )
    size = (matrix.mean() / rank).sqrt()
    options = {"generator": generator, "dtype": matrix.dtype, "device": matrix.device}
    left = torch.randn(rank, len(matrix), **options).abs() * size
    right = torch.randn(rank, matrix.shape[1], **options).abs() * size
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


def _improve(rows: Tensor, products: Tensor, gram: Tensor) -> float:
    """Bring each row to its best values, in place; return by how much they changed.

    Args:
        rows: (K, L) one of the two factors.
        products: (K, L) of the other factor and the matrix.
        gram: (K, K) of the other factor with itself.
    """
    changed = rows.new_zeros(())
    weights = gram.diagonal()
    for one in range(len(rows)):
        step = (products[one] - gram[one] @ rows) / weights[one]
        step = torch.where(weights[one] > 0, torch.maximum(step, -rows[one]), 0)
        rows[one] += step
        changed += step.abs().sum() * weights[one].sqrt()
    return float(changed)
