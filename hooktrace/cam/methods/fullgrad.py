"""FullGrad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.fullgradients import Parts, parts
from hooktrace.cam.method import Method, method
from hooktrace.cam.resizing import resized

__all__ = ["FullGrad"]


@method
@dataclass(frozen=True)
class FullGrad(Method):
    """Where the input and the biases of all layers add to the score; it needs no layer.

    With the image x, its gradient ``g_x = dy/dx``, and of each layer the bias b and the gradient g
    of its output: ``y = sum(g_x x) + sum_l sum(g_l b_l)``, if between convolutions, BatchNorm in
    evaluation mode and linear layers there is nothing but ReLU, pooling, addition and the like.
    The map is ``psi(g_x x) + sum_l psi(g_l b_l)``, l over convolutions and BatchNorm, where
    ``psi(t) = up(sum_k s(|t_k|))``, s brings the values of one layer to [0, 1],
    ``s(a) = (a - min a) / (max a - min a)``, and up resizes to the image, linearly in between.

    ``rescale="channel"`` brings each channel to [0, 1] by itself.

    Needs ``keep=True``, an image that requires a gradient, and ``model=`` and ``inputs=``, as
    biases are not in the trace; ``ht.explain(model, images, method="fullgrad")`` does all that.
    `hooktrace.cam.fullgradients.parts` has the two sums before psi.

    Source: Srinivas and Fleuret 2019, arXiv 1905.00780, as the authors' code gives it, with the
    scale of one layer and resizing with aligned corners, but without its constant in the
    denominator.  The scale of one channel, without aligned corners, is the grad-cam library's.

    Attributes:
        rescale: ``layer`` or ``channel``: what is brought to [0, 1] together.

    Raises:
        NotKeptError: A layer with a bias was not kept.
        NoGraphError: The image requires no gradient.
        MissingModelError: ``model=`` and ``inputs=`` were not given.
        MethodError: The model in ``model=`` is another, or a BatchNorm ran in training mode.
    """

    rescale: Literal["layer", "channel"] = "layer"

    name = "fullgrad"
    title = "FullGrad"
    scope = "model"
    reruns = True

    def __post_init__(self) -> None:
        if self.rescale not in ("layer", "channel"):
            raise ValueError(f"rescale= is layer or channel, but got {self.rescale!r}.")

    def map(self, evidence: Evidence) -> Tensor:
        found = _parts(evidence)
        size = tuple(found.image.shape[2:])
        total = self._map_of(found.image, size)
        for name, term in found.biases.items():
            if name in found.spatial:
                total = total + self._map_of(term, size)
        return total

    def details(self, evidence: Evidence) -> Mapping[str, Any]:
        """Return ``sum``: (N,) of each image, the parts before psi, which make up the score."""
        return {"sum": _parts(evidence).sum()}

    def _map_of(self, terms: Tensor, size: tuple[int, ...]) -> Tensor:
        """Return psi of (N, C, *S): (N, *size)."""
        start = 1 if self.rescale == "layer" else 2
        axes = tuple(range(start, terms.dim()))
        sizes = terms.abs()
        low = sizes.amin(axes, keepdim=True)
        span = sizes.amax(axes, keepdim=True) - low
        summed = torch.where(span > 0, (sizes - low) / span, 0).sum(1)
        return resized(summed, size, corners=self.rescale == "layer")


def _parts(evidence: Evidence) -> Parts:
    found: Parts = evidence.shared("full gradients", lambda: parts(evidence))
    return found
