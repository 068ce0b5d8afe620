"""HiResCAM."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.method import Method, method

__all__ = ["HiResCam"]


@method
@dataclass(frozen=True)
class HiResCam(Method):
    """Activations times gradients, summed over channels.

    ``map_p = sum_k g_kp A_kp`` with activations A and gradients g = dy/dA, both (N, C, *S).  If
    only average pooling and one linear layer follow, it sums to the score less the bias.

    Source: Draelos and Carin 2020, equation 4, arXiv 2011.08891.
    """

    name = "hirescam"
    title = "HiResCAM"

    def map(self, evidence: Evidence) -> Tensor:
        return (evidence.gradients * evidence.activations).sum(1)
