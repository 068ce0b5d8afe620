"""Eigen-CAM."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hooktrace.cam.decompositions import energy, first_component, oriented
from hooktrace.cam.evidence import Evidence
from hooktrace.cam.method import Method, method

__all__ = ["EigenCam"]


@method
@dataclass(frozen=True)
class EigenCam(Method):
    """The first principal component of the activations; it knows no class.

    With X the activations of one image as P positions by C channels, centred over positions, and
    ``X = U S V^T``: ``map = X v_1``.  The sign, which that leaves open, is the one by which the map
    correlates positively with the activation energy ``e_p = sum_k A_kp^2``.

    Source: Muhammad and Yeasin 2020, arXiv 2008.00299 (there without centring, which, as in the
    grad-cam library, keeps the mean over positions from being the component).
    """

    name = "eigencam"
    title = "Eigen-CAM"
    gradients = False

    def map(self, evidence: Evidence) -> Tensor:
        found: Tensor = evidence.once(self.name, lambda: self._made(evidence))
        return found.clone()

    def _made(self, evidence: Evidence) -> Tensor:
        activations = evidence.activations
        strength = evidence.once("energy", lambda: energy(activations))
        found = oriented(first_component(activations), strength)
        return found.reshape(activations.shape[0], *activations.shape[2:])
