"""Targets: from what the model returned to one score for each image.

Any callable of the model's output is a target; those here are the usual ones, and say what they
are in the titles of pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import index as whole
from typing import Any

import torch
from torch import Tensor

from hooktrace.cam.boxes import DetectionBoxes
from hooktrace.cam.outputs import batch_of, items_of, logits_of
from hooktrace.cam.scores import (
    BinaryScore,
    ClassScore,
    RawScore,
    SegmentationMask,
    SeveralClasses,
    Similarity,
    SoftmaxScore,
)
from hooktrace.errors import TargetError

__all__ = [
    "BinaryScore",
    "ClassScore",
    "DetectionBoxes",
    "PerImage",
    "RawScore",
    "SegmentationMask",
    "SeveralClasses",
    "Similarity",
    "SoftmaxScore",
    "Target",
    "as_target",
    "logits_of",
]


Target = Callable[[Any], Tensor]
"""From the model's output to scores: (N,), or a single number for all."""


@dataclass(frozen=True)
class PerImage:
    """A target of its own for each image, given that image's output without the batch axis.

    Args:
        targets: Callables, one for each image; each returns a single number.

    Raises:
        TargetError: When called: there are more or fewer than images, or one returned no
            single number.
    """

    targets: tuple[Target, ...]

    @property
    def label(self) -> str:
        """What it is, in a few words."""
        names = [_name(one) for one in self.targets]
        return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")

    def __call__(self, output: Any) -> Tensor:
        """Return the scores (N,)."""
        count = batch_of(output)
        if count != len(self.targets):
            raise TargetError(
                f"target= has {len(self.targets)} callables for a batch of {count} images. Give "
                f"one for each, or one for all."
            )
        return torch.stack(
            [
                _single(target, item)
                for target, item in zip(self.targets, items_of(output), strict=True)
            ]
        )


def _name(target: Any) -> str:
    label = getattr(target, "label", None) or getattr(target, "__name__", None)
    return str(label or type(target).__name__)


def _single(target: Target, item: Any) -> Tensor:
    found = target(item)
    if not isinstance(found, Tensor) or found.numel() != 1:
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise TargetError(
            f"A target of one image returns a tensor with a single number, but {_name(target)} "
            f"returned {what}. It is given the output of that image, without the batch axis."
        )
    return found.reshape(())


def as_target(wanted: Any) -> Target:
    """Turn what a user gives as target into a callable.

    Args:
        wanted: A class, as an int of Python, NumPy or torch; a list, tuple, array or tensor of
            one for each image; a callable of the model's output; a list of callables, one for
            each image, each of that image's output; or None for the predicted class.

    Raises:
        TypeError: It is none of these.
    """
    if wanted is None:
        return ClassScore()
    if callable(wanted):
        return wanted  # type: ignore[no-any-return]
    if isinstance(wanted, Tensor) or hasattr(wanted, "__array__"):
        wanted = wanted.tolist()
    single = _class(wanted)
    if single is not None:
        return ClassScore(single)
    if isinstance(wanted, Sequence) and not isinstance(wanted, (str, bytes)) and wanted:
        if all(callable(one) for one in wanted):
            return PerImage(tuple(wanted))
        several = [_class(one) for one in wanted]
        found = tuple(one for one in several if one is not None)
        if len(found) == len(several):
            return ClassScore(found)
    raise TypeError(
        f"target= takes a class, a list with one for each image, a callable on the model's output, "
        f"a list of callables, one for each image, "
        f'"backward", or None for the predicted class, but got {wanted!r}.'
    )


def _class(wanted: Any) -> int | None:
    """Return an int of Python, NumPy or torch as a plain one; None for anything else."""
    if isinstance(wanted, Tensor):
        wanted = wanted.tolist()
    if isinstance(wanted, (bool, float, str)) or type(wanted).__name__ in ("bool_", "bool"):
        return None
    try:
        return whole(wanted)
    except TypeError:
        return None
