"""Grad-CAM."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.method import Method, method

__all__ = ["GradCam"]


@method
@dataclass(frozen=True)
class GradCam(Method):
    """Channels weighted by their pooled gradients.

    With activations A and gradients g = dy/dA, both (N, C, *S), over P positions:
    ``w_k = (1/P) sum_p g_kp`` and ``map_p = sum_k w_k A_kp``.

    Source: Selvaraju et al. 2017, equations 1 and 2, arXiv 1610.02391 (there followed by a ReLU).
    """

    name = "gradcam"
    title = "Grad-CAM"

    def map(self, evidence: Evidence) -> Tensor:
        activations, gradients = evidence.activations, evidence.gradients
        weights = gradients.flatten(2).mean(2)
        return (weights.unsqueeze(1) @ activations.flatten(2)).reshape(
            activations.shape[0], *activations.shape[2:]
        )
