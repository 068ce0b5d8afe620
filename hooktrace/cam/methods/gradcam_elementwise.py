"""Element-wise Grad-CAM."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.method import Method, method

__all__ = ["GradCamElementwise"]


@method
@dataclass(frozen=True)
class GradCamElementwise(Method):
    """The positive products of activations and gradients, summed over channels.

    With activations A and gradients g = dy/dA, both (N, C, *S): ``map_p = sum_k relu(g_kp A_kp)``.
    It is nowhere negative: what speaks against the score in one channel takes nothing away from
    what speaks for it in another.

    Source: Pillai and Pirsiavash 2021, Explainable Models with Consistent Interpretations, AAAI
    35(3), 2431-2439; the formula as the grad-cam library gives it.
    """

    name = "gradcam_elementwise"
    title = "Element-wise Grad-CAM"

    def map(self, evidence: Evidence) -> Tensor:
        return (evidence.gradients * evidence.activations).clamp_min(0).sum(1)
