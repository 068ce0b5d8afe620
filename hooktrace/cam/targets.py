"""Targets: from what the model returned to one score for each image.

Any callable of the model's output is a target; those here are the usual ones, and say what they
are in the titles of pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from hooktrace.errors import TargetError

__all__ = ["ClassScore", "Target", "as_target", "logits_of"]


Target = Callable[[Any], Tensor]
"""From the model's output to scores: (N,), or a single number for all."""


def logits_of(output: Any) -> Tensor:
    """Return the tensor of class scores out of what a model returned.

    Of a dict or a dataclass the entry ``logits`` or ``out``, else the first tensor of at least
    two dimensions; of a tuple or list the first one.

    Raises:
        TargetError: There is no such tensor.
    """
    found = _first(output)
    if found is None:
        raise TargetError(
            f"The model returned a {type(output).__name__} without a tensor (N, classes). Give a "
            f"callable as target=, from what the model returned to one score for each image."
        )
    return found


def _first(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output if output.dim() >= 2 and output.is_floating_point() else None
    if isinstance(output, Mapping):
        items = dict(output)
    elif is_dataclass(output) and not isinstance(output, type):
        items = {field.name: getattr(output, field.name) for field in fields(output)}
    elif isinstance(output, Sequence) and not isinstance(output, str):
        items = dict(enumerate(output))
        items.update(getattr(output, "_asdict", dict)())
    else:
        return None
    named = (items[name] for name in ("logits", "out") if name in items)
    return next((one for item in (*named, *items.values()) if (one := _first(item)) is not None), None)


@dataclass(frozen=True)
class ClassScore:
    """The score of a class before softmax.

    Args:
        index: The class for all images, one class for each image, or None for the class that
            the model gives the highest score.

    Raises:
        TargetError: When called: the classes do not fit the output (N, classes), or it has
            another shape.
    """

    index: int | tuple[int, ...] | None = None

    @property
    def label(self) -> str:
        """What it is, in a few words."""
        if self.index is None:
            return "the predicted class"
        return f"class {self.index}" if isinstance(self.index, int) else f"classes {self.index}"

    def classes(self, output: Any) -> list[int]:
        """Return the class of each image."""
        logits = logits_of(output)
        if logits.dim() != 2:
            raise TargetError(
                f"A class as target needs an output of shape (N, classes), but the model returned "
                f"{tuple(logits.shape)}. Give a callable, such as one of hooktrace.cam.targets."
            )
        images, count = logits.shape
        if self.index is None:
            return [int(one) for one in logits.argmax(1)]
        wanted = [self.index] * images if isinstance(self.index, int) else list(self.index)
        if len(wanted) != images:
            raise TargetError(
                f"target= has {len(wanted)} classes for a batch of {images} images. Give one for "
                f"each, or one int for all; several maps for each image come from classes=[...]."
            )
        for one in wanted:
            if not -count <= one < count:
                raise TargetError(f"There is no class {one}: the model returned {count} scores.")
        return [one % count for one in wanted]

    def __call__(self, output: Any) -> Tensor:
        """Return the scores (N,)."""
        logits, wanted = logits_of(output), self.classes(output)
        return logits[torch.arange(len(wanted)), torch.tensor(wanted)]


def as_target(wanted: Any) -> Target:
    """Turn what a user gives as target into a callable.

    Args:
        wanted: An int, a list with one int or one callable for each image, a tensor of ints, a
            callable, or None for the predicted class.

    Raises:
        TypeError: It is none of these.
    """
    if isinstance(wanted, Tensor):
        wanted = wanted.tolist()
    if wanted is None or (isinstance(wanted, int) and not isinstance(wanted, bool)):
        return ClassScore(wanted)
    if callable(wanted):
        return wanted  # type: ignore[no-any-return]
    if isinstance(wanted, Sequence) and not isinstance(wanted, str) and wanted:
        if all(isinstance(one, int) and not isinstance(one, bool) for one in wanted):
            return ClassScore(tuple(wanted))
    raise TypeError(
        f"target= takes a class, a list with one for each image, a callable on the model's output, "
        f'"backward", or None for the predicted class, but got {wanted!r}.'
    )
