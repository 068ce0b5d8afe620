"""Max-sensitivity: how far a map moves when the image is moved a little."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hooktrace.cam.metrics.placing import raw_of
from hooktrace.cam.metrics.running import tracked
from hooktrace.cam.metrics.scores import Scores

__all__ = ["sensitivity_max"]


def sensitivity_max(
    explain: Callable[[Tensor], Any],
    images: Tensor,
    *,
    radius: float = 0.02,
    samples: int = 10,
    relative: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> Scores:
    """Return the largest change of the map among images close to each image; low is good.

    ``max over y of |map(y) - map(x)|_2``, with every value of y - x uniform in [-radius, radius].
    It is a lower bound of the maximum over that cube, from `samples` images.  It grows with the
    scale of the map: compare methods with ``relative=True``.

    Args:
        explain: From images to maps (N, *S), raw or normalised, for fixed classes.
        images: (N, C, *S).
        radius: In units of the images.
        samples: Images drawn around each.
        relative: Whether to divide by ``|map(x)|_2``, as captum does; a map of 0 gives 0 then, if
            it does not move, else infinity.
        seed: For the draws; the global generator is not used.
        progress: Whether to show a bar.

    Returns:
        (N,).

    Raises:
        MapShapeError: `explain` returned no maps, or maps that are not finite.
        ValueError: `samples` is less than 1.

    Source: Yeh 2019, SENS_MAX, arXiv 1901.09392.
    """
    if samples < 1:
        raise ValueError(f"samples= is at least 1, but got {samples}.")
    generator = torch.Generator(images.device).manual_seed(seed)
    before = raw_of(explain(images)).flatten(1)
    worst = before.new_zeros(len(before))
    for _ in tracked(range(samples), samples, "sensitivity", progress):
        noise = torch.rand(images.shape, generator=generator, device=images.device)
        moved = images + ((2 * noise - 1) * radius).to(images.dtype)
        change = (raw_of(explain(moved)).flatten(1) - before).norm(dim=1)
        worst = torch.maximum(worst, change)
    if relative:
        worst = torch.where(worst == 0, worst, worst / before.norm(dim=1))
    return Scores("max-sensitivity", worst, "lower")
