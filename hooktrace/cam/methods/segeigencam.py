"""Seg-Eigen-CAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from hooktrace.cam.decompositions import energy, first_component, oriented, peak
from hooktrace.cam.evidence import Evidence
from hooktrace.cam.method import Method, method

__all__ = ["SegEigenCam"]


@method
@dataclass(frozen=True)
class SegEigenCam(Method):
    """The first principal component of the activations times the sizes of their gradients.

    With activations A and gradients g = dy/dA, both (N, C, *S), and X the products ``|g_kp| A_kp``
    of one image as P positions by C channels, centred over positions: ``map = X v_1`` with v_1 the
    first right singular vector.

    Source: Chung and Ying 2025, equation 13 for the sign, Applied Sciences 15(13), 7562; both as
    the grad-cam library gives them.

    Attributes:
        sign: ``peak`` makes the value of the largest size positive, as the paper; ``energy`` makes
            the map correlate positively with the activation energy ``e_p = sum_k A_kp^2``.
    """

    sign: Literal["peak", "energy"] = "peak"

    name = "segeigencam"
    title = "Seg-Eigen-CAM"

    def __post_init__(self) -> None:
        if self.sign not in ("peak", "energy"):
            raise ValueError(f"sign= is peak or energy, but got {self.sign!r}.")

    def map(self, evidence: Evidence) -> Tensor:
        activations = evidence.activations
        found = first_component(evidence.gradients.abs() * activations)
        if self.sign == "peak":
            found = peak(found)
        else:
            found = oriented(found, evidence.once("energy", lambda: energy(activations)))
        return found.reshape(activations.shape[0], *activations.shape[2:])
