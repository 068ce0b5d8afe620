"""Maps brought to other sizes, linearly in between."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from hooktrace.errors import MapShapeError

__all__ = ["MODES", "resized"]

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
"""What interpolation is called, by the number of spatial axes."""


def resized(maps: Tensor, size: tuple[int, ...], *, corners: bool = False) -> Tensor:
    """Bring maps (N, *S) to another size, linear in between: (N, *size).

    Args:
        maps: (N, *S).
        size: As many numbers as there are spatial axes.
        corners: Whether the centres of the corner positions stay at the corners.

    Raises:
        MapShapeError: The size has other dimensions than the maps.
    """
    if len(size) != maps.dim() - 1 or len(size) not in MODES:
        raise MapShapeError(
            f"Maps of shape {tuple(maps.shape)} cannot be brought to the size {size}; give "
            f"size=, one number for each of their {maps.dim() - 1} spatial axes."
        )
    if tuple(maps.shape[1:]) == size:
        return maps
    mode = MODES[len(size)]
    return functional.interpolate(maps.unsqueeze(1), size, mode=mode, align_corners=corners)[:, 0]
