"""Smooth Grad-CAM++."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.freshruns import FreshRuns
from hooktrace.cam.method import Method, method
from hooktrace.cam.noise import drawn
from hooktrace.progress import steps

__all__ = ["SmoothGradCamPlusPlus"]


@method
@dataclass(frozen=True)
class SmoothGradCamPlusPlus(Method):
    """Grad-CAM++ with the powers of the gradients averaged over noisy images.

    With activations A: (N, C, *S) of the image x itself, and D^m the mean over n noisy images of
    the m-th powers of the gradients g = dy/dA:
    ``a_kp = D2_kp / (2 D2_kp + D3_kp sum_q A_kq)``, ``w_k = sum_p a_kp relu(D1_kp)`` and
    ``map_p = sum_k w_k A_kp``.  The noise is normally distributed with a deviation of
    ``sigma (max x - min x)``, the same draws for every image of the batch.  Without noise it is
    Grad-CAM++.  Where the denominator is 0, a is 0.  The score is the paper's S, before the
    exponential, of which the powers of g are the derivatives but for a factor.

    Source: Omeiza et al. 2019, section 3, arXiv 1908.01224, of which a summary was read.  The
    authors of the torchcam library say that the paper prints D1 in place of the D2 above the
    line: ``numerator="first"``.  Relative sigma is that of SmoothGrad (Smilkov et al. 2017, arXiv
    1706.03825), which finds 0.1 to 0.2 best.  torchcam takes A and D1 of the last noisy image.

    Attributes:
        samples: n.
        sigma: Deviation of the noise, as a part of the range of each image.
        numerator: ``second`` or ``first``.
        batch_size: How many noisy images the model is given at once.
    """

    samples: int = 16
    sigma: float = 0.15
    numerator: Literal["second", "first"] = "second"
    batch_size: int = 32

    name = "smoothgradcam++"
    title = "Smooth Grad-CAM++"
    reruns = True

    def __post_init__(self) -> None:
        if self.numerator not in ("second", "first"):
            raise ValueError(f"numerator= is second or first, but got {self.numerator!r}.")
        for name in ("samples", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}= is at least 1, but got {getattr(self, name)}.")
        if self.sigma < 0:
            raise ValueError(f"sigma= is at least 0, but got {self.sigma}.")

    def map(self, evidence: Evidence) -> Tensor:
        activations = evidence.activations.flatten(2)
        first, second, third = (one.flatten(2) for one in self._powers(evidence))
        below = 2 * second + third * activations.sum(2, keepdim=True)
        above = second if self.numerator == "second" else first
        shares = torch.where(below == 0, 0, above / below)
        weights = (shares * first.clamp_min(0)).sum(2, keepdim=True).mT.to(activations.dtype)
        return (weights @ activations).reshape(len(activations), *evidence.activations.shape[2:])

    def _powers(self, evidence: Evidence) -> list[Tensor]:
        """Return the means of the gradients' first three powers, each (N, C, *S).

        They are float64, in which the third power of a small gradient does not become 0.
        """
        runs = FreshRuns(evidence, self.name)
        shape, device = evidence.activations.shape, evidence.activations.device
        kind = torch.float32 if device.type == "mps" else torch.float64
        sums = [torch.zeros(shape, dtype=kind, device=device) for _ in range(3)]
        noisy = self._noisy(runs.images, evidence.generator())
        batches = -(-self.samples * len(runs.images) // self.batch_size)
        for images, rows in steps(noisy, batches, self.title):
            found = runs.gradients(runs.run(images, rows))
            gradients = evidence.layer.layout.arrange(found).to(kind)
            for power, total in enumerate(sums, start=1):
                total.index_add_(0, rows, gradients**power)
        return [one / self.samples for one in sums]

    def _noisy(self, images: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield noisy images, at most `batch_size` at once, with the number of each one's image."""
        flat = images.flatten(1)
        scale = self.sigma * (flat.amax(1) - flat.amin(1))
        scale = scale.reshape(-1, *[1] * (images.dim() - 1))
        waiting: list[tuple[int, Tensor]] = []
        for sample in range(self.samples):
            noise = drawn(images.shape[1:], images, generator)
            waiting.extend((row, noise) for row in range(len(images)))
            last = sample == self.samples - 1
            while len(waiting) >= self.batch_size or (last and waiting):
                part, waiting = waiting[: self.batch_size], waiting[self.batch_size :]
                rows = torch.tensor([row for row, _ in part], device=images.device)
                added = torch.stack([one for _, one in part]) * scale[rows]
                yield images[rows] + added, rows
