"""ROAD: remove and debias, with holes that are imputed so that their shape tells nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hooktrace.cam.metrics.imputation import imputed
from hooktrace.cam.metrics.placing import Maps, order, placed
from hooktrace.cam.metrics.running import Classes, chosen, probabilities, tracked
from hooktrace.cam.metrics.scores import Curve, Scores

__all__ = ["road", "road_lerf", "road_morf"]

FRACTIONS = tuple(percent / 100 for percent in range(10, 100, 10))


def road_morf(
    model: Callable[..., Any],
    images: Tensor,
    maps: Maps,
    classes: Classes = None,
    *,
    fractions: Sequence[float] = FRACTIONS,
    batch_size: int = 32,
    noise: float = 0.01,
    seed: int = 0,
    progress: bool = False,
) -> Curve:
    """Impute the most relevant positions first; a low probability is good.

    Args:
        images: (N, C, *S).
        maps: (N, *S) at any resolution; signed values decide the order.
        classes: An int, one for each image, or None for the map's own, else the predicted one.
        fractions: Shares of the positions that are removed, each in (0, 1).
        batch_size: Changed images in one run of the model.
        noise: Standard deviation of the noise on imputed values, in units of the images.
        seed: For the noise, and the order among positions of equal value.
        progress: Whether to show a bar.

    Returns:
        Points (N, fractions); `values` (N,) are their means.

    Raises:
        MapShapeError: The maps do not fit the images, or are not finite.
        TargetError: The classes do not fit the images or the model.
        ValueError: A fraction does not lie between 0 and 1.

    Source: Rong 2022, arXiv 2202.00449.
    """
    return _removed(
        "ROAD, most relevant first", "lower", model, images, maps, classes,
        fractions=fractions, batch_size=batch_size, noise=noise, seed=seed, progress=progress,
    )  # fmt: skip


def road_lerf(
    model: Callable[..., Any],
    images: Tensor,
    maps: Maps,
    classes: Classes = None,
    **options: Any,
) -> Curve:
    """Impute the least relevant positions first; a high probability is good.

    Arguments, result and errors are those of `road_morf`.

    Source: Rong 2022, arXiv 2202.00449.
    """
    return _removed("ROAD, least relevant first", "higher", model, images, maps, classes, **options)


def road(
    model: Callable[..., Any],
    images: Tensor,
    maps: Maps,
    classes: Classes = None,
    **options: Any,
) -> Scores:
    """Return half of what least relevant first leaves more than most relevant first.

    Arguments and errors are those of `road_morf`.

    Returns:
        (N,) in [-1/2, 1/2]; high is good, and 0 is what a random map gets on average.

    Source: Rong 2022, arXiv 2202.00449, for the two orders; their difference as in grad-cam.
    """
    wanted = chosen(model, images, maps, classes)
    least = road_lerf(model, images, maps, wanted, **options)
    most = road_morf(model, images, maps, wanted, **options)
    return Scores("ROAD", (least.values - most.values) / 2, "higher")


def _removed(
    name: str,
    better: str,
    model: Callable[..., Any],
    images: Tensor,
    maps: Maps,
    classes: Classes,
    *,
    fractions: Sequence[float] = FRACTIONS,
    batch_size: int = 32,
    noise: float = 0.01,
    seed: int = 0,
    progress: bool = False,
) -> Curve:
    shares = sorted(fractions)
    if not shares or not 0 < shares[0] <= shares[-1] < 1:
        raise ValueError(f"fractions= lie between 0 and 1, but got {fractions!r}.")
    signed = placed(maps, images)
    wanted = chosen(model, images, maps, classes)
    ranks = order(signed if better == "lower" else -signed, seed).argsort(1)
    found = []
    for number, share in enumerate(tracked(shares, len(shares), name, progress)):
        missing = (ranks < round(share * ranks.shape[1])).reshape(signed.shape)
        parts = [
            imputed(part, hole, noise=noise, seed=seed + 7919 * number + start)
            for start, (part, hole) in enumerate(
                zip(torch.split(images, batch_size), torch.split(missing, batch_size), strict=True)
            )
        ]
        found.append(probabilities(model, torch.cat(parts), wanted, batch_size))
    points = torch.stack(found, 1)
    return Curve(name, points.mean(1), better, torch.tensor(shares).to(points), points)
