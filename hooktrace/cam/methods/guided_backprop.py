"""Guided backpropagation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.guided import guided_gradients
from hooktrace.cam.method import Method, method

__all__ = ["GuidedBackprop"]


@method
@dataclass(frozen=True)
class GuidedBackprop(Method):
    """The gradient of the score for the image, where every ReLU lets only what is positive pass.

    Backward through ``y = relu(x)`` is ``R_x = [x > 0] [R_y > 0] R_y``; the same rule goes for
    ReLU6, leaky and other kinds of ReLU, modules and functions, in place or not.  The map is the
    sum of R over the colours of the image; R itself, (N, colours, *S), is in `HeatMap.extra` as
    ``gradients``.

    Source: Springenberg et al. 2014, figure 1, arXiv 1412.6806.
    """

    name = "guided_backprop"
    title = "Guided backpropagation"
    scope = "model"
    reruns = True
    relu = False

    def map(self, evidence: Evidence) -> Tensor:
        return guided_gradients(evidence, self.name).sum(1)

    def details(self, evidence: Evidence) -> Mapping[str, Any]:
        return {"gradients": guided_gradients(evidence, self.name)}
