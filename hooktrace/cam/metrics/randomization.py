"""Parameter randomisation: a map that explains the model must change when the model is spoilt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hooktrace._torch_copies import copied
from hooktrace.cam.metrics.adcc import correlation
from hooktrace.cam.metrics.placing import raw_of
from hooktrace.cam.metrics.running import tracked
from hooktrace.cam.metrics.scores import Curve

__all__ = ["Randomization", "randomization", "rank_correlation"]


@dataclass(frozen=True, eq=False, repr=False)
class Randomization(Curve):
    """How like the maps are to those of the trained model, from the top of the model to its input.

    Attributes:
        layers: (T,) names; point t is after the parameters of the first t + 1 of them were drawn
            anew.
        points: (N, T) rank correlations in [-1, 1].
        fractions: (T,) share of the layers that were drawn anew.
        values: (N,) mean of the absolute rank correlation over the stages; low is good.
    """

    layers: tuple[str, ...]

    def draw(self, path: str | Path) -> Path:
        """Draw the rank correlation of each image over the layers, the mean and its interval.

        Args:
            path: A file whose ending says the format: ``.png``, ``.svg``, ``.pdf``.

        Raises:
            MissingExtraError: matplotlib is not installed.
            UnknownFormatError: matplotlib does not write this format.
        """
        from hooktrace.cam.metrics.plots import draw_stages

        return draw_stages(self, self.layers, path)


def randomization(
    explain: Callable[[nn.Module, Tensor], Any],
    model: nn.Module,
    images: Tensor,
    *,
    layers: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Randomization:
    """Draw the parameters of one layer after the other anew, from the top, and compare the maps.

    It works on a deep copy, without the user's hooks; the model is not touched.  A layer starts as
    its class starts it (``reset_parameters``); parameters of layers that cannot are drawn from a
    normal distribution with the mean and spread of the trained values.

    Args:
        explain: From a model and images to maps (N, *S), for fixed classes: the classes of the
            trained model, not those that the spoilt one predicts.
        model: The trained model.
        images: (N, C, *S).
        layers: How many of the layers are drawn anew, counted from the top; by default all.
        seed: For the draws; the global random state is as before afterwards.
        progress: Whether to show a bar.

    Returns:
        Spearman's rank correlation with the first map after each layer; the top is what is
        registered last.

    Raises:
        MapShapeError: `explain` returned no maps, or maps that are not finite.
        ValueError: The model has no parameters.

    Source: Adebayo 2018 (cascading randomisation), arXiv 1810.03292.
    """
    spoilt = copied(model, lambda _, hook: _of_torch(hook))
    chain = [
        (name, one)
        for name, one in reversed(list(spoilt.named_modules()))
        if any(True for _ in one.parameters(recurse=False))
    ][:layers]
    if not chain:
        raise ValueError("There are no parameters to draw anew.")
    first = raw_of(explain(model, images))
    points = []
    for number, (_, layer) in enumerate(tracked(chain, len(chain), "randomisation", progress)):
        _renew(layer, seed + number)
        points.append(rank_correlation(raw_of(explain(spoilt, images)), first))
    found = torch.stack(points, 1)
    names = tuple(name or type(one).__name__ for name, one in chain)
    shares = torch.arange(1, len(chain) + 1).to(found) / len(chain)
    mean = found.abs().mean(1)
    return Randomization("parameter randomisation", mean, "lower", shares, found, names)


def _of_torch(hook: Any) -> bool:
    """Whether a hook is part of the model, such as that of a spectral norm."""
    return str(getattr(hook, "__module__", "")).startswith("torch.")


def _renew(layer: nn.Module, seed: int) -> None:
    """Draw the own parameters of a layer anew."""
    own = list(layer.parameters(recurse=False))
    reset = getattr(layer, "reset_parameters", None)
    if callable(reset):
        devices = sorted({one.device.index for one in own if one.device.type == "cuda"})
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            reset()
        return
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for one in own:
            drawn = torch.randn(one.shape, generator=generator)
            spread = one.std(correction=0)
            one.copy_(drawn.to(one) * spread + one.mean())


def rank_correlation(left: Tensor, right: Tensor) -> Tensor:
    """Return Spearman's rank correlation of each pair of maps: (N, *S) twice to (N,).

    Equal values share the mean of their ranks; with a flat map it is 0.
    """
    return correlation(_ranks(left), _ranks(right))


def _ranks(maps: Tensor) -> Tensor:
    flat = maps.flatten(1).double()
    ascending = flat.sort(1).values
    below = torch.searchsorted(ascending, flat.contiguous(), right=False)
    upto = torch.searchsorted(ascending, flat.contiguous(), right=True)
    return (below + upto).double()
