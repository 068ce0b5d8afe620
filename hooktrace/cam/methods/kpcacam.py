"""KPCA-CAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hooktrace.cam.decompositions import energy, finite_only, leading, oriented
from hooktrace.cam.evidence import Evidence
from hooktrace.cam.method import Method, method

__all__ = ["KpcaCam"]

KERNELS = ("sigmoid", "rbf", "polynomial", "linear")


@method
@dataclass(frozen=True)
class KpcaCam(Method):
    """The first kernel principal component of the activations; it knows no class.

    With x_p the activations at position p, centred over positions, the kernel matrix
    ``K_pq = k(x_p, x_q)``, centred in rows and columns, has the largest eigenvalue l with the
    eigenvector u: ``map = sqrt(l) u``.  The kernels are ``tanh(gamma x.y + offset)`` (sigmoid),
    ``exp(-gamma |x - y|^2)`` (rbf), ``(gamma x.y + offset)^degree`` (polynomial) and ``x.y``
    (linear, which makes it Eigen-CAM).  The sign is the one by which the map correlates positively
    with the activation energy ``e_p = sum_k A_kp^2``.  With kernels other than linear the map
    depends on the scale of the activations.  Memory grows with the square of the positions.

    Source: Karmani et al. 2024, arXiv 2410.00267; the kernels, their defaults and the centring
    before the kernel as the grad-cam library has them, by scikit-learn's KernelPCA.

    Attributes:
        kernel: ``sigmoid``, ``rbf``, ``polynomial`` or ``linear``.
        gamma: By default one over the number of channels.
        offset: Of the sigmoid and the polynomial kernel.
        degree: Of the polynomial kernel.
    """

    kernel: Literal["sigmoid", "rbf", "polynomial", "linear"] = "sigmoid"
    gamma: float | None = None
    offset: float = 1.0
    degree: int = 3

    name = "kpcacam"
    title = "KPCA-CAM"
    gradients = False

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel= is one of {', '.join(KERNELS)}, but got {self.kernel!r}.")

    def map(self, evidence: Evidence) -> Tensor:
        found: Tensor = evidence.once(f"{self!r}", lambda: self._made(evidence))
        return found.clone()

    def _made(self, evidence: Evidence) -> Tensor:
        activations = evidence.activations
        flat, finite = finite_only(activations.flatten(2))
        kernels = self._kernels((flat - flat.mean(2, keepdim=True)).mT)
        means = kernels.mean(1, keepdim=True)
        values, vectors = leading(kernels - means - means.mT + means.mean(2, keepdim=True))
        found = torch.where(finite, values.clamp_min(0).sqrt().unsqueeze(1) * vectors, torch.nan)
        found = oriented(found, evidence.once("energy", lambda: energy(activations)))
        return found.reshape(activations.shape[0], *activations.shape[2:])

    def _kernels(self, points: Tensor) -> Tensor:
        """Return (N, P, P) of points (N, P, C)."""
        gamma = 1 / points.shape[2] if self.gamma is None else self.gamma
        products = points @ points.mT
        if self.kernel == "linear":
            return products
        if self.kernel == "rbf":
            squares = products.diagonal(dim1=1, dim2=2)
            distances = squares.unsqueeze(1) + squares.unsqueeze(2) - 2 * products
            return (-gamma * distances.clamp_min(0)).exp()
        products = gamma * products + self.offset
        return products.tanh() if self.kernel == "sigmoid" else products**self.degree
