"""Guided Grad-CAM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.guided import guided_gradients
from hooktrace.cam.method import METHODS, Method, method
from hooktrace.cam.resizing import resized

__all__ = ["GuidedGradCam"]


@method
@dataclass(frozen=True)
class GuidedGradCam(Method):
    """Guided backpropagation times the positive part of Grad-CAM, at the size of the image.

    With the guided gradients R: (N, colours, *S) and the Grad-CAM map L of the layer, resized
    linearly: ``map_p = relu(L)_p sum_c R_cp``.  The product with R is in `HeatMap.extra` as
    ``gradients``.

    Source: Selvaraju et al. 2017, section 3.2, arXiv 1610.02391.
    """

    name = "guided_gradcam"
    title = "Guided Grad-CAM"
    reruns = True
    relu = False

    def map(self, evidence: Evidence) -> Tensor:
        return self._product(evidence).sum(1)

    def details(self, evidence: Evidence) -> Mapping[str, Any]:
        return {"gradients": self._product(evidence)}

    def _product(self, evidence: Evidence) -> Tensor:
        guided = guided_gradients(evidence, self.name)
        coarse = METHODS["gradcam"]().map(evidence).clamp_min(0)
        return guided * resized(coarse, tuple(guided.shape[2:])).unsqueeze(1)
