"""Confidence in the explanation map: the image times the map, and what the model says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from hooktrace.cam.metrics.placing import Baseline, Maps, filler, masks
from hooktrace.cam.metrics.running import Classes, chosen, probabilities
from hooktrace.cam.metrics.scores import Scores

__all__ = ["average_drop", "confidence_change", "explanation", "increase"]


def explanation(images: Tensor, maps: Maps, baseline: Baseline = "zero") -> Tensor:
    """Return images seen through their maps: (N, C, *S).

    With the positive part L of a map, scaled to a maximum of 1, then brought to the image's size:
    ``baseline + L * (image - baseline)``.

    Source: Chattopadhay 2018, arXiv 1710.11063, where the baseline is 0.
    """
    rest = filler(images, baseline)
    seen = masks(maps, images).unsqueeze(1).to(images.dtype)
    return rest + seen * (images - rest)


def _pair(
    model: Callable[..., Any],
    images: Tensor,
    maps: Maps,
    classes: Classes,
    batch_size: int,
    baseline: Baseline,
) -> tuple[Tensor, Tensor]:
    """Return the probabilities of the images and of their explanation maps: (N,) each."""
    wanted = chosen(model, images, maps, classes)
    before = probabilities(model, images, wanted, batch_size)
    return before, probabilities(model, explanation(images, maps, baseline), wanted, batch_size)


def average_drop(
    model: Callable[..., Any],
    images: Tensor,
    maps: Maps,
    classes: Classes = None,
    *,
    batch_size: int = 32,
    baseline: Baseline = "zero",
) -> Scores:
    """Return which share of the probability is lost on the explanation map; low is good.

    With Y the probability on the image and O that on the explanation map: ``max(0, Y - O) / Y``, in
    [0, 1]; the paper gives it in per cent.  It is relative: a drop from 0.02 to 0.01 counts as much
    as one from 1 to 0.5.

    Args:
        images: (N, C, *S).
        maps: (N, *S) at any resolution; the positive part counts.
        classes: An int, one for each image, or None for the map's own, else the predicted one.
        batch_size: Images in one run of the model.
        baseline: What an image fades to where the map is 0.

    Returns:
        (N,).  Where Y is 0 there is nothing to lose, and the drop is 0.

    Raises:
        MapShapeError: The maps do not fit the images, or are not finite.
        TargetError: The classes do not fit the images or the model.

    Source: Chattopadhay 2018, arXiv 1710.11063.
    """
    before, after = _pair(model, images, maps, classes, batch_size, baseline)
    drop = (before - after).clamp_min(0) / before.where(before > 0, before.new_ones(()))
    return Scores("average drop", drop, "lower")


def increase(
    model: Callable[..., Any],
    images: Tensor,
    maps: Maps,
    classes: Classes = None,
    *,
    batch_size: int = 32,
    baseline: Baseline = "zero",
) -> Scores:
    """Return 1 where the model is surer of the explanation map than of the image, else 0.

    Arguments and errors are those of `average_drop`.  The mean is the share of such images; high is
    good.

    Source: Chattopadhay 2018, arXiv 1710.11063.
    """
    before, after = _pair(model, images, maps, classes, batch_size, baseline)
    return Scores("increase in confidence", (after > before).to(before), "higher")


def confidence_change(
    model: Callable[..., Any],
    images: Tensor,
    maps: Maps,
    classes: Classes = None,
    *,
    batch_size: int = 32,
    baseline: Baseline = "zero",
) -> Scores:
    """Return the probability on the explanation map less that on the image: (N,), high is good.

    Arguments and errors are those of `average_drop`.  The change is absolute.
    """
    before, after = _pair(model, images, maps, classes, batch_size, baseline)
    return Scores("confidence change", after - before, "higher")
