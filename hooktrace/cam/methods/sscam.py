"""Smoothed Score-CAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.masking import Masked, MaskingMethod
from hooktrace.cam.method import method
from hooktrace.cam.noise import drawn
from hooktrace.progress import steps

__all__ = ["SsCam"]


@method
@dataclass(frozen=True)
class SsCam(MaskingMethod):
    """Score-CAM, with the score of each channel averaged over noise.

    With the image X and the masks ``H_k`` of Score-CAM, and noise d_1 ... d_n, each number of which
    is normally distributed with deviation sigma: ``w = softmax_k((1/n) sum_i f(X * (H_k + d_i)))``
    with noise on the activation, ``w = softmax_k((1/n) sum_i f(X * H_k + d_i))`` with noise on the
    input, and ``map_p = sum_k w_k A_kp``.  The noise is the same for all channels and images, so
    that neither equal channels nor one image in two batches differ by what was drawn.

    Source: Wang et al. 2020, arXiv 2006.14255, of which a summary was read, the first form also as
    in the torchcam library.  There sigma is 2, by which masks from 0 to 1 drown; the authors' code
    scales it by the size of the map.

    Attributes:
        order: ``resize_first`` or ``normalize_first``, as of ``scorecam``.
        batch_size: How many masked images the model is given at once.
        noise: ``activation``, on the mask, or ``input``, on the masked image.
        sigma: Deviation of the noise, in units of the mask or of the model's input.
        samples: n.
    """

    noise: Literal["activation", "input"] = "activation"
    sigma: float = 2.0
    samples: int = 35

    name = "sscam"
    title = "SS-CAM"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise not in ("activation", "input"):
            raise ValueError(f"noise= is activation or input, but got {self.noise!r}.")
        if self.sigma < 0:
            raise ValueError(f"sigma= is at least 0, but got {self.sigma}.")
        if self.samples < 1:
            raise ValueError(f"samples= is at least 1, but got {self.samples}.")

    def scores(self, evidence: Evidence, masked: Masked) -> Tensor:
        generator = evidence.generator()
        colours, *sizes = masked.images.shape[1:]
        shape = (1 if self.noise == "activation" else colours, *sizes)
        found = [
            self._noisy(masked, self.sigma * drawn(shape, masked.images, generator))
            for _ in steps(range(self.samples), self.samples, self.title)
        ]
        return torch.stack(found).mean(0)

    def _noisy(self, masked: Masked, noise: Tensor) -> Tensor:
        if self.noise == "activation":
            return masked.scores(lambda images, masks: images * (masks + noise))
        return masked.scores(lambda images, masks: images * masks + noise)
