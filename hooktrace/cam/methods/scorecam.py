"""Score-CAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from hooktrace.cam.evidence import Evidence, wide
from hooktrace.cam.method import Method, method
from hooktrace.cam.replica import Replica

__all__ = ["ScoreCam"]

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


@method
@dataclass(frozen=True)
class ScoreCam(Method):
    """Channels weighted by the score of the image seen through each of them.

    With activations A: (N, C, *S), the image X and the mask ``H_k = s(up(A_k))``, where up resizes
    to the image and ``s(h) = (h - min h) / (max h - min h)``: ``w = softmax_k(f(X * H_k))`` and
    ``map_p = sum_k w_k A_kp``.  The paper subtracts the score of a baseline image from each
    ``f(X * H_k)``; softmax over the channels does not change by that.  A channel that is the same
    everywhere has the mask 0.  Equal channels share one run of the model.

    Source: Wang et al. 2020, equations 4 to 8, arXiv 1910.01279 (there followed by a ReLU).

    Attributes:
        order: ``resize_first``, as in the paper and the grad-cam library, or ``normalize_first``,
            as in torchcam.
        batch_size: How many masked images the model is given at once.
    """

    order: Literal["resize_first", "normalize_first"] = "resize_first"
    batch_size: int = 32

    name = "scorecam"
    title = "Score-CAM"
    gradients = False
    reruns = True

    def __post_init__(self) -> None:
        if self.order not in ("resize_first", "normalize_first"):
            raise ValueError(f"order= is resize_first or normalize_first, but got {self.order!r}.")
        if self.batch_size < 1:
            raise ValueError(f"batch_size= is at least 1, but got {self.batch_size}.")

    def map(self, evidence: Evidence) -> Tensor:
        activations = evidence.activations
        weights = self._scores(evidence).softmax(1)
        return (weights.unsqueeze(1) @ activations.flatten(2)).reshape(
            activations.shape[0], *activations.shape[2:]
        )

    def _scores(self, evidence: Evidence) -> Tensor:
        """Return (N, C) the scores of the masked images."""
        replica = Replica(evidence.rerun(self.name))
        question = evidence.asked("needs the score of masked images")
        count, channels = evidence.activations.shape[:2]
        images = replica.images(count, evidence.layer.image)
        kept, rows, places = _distinct(evidence.activations)
        scores = []
        for part, some in zip(
            torch.split(kept, self.batch_size), torch.split(rows, self.batch_size), strict=True
        ):
            masks = self._masks(part.unsqueeze(1), evidence.layer.image)
            masked = images.index_select(0, some) * masks.to(images.dtype)
            output = replica.run_rows(some, count, masked)
            scores.append(wide(question.scores_of(output, some)).to(kept.dtype))
        return torch.cat(scores)[places].reshape(count, channels)

    def _masks(self, channels: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """Return the masks (M, 1, *sizes) of channels (M, 1, *S)."""
        if self.order == "normalize_first":
            channels = _scaled(channels)
        mode = _MODES[len(sizes)]
        resized = functional.interpolate(channels, sizes, mode=mode, align_corners=False)
        return _scaled(resized) if self.order == "resize_first" else resized


def _distinct(activations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the channels without constant and equal ones.

    Args:
        activations: (N, C, *S).

    Returns:
        Channels (M, *S), the image of each (M,), and for each of the N C channels the one that
        stands for it (N C,).  All constant channels of an image are one of zeros.
    """
    flat = activations.flatten(2)
    constant = flat.amax(2, keepdim=True) == flat.amin(2, keepdim=True)
    flat = torch.where(constant, 0, flat)
    kept, rows, places = [], [], []
    start = 0
    for number, image in enumerate(flat):
        found, inverse = torch.unique(image, dim=0, return_inverse=True)
        kept.append(found)
        rows.append(inverse.new_full((len(found),), number))
        places.append(inverse + start)
        start += len(found)
    channels = torch.cat(kept).reshape(-1, *activations.shape[2:])
    return channels, torch.cat(rows), torch.cat(places)


def _scaled(masks: Tensor) -> Tensor:
    """Bring each mask (M, 1, *S) to [0, 1]; one that is the same everywhere to 0."""
    axes = tuple(range(2, masks.dim()))
    low = masks.amin(axes, keepdim=True)
    span = masks.amax(axes, keepdim=True) - low
    return torch.where(span > 0, (masks - low) / span, 0)
