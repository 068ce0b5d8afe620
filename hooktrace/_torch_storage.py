"""The seam: tensors that share memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hooktrace._torch import hidden

__all__ = ["Place", "address_of", "as_it_was", "overlap", "place_of", "seen_at"]


class Place(NamedTuple):
    """Where in its memory a tensor lies."""

    size: Any
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype


address_of: Callable[[Tensor], int] = torch._C._data_address  # type: ignore[attr-defined]
"""Returns where the memory of a tensor begins: equal for living tensors that share it.

Asking for the storage instead would keep autograd from summing in place.
"""


def place_of(tensor: Tensor) -> Place:
    """Return where in its memory a tensor lies."""
    return Place(tensor.shape, tensor.stride(), int(tensor.storage_offset()), tensor.dtype)


def overlap(tensor: Tensor, place: Place) -> bool:
    """Whether a tensor has an element in common with another one in its memory."""
    own = place_of(tensor)
    if own.dtype != place.dtype:
        return True
    first, last = _range(own)
    start, end = _range(place)
    if last < start or end < first:
        return False
    with torch.no_grad(), hidden():
        marks = torch.zeros(max(last, end) + 1, dtype=torch.bool)
        marks.as_strided(own.size, own.stride, own.offset).fill_(True)
        return bool(marks.as_strided(place.size, place.stride, place.offset).any())


def _range(place: Place) -> tuple[int, int]:
    """Return the first and the last element of its memory that a tensor has."""
    steps = ((size - 1) * stride for size, stride in zip(place.size, place.stride, strict=True))
    return place.offset, place.offset + sum(steps)


def seen_at(tensor: Tensor, place: Place) -> Tensor:
    """Return a copy of what a place in the memory of a tensor holds."""
    with torch.no_grad(), hidden():
        return tensor.detach().as_strided(place.size, place.stride, place.offset).clone()


def as_it_was(tensor: Tensor, copy: Tensor, place: Place) -> Tensor:
    """Return what a place in the memory of a tensor held while that tensor was like its copy."""
    own = place_of(tensor)
    count = max(_range(own)[1], _range(place)[1]) + 1
    with torch.no_grad(), hidden():
        whole = tensor.detach().as_strided((count,), (1,), 0).clone()
        whole.as_strided(own.size, own.stride, own.offset).copy_(copy)
        return whole.as_strided(place.size, place.stride, place.offset).clone()
