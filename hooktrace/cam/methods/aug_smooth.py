"""Smoothing by test-time augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.freshruns import FreshEvidence, FreshRuns
from hooktrace.cam.method import METHODS, Method, method
from hooktrace.cam.resizing import resized
from hooktrace.progress import steps

__all__ = ["AugSmooth"]


class _View(NamedTuple):
    """One way to look at the images."""

    flip: bool
    gain: float
    scale: float


@method
@dataclass(frozen=True)
class AugSmooth(Method):
    """The mean of the maps of augmented images, each mapped back: test-time augmentation.

    With augmentations t_1 ... t_n of the image x and the map M of another method:
    ``map = (1/n) sum_i t_i^-1(M(t_i(x)))``.  They are all combinations of a flip along the last
    axis, of factors on the values, and of sizes; a map of another size than that of the image
    itself is resized to it, linearly in between.  The class that is explained is that of the image
    itself.  The model is run once for each, on as many images as were recorded.

    Source: `aug_smooth` of the grad-cam library, of which the flip and the three factors are; there
    the maps are cut at zero and scaled to 1 before they are averaged.

    Attributes:
        of: The method that makes the maps: its name, or the method with its options.
        flip: Whether to mirror the images too.
        gains: Factors on the values of the images.
        scales: Factors on their sizes, for models that take any.
    """

    of: str | Method = "gradcam"
    flip: bool = True
    gains: tuple[float, ...] = (0.9, 1.0, 1.1)
    scales: tuple[float, ...] = (1.0,)

    name = "aug_smooth"
    title = "Test-time augmentation smoothing"
    reruns = True

    def __post_init__(self) -> None:
        for name in ("gains", "scales"):
            values = getattr(self, name)
            if not values or any(one <= 0 for one in values):
                raise ValueError(f"{name}= takes at least one factor above 0, but got {values!r}.")

    def map(self, evidence: Evidence) -> Tensor:
        base = METHODS[self.of]() if isinstance(self.of, str) else self.of
        if base.scope != "layer" or isinstance(base, AugSmooth):
            raise ValueError(f"of= names a method that makes a map of one layer, not {base.name}.")
        runs = FreshRuns(evidence, self.name)
        views = list(self._views())
        made = [
            _back(
                base.map(FreshEvidence(evidence, runs, _seen(runs.images, view), self.name)),
                view,
                evidence.layer.layout.grid,
            )
            for view in steps(views, len(views), self.title)
        ]
        return torch.stack(made).mean(0)

    def _views(self) -> Iterator[_View]:
        for flip in (False, True) if self.flip else (False,):
            for gain in self.gains:
                for scale in self.scales:
                    yield _View(flip, gain, scale)


def _seen(images: Tensor, view: _View) -> Tensor:
    """Return augmented images."""
    if view.scale != 1:
        flat = images.flatten(0, 1)
        sizes = tuple(max(1, round(size * view.scale)) for size in images.shape[2:])
        images = resized(flat, sizes).reshape(*images.shape[:2], *sizes)
    return (images.flip(-1) if view.flip else images) * view.gain


def _back(maps: Tensor, view: _View, grid: tuple[int, ...]) -> Tensor:
    maps = maps.flip(-1) if view.flip else maps
    return maps if tuple(maps.shape[1:]) == grid else resized(maps, grid)
