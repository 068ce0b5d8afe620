"""Integrated Score-CAM."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.masking import Masked, MaskingMethod
from hooktrace.cam.method import method
from hooktrace.progress import steps

__all__ = ["IsCam"]


@method
@dataclass(frozen=True)
class IsCam(MaskingMethod):
    """Score-CAM, with the score of each channel averaged along a path from black to its mask.

    With the image X and the masks ``H_k`` of Score-CAM:
    ``w = softmax_k((1/n) sum_i f(c_i X * H_k))`` for i = 1 ... n, and ``map_p = sum_k w_k A_kp``.
    With ``path="accumulated"`` the masks are summed up, ``c_i = sum_(j < i) j / n``, which goes
    beyond the image, to (n - 1) / 2; with ``path="straight"`` it is the integral up to the masked
    image, ``c_i = i / n``.

    Source: Naidu et al. 2020, arXiv 2010.03023, which was not read: the accumulated form is how the
    authors of the torchcam library quote it, whose own sum is one step ahead, ``j <= i``.

    Attributes:
        order: ``resize_first`` or ``normalize_first``, as of ``scorecam``.
        batch_size: How many masked images the model is given at once.
        path: ``accumulated`` or ``straight``.
        steps: n.
    """

    path: Literal["accumulated", "straight"] = "accumulated"
    steps: int = 10

    name = "iscam"
    title = "IS-CAM"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path not in ("accumulated", "straight"):
            raise ValueError(f"path= is accumulated or straight, but got {self.path!r}.")
        least = 2 if self.path == "accumulated" else 1  # one accumulated step is black alone
        if self.steps < least:
            raise ValueError(f"steps= is at least {least} here, but got {self.steps}.")

    def scores(self, evidence: Evidence, masked: Masked) -> Tensor:
        factors = self._factors()
        path = steps(factors, len(factors), self.title)
        found = [masked.scores(partial(_dimmed, one)) for one in path]
        return torch.stack(found).sum(0) / self.steps

    def _factors(self) -> list[float]:
        """Return c_i without those of 0, whose score is the same for all channels."""
        n = self.steps
        if self.path == "straight":
            return [i / n for i in range(1, n + 1)]
        return [i * (i - 1) / 2 / n for i in range(2, n + 1)]


def _dimmed(factor: float, images: Tensor, masks: Tensor) -> Tensor:
    return factor * images * masks
