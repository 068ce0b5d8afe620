"""FEM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.method import Method, method

__all__ = ["Fem"]

FORMS = ("masks", "activations")


@method
@dataclass(frozen=True)
class Fem(Method):
    """Where channels are unusually strong; it knows no class.

    With activations A: (N, C, *S), and m_k and s_k the mean and the standard deviation of a channel
    over positions, ``B_kp = 1 if A_kp > m_k + sigmas s_k else 0`` and ``map_p = sum_k m_k B_kp``.
    A channel that is the same everywhere adds nothing.

    Source: Fuad et al. 2020, Features Understanding in 3D CNNs for Actions Recognition in Video,
    IPTA, hal-02963298.

    Attributes:
        sigmas: How many standard deviations above the mean are unusual.
        form: ``masks`` weights the masks B by the means m, as the paper; ``activations`` weights
            the activations by the share of unusual positions, ``sum_k mean_p(B_kp) A_kp``, as
            the grad-cam library.
    """

    sigmas: float = 2.0
    form: Literal["masks", "activations"] = "masks"

    name = "fem"
    title = "FEM"
    gradients = False

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"form= is masks or activations, but got {self.form!r}.")

    def map(self, evidence: Evidence) -> Tensor:
        flat = evidence.activations.flatten(2)
        deviations, means = torch.std_mean(flat, 2, correction=0, keepdim=True)
        masks = (flat > means + self.sigmas * deviations).to(flat.dtype)
        if self.form == "masks":
            found = means.mT @ masks
        else:
            found = masks.mean(2, keepdim=True).mT @ flat
        return found.reshape(len(flat), *evidence.activations.shape[2:])
