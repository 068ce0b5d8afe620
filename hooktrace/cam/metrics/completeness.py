"""Completeness: whether a map adds up to the score that it explains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hooktrace.cam.metrics.placing import Maps, raw_of
from hooktrace.cam.metrics.running import Classes, chosen, of_classes, rows
from hooktrace.cam.metrics.scores import Scores
from hooktrace.errors import MapShapeError

__all__ = ["completeness"]


def completeness(
    model: Callable[..., Any],
    images: Tensor,
    maps: Maps,
    classes: Classes = None,
    *,
    reference: float | Tensor = 0.0,
    batch_size: int = 32,
) -> Scores:
    """Return how much of the score the map misses: ``|sum(map) - gain| / |gain|``; low is good.

    The gain is the score before softmax less the reference.  The sum is that of the raw map, as the
    method made it: 0 for HiResCAM before average pooling and one linear layer, if the reference is
    the bias of the class; of no meaning for methods that promise no sum, such as Eigen-CAM.

    Args:
        images: (N, C, *S).
        maps: (N, *S) raw, at the resolution at which they were made.
        classes: An int, one for each image, or None for the map's own, else the predicted one.
        reference: What the score is without evidence: a number, or (N,).
        batch_size: Images in one run of the model.

    Returns:
        (N,); where the gain is 0: infinity, or 0 if the map sums to 0 as well.

    Raises:
        MapShapeError: There are not as many maps as images, or they are not finite.
        TargetError: The classes do not fit the images or the model.

    Source: Sundararajan 2017 (the axiom), arXiv 1703.01365.
    """
    raw = raw_of(maps)
    if len(raw) != len(images):
        raise MapShapeError(f"There are {len(raw)} maps for {len(images)} images.")
    logits = rows(model, images, batch_size).double()
    scores = of_classes(logits, chosen(model, images, maps, classes))
    gain = scores - torch.as_tensor(reference).to(scores)
    gap = (raw.flatten(1).double().sum(1).to(gain.device) - gain).abs()
    missed = torch.where(gap == 0, gap, gap / gain.abs())
    return Scores("completeness gap", missed.to(raw.dtype), "lower")
