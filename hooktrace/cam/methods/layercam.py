"""LayerCAM."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.method import Method, method

__all__ = ["LayerCam"]


@method
@dataclass(frozen=True)
class LayerCam(Method):
    """Activations weighted, position by position, by the positive part of their gradients.

    With activations A and gradients g = dy/dA, both (N, C, *S): ``map_p = sum_k relu(g_kp) A_kp``.

    Source: Jiang et al. 2021, IEEE Transactions on Image Processing 30, 5875-5888 (there followed
    by a ReLU, and for early layers by a hyperbolic tangent before maps are fused).
    """

    name = "layercam"
    title = "LayerCAM"

    def map(self, evidence: Evidence) -> Tensor:
        return (evidence.gradients.clamp_min(0) * evidence.activations).sum(1)
