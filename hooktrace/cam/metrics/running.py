"""Running a model on many changed images, without leaving a trace on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hooktrace.cam.evidence import wide
from hooktrace.cam.heatmaps import HeatMap, HeatMaps
from hooktrace.cam.picking import picked
from hooktrace.cam.targets import ClassScore, as_target, logits_of
from hooktrace.errors import TargetError
from hooktrace.progress import bars, steps

__all__ = ["chosen", "of_classes", "probabilities", "quiet", "rows", "tracked"]

Classes = int | Sequence[int] | Tensor | None
"""One class for all images, one for each, or None: the map's own, else the predicted class."""


@contextlib.contextmanager
def quiet(model: Callable[..., Any]) -> Iterator[None]:
    """Run a model in evaluation mode without a graph, and give every flag back."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    training = [one for one in modules if one.training]
    for one in training:
        one.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for one in training:
            one.training = True


def rows(model: Callable[..., Any], images: Tensor, batch_size: int) -> Tensor:
    """Return the logits (N, classes) of images (N, C, *S), at least float32."""
    if batch_size < 1:
        raise ValueError(f"batch_size= is at least 1, but got {batch_size}.")
    if not len(images):
        raise ValueError("There are no images.")
    with quiet(model):
        parts = [wide(logits_of(model(part))) for part in torch.split(images, batch_size)]
    found = torch.cat(parts)
    if found.dim() != 2 or len(found) != len(images):
        raise TargetError(
            f"A metric needs an output of shape (N, classes) with one row for each image, but of "
            f"{len(images)} images the model returned {tuple(found.shape)}."
        )
    return found


def chosen(model: Callable[..., Any], images: Tensor, maps: Any, classes: Classes) -> list[int]:
    """Return the class of each image.

    Raises:
        TargetError: There are not as many as images, or there is no such class.
    """
    if classes is None and isinstance(maps, (HeatMap, HeatMaps)):
        classes = (maps.single if isinstance(maps, HeatMaps) else maps).classes
    target = as_target(classes)
    if not isinstance(target, ClassScore):
        raise TypeError(f"classes= takes an int or one for each image, but got {classes!r}.")
    if isinstance(target.index, int) and target.index >= 0:
        return [target.index] * len(images)
    if isinstance(target.index, tuple) and len(target.index) == len(images):
        if min(target.index) >= 0:
            return list(target.index)
    return list(target.classes(rows(model, images, 32)))


def probabilities(
    model: Callable[..., Any], images: Tensor, classes: Sequence[int], batch_size: int
) -> Tensor:
    """Return the softmax probability of the class of each image: (N,).

    Args:
        images: (N, C, *S).
        classes: N of them.

    Raises:
        TargetError: There is no such class, or the output has another shape.
    """
    return of_classes(rows(model, images, batch_size).softmax(1), classes)


def of_classes(scores: Tensor, classes: Sequence[int]) -> Tensor:
    """Return (N,), of each image the score of its class out of (N, classes).

    Raises:
        TargetError: There is no such class.
    """
    return picked(scores, ClassScore(tuple(classes)).classes(scores))


def tracked(parts: Iterable[Any], total: int, label: str, progress: bool) -> Iterator[Any]:
    """Yield parts of some work, with a bar on standard error if `progress` asks for one."""
    if not progress:
        yield from parts
        return
    with bars(piped=True):
        yield from steps(parts, total, label)
