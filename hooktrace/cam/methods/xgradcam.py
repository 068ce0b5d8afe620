"""XGrad-CAM."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.method import Method, method

__all__ = ["XGradCam"]


@method
@dataclass(frozen=True)
class XGradCam(Method):
    """Channels weighted by their gradients, which are averaged with the activations as weights.

    With activations A and gradients g = dy/dA, both (N, C, *S):
    ``w_k = sum_p g_kp A_kp / sum_p A_kp`` and ``map_p = sum_k w_k A_kp``.

    Each channel of the map so sums to ``sum_p g_kp A_kp``.  A channel whose activations cancel to
    within the precision of their sum, ``|sum_p A_kp| <= eps sum_p |A_kp|``, has no such average;
    its weight is 0.  Just above that the weights are large, and mean little.

    Source: Fu et al. 2020, arXiv 2008.02312.
    """

    name = "xgradcam"
    title = "XGrad-CAM"

    def map(self, evidence: Evidence) -> Tensor:
        activations = evidence.activations.flatten(2)
        products = (evidence.gradients.flatten(2) * activations).sum(2)
        sums, sizes = activations.sum(2), activations.abs().sum(2)
        lost = sums.abs() <= torch.finfo(sums.dtype).eps * sizes
        weights = torch.where(lost, 0, products / sums)
        return (weights.unsqueeze(1) @ activations).reshape(
            len(activations), *evidence.activations.shape[2:]
        )
