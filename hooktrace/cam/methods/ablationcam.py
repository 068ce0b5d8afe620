"""Ablation-CAM."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hooktrace.cam.evidence import Evidence, wide
from hooktrace.cam.layouts import listed
from hooktrace.cam.method import Method, method
from hooktrace.cam.replica import Tail
from hooktrace.errors import MethodError
from hooktrace.progress import steps

__all__ = ["AblationCam"]


@method
@dataclass(frozen=True)
class AblationCam(Method):
    """Channels weighted by the part of the score that is lost without them.

    With activations A: (N, C, *S), the score y and the score y_k with channel k set to zero:
    ``w_k = (y - y_k) / y`` and ``map_p = sum_k w_k A_kp``.  Only what follows the layer is run,
    and channels that are zero already are not.

    Source: Desai and Ramaswamy 2020, equations 4 and 5, WACV (there followed by a ReLU).

    Attributes:
        batch_size: How many images the rest of the model is given at once.
    """

    batch_size: int = 32

    name = "ablationcam"
    title = "Ablation-CAM"
    gradients = False
    reruns = True

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size= is at least 1, but got {self.batch_size}.")

    def map(self, evidence: Evidence) -> Tensor:
        activations = evidence.activations
        own, ablated = self._scores(evidence)
        weights = (own.unsqueeze(1) - ablated) / own.unsqueeze(1)
        return (weights.unsqueeze(1) @ activations.flatten(2)).reshape(
            activations.shape[0], *activations.shape[2:]
        )

    def _scores(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """Return the scores (N,), and those without each channel (N, C)."""
        rerun = evidence.rerun(self.name)
        together = self._at_once(evidence)
        score = evidence.scorer("needs the score of changed activations")
        layer, activations = evidence.layer, evidence.activations
        tail = Tail(rerun, evidence)
        axis = layer.layout.batch
        values = layer.value.movedim(axis, 0)
        numbers = torch.arange(values.numel(), device=values.device).reshape(values.shape)
        places = layer.layout.arrange(numbers.movedim(0, axis)).flatten(2)
        size = values[0].numel()
        every = torch.arange(len(values), device=values.device)
        own = wide(score(tail.run(layer.role, layer.value.clone(), every), every))
        own = own.to(activations.dtype)
        found = own.unsqueeze(1).repeat(1, activations.shape[1])
        alive = (activations.flatten(2) != 0).any(2).nonzero()
        parts = torch.split(alive, together)
        for part in steps(parts, len(parts), self.title):
            rows, channels = part.unbind(1)
            changed = values.index_select(0, rows)
            inside = places[rows, channels] - (rows * size).unsqueeze(1)
            changed.flatten(1).scatter_(1, inside, 0)
            output = tail.run(layer.role, changed.movedim(0, axis), rows)
            scores = score(output, rows)
            found[rows, channels] = wide(scores).to(found.dtype)
        return own, found

    def _at_once(self, evidence: Evidence) -> int:
        """Return how many images the model can be given at once.

        Raises:
            MethodError: It takes a list of images, and was given several.
        """
        if not any(map(listed, evidence.root.seen_inputs)):
            return self.batch_size
        count = len(evidence.activations)
        if count > 1:
            raise MethodError(
                f"{self.title} of a model that takes a list of images is made of one image at a "
                f"time, but got {count}."
            )
        return 1
