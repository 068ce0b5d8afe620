"""Deletion and insertion: the probability of a class while positions go, or come, by the map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hooktrace.cam.metrics.placing import Baseline, Maps, filler, order, placed
from hooktrace.cam.metrics.running import Classes, chosen, probabilities, tracked
from hooktrace.cam.metrics.scores import Curve

__all__ = ["deletion", "insertion"]


def deletion(
    model: Callable[..., Any],
    images: Tensor,
    maps: Maps,
    classes: Classes = None,
    *,
    steps: int = 50,
    batch_size: int = 32,
    baseline: Baseline = "zero",
    seed: int = 0,
    progress: bool = False,
) -> Curve:
    """Replace positions by the baseline, those the map shows most first; a low area is good.

    Args:
        images: (N, C, *S).
        maps: (N, *S) at any resolution; signed values decide the order.
        classes: An int, one for each image, or None for the map's own, else the predicted one.
        steps: Parts in which the positions go; 224 of 224 x 224 positions in the paper's code.
        batch_size: Changed images in one run of the model.
        baseline: ``zero``, ``mean``, ``blur``, a number, a tensor or a callable on the images.
        seed: For the order among positions of equal value.
        progress: Whether to show a bar.

    Returns:
        Points (N, steps + 1), or fewer where there are fewer positions than steps; `values` (N,)
        are the areas by the trapezoidal rule.

    Raises:
        MapShapeError: The maps do not fit the images, or are not finite.
        TargetError: The classes do not fit the images or the model.

    Source: Petsiuk 2018, arXiv 1806.07421.
    """
    wanted = chosen(model, images, maps, classes)
    ranks = _ranks(maps, images, seed)
    start, end = images, filler(images, baseline)
    return _walk(
        "deletion", "lower", model, (start, end), ranks, wanted, steps, batch_size, progress
    )


def insertion(
    model: Callable[..., Any],
    images: Tensor,
    maps: Maps,
    classes: Classes = None,
    *,
    steps: int = 50,
    batch_size: int = 32,
    baseline: Baseline = "blur",
    seed: int = 0,
    progress: bool = False,
) -> Curve:
    """Put positions into the baseline, those the map shows most first; a high area is good.

    Arguments, result and errors are those of `deletion`; the baseline is the blurred image here, as
    in the paper, so that no sharp edges come in with the first positions.

    Source: Petsiuk 2018, arXiv 1806.07421.
    """
    wanted = chosen(model, images, maps, classes)
    ranks = _ranks(maps, images, seed)
    start, end = filler(images, baseline), images
    return _walk(
        "insertion", "higher", model, (start, end), ranks, wanted, steps, batch_size, progress
    )


def _ranks(maps: Maps, images: Tensor, seed: int) -> Tensor:
    """Return the place of each position in the order: (N, P), 0 for the highest value."""
    return order(placed(maps, images), seed).argsort(1)


def _walk(
    name: str,
    better: str,
    model: Callable[..., Any],
    ends: tuple[Tensor, Tensor],
    ranks: Tensor,
    classes: list[int],
    steps: int,
    batch_size: int,
    progress: bool,
) -> Curve:
    """Go from one end to the other, the same number of positions in each step."""
    if steps < 1:
        raise ValueError(f"steps= is at least 1, but got {steps}.")
    images, positions = ranks.shape
    counts = torch.unique(
        torch.linspace(0, positions, steps + 1, dtype=torch.float64).round().long()
    )
    jobs = torch.cartesian_prod(torch.arange(images), torch.arange(len(counts)))
    start, end = (one.flatten(2) for one in ends)
    found = []
    parts = torch.split(jobs, batch_size)
    for part in tracked(parts, len(parts), name, progress):
        image, step = part.unbind(1)
        here = image.to(ranks.device)
        gone = ranks[here] < counts[step].to(ranks.device).unsqueeze(1)
        mixed = torch.where(gone.unsqueeze(1), end[here], start[here])
        mixed = mixed.reshape(-1, *ends[0].shape[1:])
        found.append(probabilities(model, mixed, [classes[i] for i in image.tolist()], batch_size))
    points = torch.cat(found).reshape(images, len(counts))
    fractions = (counts.double() / positions).to(points)
    return Curve(name, torch.trapezoid(points, fractions, dim=1), better, fractions, points)
