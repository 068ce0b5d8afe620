"""Maps brought to the images: at their size, as masks and as orders of positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hooktrace.cam.evidence import wide
from hooktrace.cam.heatmaps import HeatMap, HeatMaps, normalized
from hooktrace.cam.resizing import MODES, resized
from hooktrace.errors import MapShapeError

__all__ = ["Baseline", "Maps", "filler", "masks", "order", "placed", "raw_of"]

Maps = HeatMap | HeatMaps | Tensor
"""Maps (N, *S), at any resolution."""

Baseline = str | float | Tensor | Callable[[Tensor], Tensor]
"""What stands for nothing: ``zero``, ``mean`` (of each channel of each image), ``blur``, a number,
a tensor that fits the images, or a callable on them."""

_BLUR_SIZE, _BLUR_SIGMA = 11, 5.0  # those of the code of RISE


def raw_of(maps: Any) -> Tensor:
    """Return raw maps (N, *S), at least float32.

    Raises:
        MapShapeError: They do not have 1 to 3 spatial axes, or hold values that are not finite.
    """
    found = maps.raw if isinstance(maps, (HeatMap, HeatMaps)) else maps
    if not isinstance(found, Tensor):
        raise TypeError(
            f"maps= takes a HeatMap or a tensor (N, *S), but got {type(maps).__name__}."
        )
    found = wide(found.detach())
    if found.dim() - 1 not in MODES or not found.numel():
        raise MapShapeError(f"Maps have shape (N, *S), but these have {tuple(found.shape)}.")
    bad = (~found.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
    if bad:
        raise MapShapeError(f"The maps of the images {bad} hold values that are not finite.")
    return found


def _checked(maps: Any, images: Tensor) -> Tensor:
    raw = raw_of(maps).to(images.device)
    if images.dim() != raw.dim() + 1 or len(images) != len(raw):
        raise MapShapeError(
            f"Maps of shape {tuple(raw.shape)} do not fit images of shape {tuple(images.shape)}; "
            f"images are (N, C, *S), maps (N, *S) with the same N and number of axes S."
        )
    return raw


def placed(maps: Any, images: Tensor) -> Tensor:
    """Return the signed maps at the size of images (N, C, *S): (N, *S), linear in between."""
    return resized(_checked(maps, images), tuple(images.shape[2:]))


def masks(maps: Any, images: Tensor) -> Tensor:
    """Return the positive part of maps, scaled to [0, 1], at the size of the images: (N, *S)."""
    return resized(normalized(_checked(maps, images)), tuple(images.shape[2:]))


def order(maps: Tensor, seed: int) -> Tensor:
    """Return the positions of each map from its highest value to its lowest: (N, P).

    Equal values come in a random order, drawn from `seed`: the first row of an image is no better
    than its last.
    """
    flat = maps.flatten(1)
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(flat.shape[1], generator=generator).to(flat.device)
    return shuffled[torch.argsort(flat[:, shuffled], dim=1, descending=True, stable=True)]


def filler(images: Tensor, baseline: Baseline) -> Tensor:
    """Return what is put in the place of images (N, C, *S), in their shape.

    Raises:
        ValueError: No such baseline, or it does not fit the images.
    """
    if isinstance(baseline, str):
        if baseline not in _FILLERS:
            raise ValueError(f"baseline= is one of {', '.join(_FILLERS)}, but got {baseline!r}.")
        return _FILLERS[baseline](images)
    found = baseline(images) if callable(baseline) else baseline
    found = torch.as_tensor(found).to(images)
    try:
        return found.expand_as(images)
    except RuntimeError as error:
        raise ValueError(
            f"A baseline of shape {tuple(found.shape)} does not fit images of shape "
            f"{tuple(images.shape)}."
        ) from error


def _mean(images: Tensor) -> Tensor:
    means = wide(images).flatten(2).mean(2).to(images.dtype)
    return means.reshape(*means.shape, *[1] * (images.dim() - 2)).expand_as(images)


def _blurred(images: Tensor) -> Tensor:
    """Blur by a Gaussian along each axis; what lies beyond the edge is as the edge is."""
    reach = _BLUR_SIZE // 2
    blurred = wide(images)
    steps = torch.arange(-reach, reach + 1, device=images.device, dtype=blurred.dtype)
    weights = (-0.5 * (steps / _BLUR_SIGMA) ** 2).exp()
    weights = weights / weights.sum()
    for axis in range(2, images.dim()):
        length = blurred.shape[axis]
        places = torch.arange(length, device=images.device)
        blurred = torch.stack(
            [
                weight * blurred.index_select(axis, (places + step).clamp(0, length - 1))
                for step, weight in zip(range(-reach, reach + 1), weights, strict=True)
            ]
        ).sum(0)
    return blurred.to(images.dtype)


_FILLERS: dict[str, Callable[[Tensor], Tensor]] = {
    "zero": torch.zeros_like,
    "mean": _mean,
    "blur": _blurred,
}
