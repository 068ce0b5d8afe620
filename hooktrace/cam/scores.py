"""Targets of classifiers, segmentation, embeddings and regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hooktrace.cam.outputs import logits_of, tensor_of
from hooktrace.cam.picking import Index, checked, chosen, flat, named, picked, repeated, single
from hooktrace.errors import TargetError

__all__ = [
    "BinaryScore",
    "ClassScore",
    "RawScore",
    "SegmentationMask",
    "SeveralClasses",
    "Similarity",
    "SoftmaxScore",
]


@dataclass(frozen=True)
class ClassScore:
    """The score of a class before softmax: ``y_n = z_nc`` of logits z: (N, classes).

    Args:
        index: The class for all images, one class for each image, or None for the class that
            the model gives the highest score.

    Raises:
        TargetError: When called: the classes do not fit the output (N, classes), or it has
            another shape.
    """

    index: Index = None

    @property
    def label(self) -> str:
        """What it is, in a few words."""
        return named(self.index)

    def classes(self, output: Any) -> list[int]:
        """Return the class of each image."""
        return chosen(self.index, flat(output))

    def __call__(self, output: Any) -> Tensor:
        """Return the scores (N,)."""
        return picked(flat(output), self.classes(output))


@dataclass(frozen=True)
class SoftmaxScore:
    """The probability of a class after softmax: ``y_n = exp(z_nc) / sum_j exp(z_nj)``.

    Its gradient falls where the class loses to others, too, and vanishes where the model is sure.

    Args:
        index: As of `ClassScore`.

    Raises:
        TargetError: When called: as of `ClassScore`.
    """

    index: Index = None

    @property
    def label(self) -> str:
        """What it is, in a few words."""
        return f"probability of {named(self.index)}"

    def classes(self, output: Any) -> list[int]:
        """Return the class of each image."""
        return chosen(self.index, flat(output))

    def __call__(self, output: Any) -> Tensor:
        """Return the scores (N,), in [0, 1]."""
        return picked(flat(output).softmax(1), self.classes(output))


@dataclass(frozen=True)
class BinaryScore:
    """The score of one of two classes of a model with one logit z: ``y_n = z_n`` or ``-z_n``.

    Args:
        category: 1 for the class that a positive logit stands for, 0 for the other; one for all
            images, one for each, or None for the class that the model decides for.

    Raises:
        TargetError: When called: the output is not (N,) or (N, 1), or a category is neither 0
            nor 1, or there are more or fewer than images.
    """

    category: Index = 1

    @property
    def label(self) -> str:
        """What it is, in a few words."""
        return named(self.category)

    def classes(self, output: Any) -> list[int]:
        """Return the class of each image, 0 or 1."""
        logits = single(output)
        if self.category is None:
            return [int(one) for one in logits > 0]
        wanted = repeated(self.category, len(logits))
        if any(one not in (0, 1) for one in wanted):
            raise TargetError(f"A category of BinaryScore is 0 or 1, but got {self.category}.")
        return wanted

    def __call__(self, output: Any) -> Tensor:
        """Return the scores (N,)."""
        logits = single(output)
        return logits * logits.new_tensor([2 * one - 1 for one in self.classes(output)])


@dataclass(frozen=True)
class SeveralClasses:
    """The sum of the scores of several classes before softmax: ``y_n = sum_c z_nc``.

    Args:
        indices: The classes, the same for all images; a class counts as often as it is named.

    Raises:
        TargetError: When called: there is no class of an index, no index was given, or the output
            is not (N, classes).
    """

    indices: Sequence[int]

    @property
    def label(self) -> str:
        """What it is, in a few words."""
        return f"classes {' + '.join(map(str, self.indices))}"

    def __call__(self, output: Any) -> Tensor:
        """Return the scores (N,)."""
        logits = flat(output)
        if not len(self.indices):
            raise TargetError("SeveralClasses takes at least one class.")
        wanted = [checked(int(one), logits.shape[1]) for one in self.indices]
        return logits[:, torch.tensor(wanted, device=logits.device)].sum(1)


@dataclass(frozen=True, eq=False)
class SegmentationMask:
    """The sum of the scores of a class over a part of the image: ``y_n = sum_p m_np z_ncp``.

    Args:
        category: The class.
        mask: (*S) for all images or (N, *S), tensor or array: booleans, or weights of positions,
            at the size of the model's output z: (N, classes, *S).

    Raises:
        TargetError: When called: the output or the mask has another shape, there is no such class,
            or the mask is 0 everywhere.

    Source: Vinogradova et al. 2020, Seg-Grad-CAM, arXiv 2002.11434.
    """

    category: int
    mask: Any

    @property
    def label(self) -> str:
        """What it is, in a few words."""
        return f"class {self.category} in a mask"

    def __call__(self, output: Any) -> Tensor:
        """Return the scores (N,)."""
        logits = tensor_of(output, 3)
        mask = torch.as_tensor(self.mask).to(logits.device, logits.dtype)
        sizes = (len(logits), *logits.shape[2:])
        if tuple(mask.shape) not in (sizes, sizes[1:]):
            raise TargetError(
                f"A mask for an output of {tuple(logits.shape)} has the shape {sizes[1:]} or "
                f"{sizes}, but got {tuple(mask.shape)}. Resize it to the model's output."
            )
        if not mask.any():
            raise TargetError("The mask is 0 everywhere, so that no score is left.")
        return (logits[:, checked(self.category, logits.shape[1])] * mask).flatten(1).sum(1)


@dataclass(frozen=True, eq=False)
class Similarity:
    """The cosine of the angle between the output and a given embedding, in [-1, 1].

    ``y_n = <z_n, f> / (|z_n| |f|)`` with embeddings z: (N, D).

    Args:
        features: (D,) for all images or (N, D), tensor or array.

    Raises:
        TargetError: When called: the output is not (N, D), or `features` has another shape.
    """

    features: Any

    @property
    def label(self) -> str:
        """What it is, in a few words."""
        return "similarity to an embedding"

    def __call__(self, output: Any) -> Tensor:
        """Return the scores (N,)."""
        found = logits_of(output)
        wanted = torch.as_tensor(self.features).to(found.device, found.dtype)
        found = found.flatten(1)
        count, size = found.shape
        if tuple(wanted.shape) not in ((size,), (1, size), (count, size)):
            raise TargetError(
                f"features= has the shape {tuple(wanted.shape)}, but the model returned embeddings "
                f"of shape {(count, size)}. Give {(size,)}, or one for each image."
            )
        return functional.cosine_similarity(found, wanted.expand(count, size), dim=1)


@dataclass(frozen=True)
class RawScore:
    """A number that the model returns, as it is: for regression.

    Args:
        index: Which of the numbers of an image: an int, or a tuple of ints for outputs of more
            axes, (N, A, B); None where there is one only.

    Raises:
        TargetError: When called: there is no such number, or several without `index`.
    """

    index: Index = None

    @property
    def label(self) -> str:
        """What it is, in a few words."""
        return "output" if self.index is None else f"output {self.index}"

    def __call__(self, output: Any) -> Tensor:
        """Return the scores (N,)."""
        found = tensor_of(output, 1)
        if self.index is None:
            return single(output)
        places = (self.index,) if isinstance(self.index, int) else self.index
        found = found.unsqueeze(1) if found.dim() == 1 else found
        if len(places) != found.dim() - 1:
            raise TargetError(f"RawScore({self.index}) names no number of {tuple(found.shape)}.")
        for place, size in zip(places, found.shape[1:], strict=True):
            if not -size <= place < size:
                raise TargetError(
                    f"There is no output {self.index}: the model returned {tuple(found.shape)}."
                )
        for place in places:
            found = found[:, place]
        return found
