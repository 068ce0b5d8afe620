"""Random numbers that never touch the global generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

__all__ = ["drawn"]


def drawn(shape: Sequence[int], like: Tensor, generator: Generator) -> Tensor:
    """Return normally distributed numbers of a shape, of the type and on the device of a tensor.

    They are drawn in float32 or wider, so that a narrow type has those of float32, rounded.
    """
    kind = torch.float64 if like.dtype == torch.float64 else torch.float32
    found = torch.randn(tuple(shape), dtype=kind, device=generator.device, generator=generator)
    return found.to(like.device, like.dtype)
