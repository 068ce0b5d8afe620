"""Picking numbers out of logits (N, classes): one for each image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hooktrace.cam.outputs import logits_of, tensor_of
from hooktrace.errors import TargetError

__all__ = ["Index", "checked", "chosen", "flat", "named", "picked", "repeated", "single"]

Index = int | tuple[int, ...] | None
"""A class for all images, one for each, or None for the predicted one."""


def named(index: Index) -> str:
    """Return what it is, in a few words."""
    if index is None:
        return "the predicted class"
    return f"class {index}" if isinstance(index, int) else f"classes {index}"


def flat(output: Any) -> Tensor:
    """Return logits (N, classes)."""
    logits = logits_of(output)
    if logits.dim() != 2:
        raise TargetError(
            f"A class as target needs an output of shape (N, classes), but the model returned "
            f"{tuple(logits.shape)}. Give a callable, such as one of hooktrace.cam.targets."
        )
    return logits


def single(output: Any) -> Tensor:
    """Return (N,), of an output with one number for each image."""
    found = tensor_of(output, 1)
    if math.prod(found.shape[1:]) != 1:
        raise TargetError(
            f"The model returned {tuple(found.shape)}, not one number for each image. Name one of "
            f"them with ClassScore(index) or RawScore(index)."
        )
    return found.flatten()


def repeated(index: int | tuple[int, ...], images: int) -> list[int]:
    """Return one for each image."""
    wanted = [index] * images if isinstance(index, int) else list(index)
    if len(wanted) != images:
        raise TargetError(
            f"target= has {len(wanted)} classes for a batch of {images} images. Give one for "
            f"each, or one int for all; several maps for each image come from classes=[...]."
        )
    return wanted


def chosen(index: Index, logits: Tensor) -> list[int]:
    """Return the class of each image, counted from the front."""
    if index is None:
        return [int(one) for one in logits.argmax(1)]
    return [checked(one, logits.shape[1]) for one in repeated(index, len(logits))]


def checked(index: int, count: int) -> int:
    """Return a class, counted from the front."""
    if not -count <= index < count:
        raise TargetError(f"There is no class {index}: the model returned {count} scores.")
    return index % count


def picked(scores: Tensor, classes: Sequence[int]) -> Tensor:
    """Return (N,), of each image the score of its class."""
    index = torch.tensor(classes, device=scores.device, dtype=torch.long)
    return scores.gather(1, index.unsqueeze(1))[:, 0]
