"""Pointing games: whether a map lies where the object is, as a person has marked it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor

from hooktrace.cam.heatmaps import HeatMap, HeatMaps
from hooktrace.cam.metrics.placing import Maps, masks, placed, raw_of
from hooktrace.cam.metrics.scores import Scores
from hooktrace.errors import MapShapeError

__all__ = ["energy_pointing_game", "pointing_game", "regions_of"]

Regions = Tensor | Sequence[Tensor | Sequence[float]]
"""Bool masks (N, *S); or boxes, for each image one (2D,) or several (K, 2D) numbers: in 2-D
``x1, y1, x2, y2``, in 1-D ``x1, x2``, in 3-D ``x1, y1, z1, x2, y2, z2``, x along the last axis."""


def pointing_game(
    maps: Maps,
    regions: Regions,
    *,
    size: tuple[int, ...] | None = None,
    tolerance: float = 15,
) -> Scores:
    """Return 1 where the map's highest point lies in the region or close to it, else 0.

    Args:
        maps: (N, *S) at any resolution; a `HeatMap` knows the size of the images.
        regions: Bool masks (N, *size), or for each image one box or several: in 2-D x1, y1, x2, y2.
        size: Spatial sizes of the images; by default those the map or the masks know.
        tolerance: Distance from the region, in positions of the image, that still is a hit.

    Returns:
        (N,) of 0 and 1.  A flat map points nowhere, which is a miss.

    Raises:
        MapShapeError: Maps, regions and size do not fit each other.

    Source: Zhang 2016, arXiv 1608.00507, with a tolerance of 15 pixels.
    """
    canvas = _canvas(maps, regions, size)
    inside = regions_of(regions, tuple(canvas.shape[2:]), canvas.device)
    flat = placed(maps, canvas).flatten(1)
    peaks = torch.stack(torch.unravel_index(flat.argmax(1), canvas.shape[2:]), 1)
    raw = raw_of(maps).flatten(1)
    blank = raw.amax(1) == raw.amin(1)
    hits = [
        not blank[i] and len(spots := inside[i].nonzero()) > 0
        and bool((spots - peaks[i]).double().norm(dim=1).min() <= tolerance)
        for i in range(len(flat))
    ]  # fmt: skip
    return Scores("pointing game", torch.tensor(hits, dtype=torch.float32), "higher")


def energy_pointing_game(
    maps: Maps, regions: Regions, *, size: tuple[int, ...] | None = None
) -> Scores:
    """Return which share of the map's positive part lies in the region; high is good.

    The result is (N,) in [0, 1]; a map that is nowhere positive has no share anywhere: 0.
    Arguments and errors are those of `pointing_game`.

    Source: Wang 2020 (energy-based pointing game), arXiv 1910.01279.
    """
    canvas = _canvas(maps, regions, size)
    inside = regions_of(regions, tuple(canvas.shape[2:]), canvas.device).flatten(1)
    energy = masks(maps, canvas).flatten(1)
    whole = energy.sum(1)
    share = (energy * inside).sum(1) / torch.where(whole > 0, whole, torch.ones_like(whole))
    return Scores("energy pointing game", share, "higher")


def _canvas(maps: Maps, regions: Regions, size: tuple[int, ...] | None) -> Tensor:
    """Return an empty stand-in for the images: (N, 0, *size)."""
    raw = raw_of(maps)
    one = maps.single if isinstance(maps, HeatMaps) else maps
    known = tuple(one.image) if isinstance(one, HeatMap) else ()
    drawn = tuple(regions.shape[1:]) if _is_mask(regions) else ()
    wanted = tuple(size or drawn or known or raw.shape[1:])
    return raw.new_empty(len(raw), 0, *wanted)


def _is_mask(regions: Any) -> TypeGuard[Tensor]:
    return isinstance(regions, Tensor) and regions.dtype == torch.bool


def regions_of(regions: Regions, size: tuple[int, ...], device: Any = None) -> Tensor:
    """Return regions as masks (N, *size), bool; of several boxes the union.

    A position belongs to a box if its centre does: 0, 0, 2, 2 covers the positions 0 and 1.

    Raises:
        MapShapeError: A mask has another size, or a box another number of corners.
    """
    if _is_mask(regions):
        if tuple(regions.shape[1:]) != size:
            raise MapShapeError(f"Masks are (N, *{size}), but got {tuple(regions.shape)}.")
        return regions.to(device)
    found = []
    for boxes in regions:
        corners = torch.as_tensor(boxes, dtype=torch.float64).cpu()
        if not corners.numel() or corners.shape[-1] != 2 * len(size):
            raise MapShapeError(
                f"A box has {2 * len(size)} numbers in {len(size)}-D, but got {corners.tolist()}."
            )
        found.append(torch.stack([_box(one, size) for one in corners.reshape(-1, 2 * len(size))]))
    return torch.stack([one.any(0) for one in found]).to(device)


def _box(corners: Tensor, size: tuple[int, ...]) -> Tensor:
    inside = torch.ones(size, dtype=torch.bool)
    for axis, length in enumerate(size):
        number = len(size) - 1 - axis
        low, high = corners[number], corners[number + len(size)]
        centres = torch.arange(length, dtype=torch.float64) + 0.5
        along = (centres >= low) & (centres < high)
        inside &= along.reshape(*[-1 if other == axis else 1 for other in range(len(size))])
    return inside
