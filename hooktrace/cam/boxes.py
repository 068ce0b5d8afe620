"""Targets of object detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hooktrace.errors import TargetError

__all__ = ["DetectionBoxes"]

OF = ("both", "score", "iou")
MISSING = ("error", "zero")


@dataclass(frozen=True, eq=False)
class DetectionBoxes:
    """How well a detector finds given boxes: for each, of the detection that matches it.

    A detection matches a box if it has its label and overlaps it by an IoU (area of the
    intersection by area of the union) of at least the threshold; of several the one of the highest
    IoU counts.  ``y_n = sum_boxes score + IoU``; a box without a match adds nothing.  The model
    returns a list with a dict for each image, of ``boxes`` (M, 4) as x1, y1, x2, y2, ``labels``
    (M,) and ``scores`` (M,), as those of torchvision do.

    Args:
        labels: (K,) the labels of the boxes, for a batch of one image; or a list of such, one
            for each image.
        boxes: (K, 4), or a list of such.
        iou_threshold: From which overlap on a detection matches.
        of: What counts of a match: its ``score``, its ``iou``, or ``both``.
        missing: If no box of an image has a match: ``error``, or ``zero`` for a score of 0, which
            methods need that run the model again with parts of the image covered.

    Raises:
        ValueError: `of` or `missing` is none of these.
        TargetError: When called: the output is no such list, `labels` and `boxes` do not fit it or
            each other, or no box of an image has a match.
    """

    labels: Any
    boxes: Any
    iou_threshold: float = 0.5
    of: str = "both"
    missing: str = "error"

    def __post_init__(self) -> None:
        if self.of not in OF:
            raise ValueError(f"of= is one of {', '.join(OF)}, but got {self.of!r}.")
        if self.missing not in MISSING:
            raise ValueError(f"missing= is one of {', '.join(MISSING)}, but got {self.missing!r}.")

    @property
    def label(self) -> str:
        """What it is, in a few words."""
        return "detection of boxes"

    def __call__(self, output: Any) -> Tensor:
        """Return the scores (N,)."""
        found = _detections(output)
        labels, boxes = self._wanted(len(found))
        return torch.stack(
            [
                self._image(number, *one)
                for number, one in enumerate(zip(found, labels, boxes, strict=True))
            ]
        )

    def _wanted(self, images: int) -> tuple[list[Tensor], list[Tensor]]:
        """Return labels (K,) and boxes (K, 4) of each image."""
        boxes = self.boxes
        if isinstance(boxes, Sequence) and len(boxes) and torch.as_tensor(boxes[0]).dim() == 2:
            labels, boxes = list(self.labels), list(boxes)
        else:
            labels, boxes = [self.labels], [boxes]
        if not images == len(boxes) == len(labels):
            raise TargetError(
                f"DetectionBoxes has boxes for {len(boxes)} and labels for {len(labels)} images, "
                f"but the batch has {images}. Give a list of each, one entry for each image."
            )
        pairs = [
            (torch.as_tensor(label).reshape(-1), torch.as_tensor(box).reshape(-1, 4))
            for label, box in zip(labels, boxes, strict=True)
        ]
        for label, box in pairs:
            if len(label) != len(box):
                raise TargetError(f"DetectionBoxes has {len(label)} labels for {len(box)} boxes.")
        return [label for label, _ in pairs], [box for _, box in pairs]

    def _image(
        self, number: int, found: Mapping[str, Tensor], labels: Tensor, boxes: Tensor
    ) -> Tensor:
        scores, there = found["scores"], found["boxes"]
        total, matches = 0 * scores.sum() + 0 * there.sum(), 0
        overlaps = overlap(boxes.to(there.device, there.dtype), there)
        same = labels.to(there.device).unsqueeze(1) == found["labels"]
        for row in overlaps.where(same, -1.0) if len(scores) else ():
            best = int(row.argmax())
            if row[best] >= self.iou_threshold:
                matches += 1
                total = total + (scores[best] if self.of != "iou" else 0)
                total = total + (row[best] if self.of != "score" else 0)
        if not matches and self.missing == "error":
            raise TargetError(self._nothing(number, found, labels, overlaps, same))
        return total

    def _nothing(
        self,
        number: int,
        found: Mapping[str, Tensor],
        labels: Tensor,
        overlaps: Tensor,
        same: Tensor,
    ) -> str:
        nearest = float(overlaps[same].detach().max()) if bool(same.any()) else 0.0
        return (
            f"None of the {len(found['scores'])} detections in image {number} matches a wanted box "
            f"with label {', '.join(map(str, labels.tolist()))}: the highest IoU is {nearest:.2f}, "
            f'the threshold {self.iou_threshold:.2f}. Lower iou_threshold=, or give missing="zero" '
            f"for a score of 0."
        )


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU of boxes (K, 4) with boxes (M, 4): (K, M), differentiable; 0 for no area."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    common = (high - low).clamp_min(0).prod(2)
    union = _area(first)[:, None] + _area(second)[None, :] - common
    return common / union.clamp_min(torch.finfo(union.dtype).tiny)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(1)


def _detections(output: Any) -> Sequence[Mapping[str, Tensor]]:
    fits = isinstance(output, (list, tuple)) and all(
        isinstance(one, Mapping) and {"boxes", "labels", "scores"} <= set(one) for one in output
    )
    if not fits:
        raise TargetError(
            f"DetectionBoxes needs a list with a dict of boxes, labels and scores for each image, "
            f"but the model returned a {type(output).__name__}. Is it in eval mode?"
        )
    found: Sequence[Mapping[str, Tensor]] = output
    return found
