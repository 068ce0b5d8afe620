"""Images seen through the channels of a layer, for Score-CAM and its kin."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hooktrace.cam.evidence import Evidence, wide
from hooktrace.cam.method import Method
from hooktrace.cam.replica import Replica
from hooktrace.cam.resizing import resized
from hooktrace.progress import steps

__all__ = ["Masked", "MaskingMethod"]

See = Callable[[Tensor, Tensor], Tensor]
"""From images (M, colours, *sizes) and masks (M, 1, *sizes) to what the model is given."""


class Masked:
    """The images of a batch, each seen through the channels of a layer.

    Constant channels of an image share one mask, of zeros, and equal channels share theirs, so that
    the model runs once for all of them.

    Args:
        evidence: The layer, the score and the model.
        method: Who asks, for an error.
        order: As of `MaskingMethod`.
        batch_size: How many masked images the model is given at once.

    Attributes:
        images: (N, colours, *sizes) the batch.
    """

    def __init__(self, evidence: Evidence, method: str, order: str, batch_size: int) -> None:
        self._replica = Replica(evidence.rerun(method))
        self._score = evidence.scorer("needs the score of masked images")
        self._sizes = evidence.layer.image
        self._order, self._batch_size = order, batch_size
        self._shape = evidence.activations.shape[:2]
        self.images = self._replica.images(self._shape[0], self._sizes)
        self._channels, self._rows, self._places = _distinct(evidence.activations)

    @property
    def runs(self) -> int:
        """How many masked images stand for the N C channels."""
        return len(self._channels)

    def scores(self, see: See) -> Tensor:
        """Return (N, C) the scores of the images seen through each channel."""
        count, found = self._shape[0], []
        parts = [torch.split(one, self._batch_size) for one in (self._channels, self._rows)]
        pairs = zip(*parts, strict=True)
        for part, rows in steps(pairs, len(parts[0]), "masked images"):
            masks = self._masks(part).to(self.images.dtype)
            output = self._replica.run_rows(rows, count, see(self.images[rows], masks))
            found.append(wide(self._score(output, rows)).to(part.dtype))
        return torch.cat(found)[self._places].reshape(self._shape)

    def _masks(self, channels: Tensor) -> Tensor:
        """Return the masks (M, 1, *sizes) of channels (M, *S)."""
        if self._order == "normalize_first":
            channels = _scaled(channels)
        large = resized(channels, self._sizes)
        return (_scaled(large) if self._order == "resize_first" else large).unsqueeze(1)


@dataclass(frozen=True)
class MaskingMethod(Method):
    """A method that weights channels by the scores of images seen through them.

    Attributes:
        order: ``resize_first`` or ``normalize_first``: how a channel is made a mask.
        batch_size: How many masked images the model is given at once.
    """

    order: Literal["resize_first", "normalize_first"] = "resize_first"
    batch_size: int = 32

    gradients = False
    reruns = True

    def __post_init__(self) -> None:
        if self.order not in ("resize_first", "normalize_first"):
            raise ValueError(f"order= is resize_first or normalize_first, but got {self.order!r}.")
        if self.batch_size < 1:
            raise ValueError(f"batch_size= is at least 1, but got {self.batch_size}.")

    @abstractmethod
    def scores(self, evidence: Evidence, masked: Masked) -> Tensor:
        """Return (N, C) what is softmaxed over the channels to weights."""

    def map(self, evidence: Evidence) -> Tensor:  # noqa: D102 - that of what it extends
        masked = Masked(evidence, self.name, self.order, self.batch_size)
        weights = self.scores(evidence, masked).softmax(1)
        activations = evidence.activations
        return (weights.unsqueeze(1) @ activations.flatten(2)).reshape(
            activations.shape[0], *activations.shape[2:]
        )


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
    """Bring each mask (M, *S) to [0, 1]; one that is the same everywhere to 0."""
    axes = tuple(range(1, masks.dim()))
    low = masks.amin(axes, keepdim=True)
    span = masks.amax(axes, keepdim=True) - low
    return torch.where(span > 0, (masks - low) / span, 0)
