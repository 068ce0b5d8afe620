"""Grad-CAM++."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.method import Method, method

__all__ = ["GradCamPlusPlus"]


@method
@dataclass(frozen=True)
class GradCamPlusPlus(Method):
    """Channels weighted by their positive gradients, each with a coefficient of its own.

    With activations A and gradients g = dy/dA, both (N, C, *S):
    ``a_kp = g_kp^2 / (2 g_kp^2 + g_kp^3 sum_q A_kq)``, ``w_k = sum_p a_kp relu(g_kp)`` and
    ``map_p = sum_k w_k A_kp``.

    Only positions with g > 0 count, so g^2 is divided out: ``a = 1 / (2 + g sum_q A_q)``.  That is
    the same number, but no power of a small gradient becomes 0, and no epsilon is needed.  Where
    the denominator is 0, at a negative sum of activations, the equation has no value; a is 0
    there.  The score is the paper's S, before the exponential; the factor exp(S) of the weights is
    left out, which is the same for all positions of a map.  The coefficients depend on the size
    of the gradients, so scaling the logits changes the map: that is the equation's property.

    Source: Chattopadhyay et al. 2018, equation 19, arXiv 1710.11063.
    """

    name = "gradcam++"
    title = "Grad-CAM++"

    def map(self, evidence: Evidence) -> Tensor:
        activations = evidence.activations.flatten(2)
        gradients = evidence.gradients.flatten(2)
        below = 2 + gradients * activations.sum(2, keepdim=True)
        terms = torch.where(below == 0, 0, gradients.clamp_min(0) / below)
        weights = terms.sum(2, keepdim=True).mT
        return (weights @ activations).reshape(len(activations), *evidence.activations.shape[2:])
