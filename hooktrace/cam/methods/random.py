"""Random weights, as the baseline that every method has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.method import Method, method

__all__ = ["RandomCam"]


@method
@dataclass(frozen=True)
class RandomCam(Method):
    """Channels with random weights: what a map shows when it knows nothing of the model's decision.

    With activations A: (N, C, *S) and w_k independent and uniform in [-1, 1]:
    ``map_p = sum_k w_k A_kp``.  The weights depend on ``seed=`` alone, not on layer, class or
    precision; PyTorch's own generator is not touched.

    Source: none; the baseline of the grad-cam library.
    """

    name = "random"
    title = "Random CAM"
    gradients = False

    def map(self, evidence: Evidence) -> Tensor:
        activations = evidence.activations
        count, channels = activations.shape[:2]
        drawn = torch.rand(
            count,
            1,
            channels,
            generator=evidence.generator(),
            device=activations.device,
            dtype=torch.float32,
        )
        weights = (2 * drawn - 1).to(activations.dtype)
        return (weights @ activations.flatten(2)).reshape(count, *activations.shape[2:])
