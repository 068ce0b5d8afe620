"""What a metric found for each image, its mean, and how sure that mean is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["Curve", "Scores", "bootstrap"]

_RESAMPLES = 2000


def bootstrap(values: Tensor, level: float = 0.95, seed: int = 0) -> Tensor:
    """Return the percentile bootstrap interval of the mean over images.

    Args:
        values: (N, ...); the images are drawn with replacement, 2000 times.
        level: Share of the resampled means between the two ends.
        seed: Of a generator of its own; the global one is not used.

    Returns:
        (2, ...): the low and the high end.  With one image both are its value, for one image says
        nothing about others.

    Raises:
        ValueError: `level` does not lie between 0 and 1, or there are no images.

    Source: Efron 1979; Efron and Tibshirani 1993 (the percentile interval).
    """
    if not 0 < level < 1:
        raise ValueError(f"level= lies between 0 and 1, but got {level!r}.")
    count = len(values)
    if not count:
        raise ValueError("There is no interval of no images.")
    generator = torch.Generator().manual_seed(seed)
    known = values.detach().cpu().double().flatten(1) if values.dim() > 1 else values.cpu().double()
    drawn = torch.randint(count, (_RESAMPLES, count), generator=generator)
    often = torch.zeros(_RESAMPLES, count, dtype=torch.float64)
    often.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    means = (often @ known) / count
    tail = (1 - level) / 2
    ends = torch.quantile(means, torch.tensor([tail, 1 - tail], dtype=torch.float64), dim=0)
    return ends.reshape(2, *values.shape[1:])


@dataclass(frozen=True, eq=False)
class Scores:
    """One number for each image.

    Attributes:
        name: Of the metric: ``average drop``.
        values: (N,) in float32 or wider.
        better: ``higher`` or ``lower``.
    """

    name: str
    values: Tensor
    better: str

    @property
    def mean(self) -> float:
        """The mean over images."""
        return float(self.values.double().mean())

    def interval(self, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
        """Return the bootstrap interval of the mean; see `bootstrap`."""
        low, high = bootstrap(self.values, level, seed).tolist()
        return low, high

    def draw(self, path: str | Path) -> Path:
        """Draw the value of each image, the mean and its interval.

        Args:
            path: A file whose ending says the format: ``.png``, ``.svg``, ``.pdf``.

        Raises:
            MissingExtraError: matplotlib is not installed.
            UnknownFormatError: matplotlib does not write this format.
        """
        from hooktrace.cam.metrics.plots import draw_scores

        return draw_scores(self, path)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __str__(self) -> str:
        count = len(self.values)
        low, high = self.interval()
        sure = f" [{low:.4f}, {high:.4f}], {count} images" if count > 1 else ", 1 image"
        return f"{self.name}: {self.mean:.4f}{sure}, {self.better} is better"


@dataclass(frozen=True, eq=False, repr=False)
class Curve(Scores):
    """One curve for each image; `values` are the areas below them, or their means.

    Attributes:
        fractions: (T,) share of the positions that were changed.
        points: (N, T) probability of the class of each image.
    """

    fractions: Tensor
    points: Tensor

    def draw(self, path: str | Path) -> Path:
        """Draw the curve of each image, their mean and its interval.

        Args:
            path: A file whose ending says the format: ``.png``, ``.svg``, ``.pdf``.

        Raises:
            MissingExtraError: matplotlib is not installed.
            UnknownFormatError: matplotlib does not write this format.
        """
        from hooktrace.cam.metrics.plots import draw_curve

        return draw_curve(self, path)
