"""Complexity, coherency, and ADCC, which joins them with the average drop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hooktrace.cam.heatmaps import normalized
from hooktrace.cam.metrics.confidence import average_drop, explanation
from hooktrace.cam.metrics.placing import Baseline, Maps, masks, raw_of
from hooktrace.cam.metrics.running import Classes, chosen
from hooktrace.cam.metrics.scores import Scores

__all__ = ["adcc", "coherency", "complexity", "correlation"]

Explain = Callable[[Tensor], Any]
"""From images (N, C, *S) to their maps, for the same classes."""


def complexity(maps: Maps) -> Scores:
    """Return how much a map shows; low is good.

    It is the mean of the positive part, scaled to a maximum of 1.

    Args:
        maps: (N, *S).

    Returns:
        (N,) in [0, 1]: the L1 norm over the number of positions.

    Raises:
        MapShapeError: The maps are not finite, or have no spatial axes.

    Source: Poppi 2021, arXiv 2104.10252.
    """
    return Scores("complexity", normalized(raw_of(maps)).flatten(1).mean(1), "lower")


def correlation(left: Tensor, right: Tensor) -> Tensor:
    """Return Pearson's correlation of each pair of maps: (N, *S) twice to (N,).

    A flat map tells nothing of another: it correlates with nothing, so there it is 0.
    """
    pair = [one.flatten(1).double() for one in (left, right)]
    moved = [one - one.mean(1, keepdim=True) for one in pair]
    sizes = [one.norm(dim=1) for one in moved]
    flat = torch.stack([(one.amax(1) == one.amin(1)) for one in pair]).any(0)
    size = torch.where(flat, torch.ones_like(sizes[0]), sizes[0] * sizes[1])
    found = torch.where(flat, torch.zeros_like(size), (moved[0] * moved[1]).sum(1) / size)
    return found.clamp(-1, 1).to(left.dtype)


def coherency(
    explain: Explain, images: Tensor, maps: Maps | None = None, *, baseline: Baseline = "zero"
) -> Scores:
    """Return whether the explanation map is explained by the same map; high is good.

    ``(1 + Pearson(map(image * map), map)) / 2``, of the positive parts at the size of the images.

    Args:
        explain: From images to maps (N, *S), for the classes of the first maps.
        images: (N, C, *S).
        maps: What `explain` gave for the images; by default it is asked.
        baseline: What an image fades to where the map is 0.

    Returns:
        (N,) in [0, 1]; 1/2 where one of the two maps is flat.

    Raises:
        MapShapeError: The maps do not fit the images, or are not finite.

    Source: Poppi 2021, arXiv 2104.10252.
    """
    first = explain(images) if maps is None else maps
    again = explain(explanation(images, first, baseline))
    found = correlation(masks(again, images), masks(first, images))
    return Scores("coherency", (1 + found) / 2, "higher")


def adcc(
    model: Callable[..., Any],
    explain: Explain,
    images: Tensor,
    maps: Maps | None = None,
    classes: Classes = None,
    *,
    batch_size: int = 32,
    baseline: Baseline = "zero",
) -> Scores:
    """Return the harmonic mean of coherency, 1 - complexity and 1 - average drop; high is good.

    Args:
        explain: From images to maps (N, *S), for the classes of the first maps.
        images: (N, C, *S).
        maps: What `explain` gave for the images; by default it is asked.
        classes: An int, one for each image, or None for the map's own, else the predicted one.
        batch_size: Images in one run of the model.
        baseline: What an image fades to where the map is 0.

    Returns:
        (N,) in [0, 1]; 0 where one of the three is 0.  The paper takes means over images first;
        here each image has a value of its own.

    Raises:
        MapShapeError: The maps do not fit the images, or are not finite.
        TargetError: The classes do not fit the images or the model.

    Source: Poppi 2021, arXiv 2104.10252.
    """
    first = explain(images) if maps is None else maps
    wanted = chosen(model, images, first, classes)
    drop = average_drop(model, images, first, wanted, batch_size=batch_size, baseline=baseline)
    shown = masks(first, images).flatten(1).mean(1)
    parts = (
        coherency(explain, images, first, baseline=baseline).values.to(drop.values),
        1 - shown.to(drop.values),
        1 - drop.values,
    )
    return Scores("ADCC", 3 / (1 / torch.stack(parts)).sum(0), "higher")
