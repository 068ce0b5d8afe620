"""EigenGradCAM."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hooktrace.cam.decompositions import energy, first_component, oriented
from hooktrace.cam.evidence import Evidence
from hooktrace.cam.method import Method, method

__all__ = ["EigenGradCam"]


@method
@dataclass(frozen=True)
class EigenGradCam(Method):
    """The first principal component of the activations times their gradients.

    With activations A and gradients g = dy/dA, both (N, C, *S), and X the products ``g_kp A_kp`` of
    one image as P positions by C channels, centred over positions: ``map = X v_1`` with v_1 the
    first right singular vector.  The sign is the one by which the map correlates positively with
    the activation energy ``e_p = sum_k A_kp^2``.

    Source: the grad-cam library, of no paper; there of the sign that its SVD happens to give.
    """

    name = "eigengradcam"
    title = "EigenGradCAM"

    def map(self, evidence: Evidence) -> Tensor:
        activations = evidence.activations
        strength = evidence.once("energy", lambda: energy(activations))
        found = oriented(first_component(evidence.gradients * activations), strength)
        return found.reshape(activations.shape[0], *activations.shape[2:])
