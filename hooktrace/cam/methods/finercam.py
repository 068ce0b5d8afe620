"""Finer-CAM."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hooktrace.cam.evidence import Evidence, wide
from hooktrace.cam.method import METHODS, Method, method
from hooktrace.cam.picking import checked, flat, picked
from hooktrace.cam.question import Question
from hooktrace.errors import MethodError

__all__ = ["FinerCam"]


@dataclass(frozen=True)
class _Contrast:
    """The logit of a class of each image less those of others, (N,)."""

    own: tuple[int, ...]
    others: tuple[tuple[int, ...], ...]
    gamma: float
    weights: str

    def __call__(self, output: Any) -> Tensor:
        logits = wide(flat(output))
        others = logits.gather(1, torch.tensor(self.others, device=logits.device))
        if self.weights == "mean":
            compared = others.mean(1)
        else:
            compared = (others.softmax(1) * others).sum(1)
        return picked(logits, self.own) - self.gamma * compared


@method
@dataclass(frozen=True)
class FinerCam(Method):
    """What tells a class from those that the model finds similar: a map of the difference.

    With logits z: (N, classes), the class c and T similar classes d_t: the map that another method,
    by default Grad-CAM, makes of the score ``y = z_c - gamma (1/T) sum_t z_(d_t)``.  Similar are
    the classes whose logits are closest to z_c.  Grad-CAM's map of y is the same combination of
    its maps of the single classes; one backward run gives it.

    With ``weights="softmax"``: ``y = z_c - gamma sum_t p_t z_(d_t)``, with p the softmax over the
    similar classes alone, through which the gradient goes as well.

    Source: Zhang et al. 2025, arXiv 2501.11309, of which a summary was read: the score with one
    similar class.  The mean over several, and 0.6 for gamma, are as the torchcam library gives
    them; ``weights="softmax", gamma=1`` is the form of the grad-cam library and the authors' code.

    Attributes:
        of: The method that makes the map: its name, or the method with its options.
        gamma: How much of the similar classes is taken away; with 0 it is the map of the class.
        references: How many similar classes; fewer if there are fewer.
        against: The classes to compare with, for all images, instead of similar ones.
        weights: ``mean`` or ``softmax``.

    Raises:
        MethodError: The target is not the logit of a class, or there is no other class.
        TargetError: There is no class of `against`.
    """

    of: str | Method = "gradcam"
    gamma: float = 0.6
    references: int = 3
    against: tuple[int, ...] | None = None
    weights: Literal["mean", "softmax"] = "mean"

    name = "finercam"
    title = "Finer-CAM"

    def __post_init__(self) -> None:
        if self.weights not in ("mean", "softmax"):
            raise ValueError(f"weights= is mean or softmax, but got {self.weights!r}.")
        if self.references < 1:
            raise ValueError(f"references= is at least 1, but got {self.references}.")
        if self.against is not None and not self.against:
            raise ValueError("against= takes at least one class.")
        if not math.isfinite(self.gamma):
            raise ValueError(f"gamma= is a finite number, but got {self.gamma}.")

    def map(self, evidence: Evidence) -> Tensor:
        base = METHODS[self.of]() if isinstance(self.of, str) else self.of
        if base.scope != "layer" or base.reruns or not base.gradients:
            raise ValueError(
                f"of= names a method that makes a map of one layer from gradients, not {base.name}."
            )
        contrast = self._contrast(evidence)
        question = evidence.asked("compares classes")
        compared = question.asking(contrast, f"{question.label}, compared with similar ones")
        return base.map(
            Evidence(evidence.calls, evidence.layer, evidence.layers, compared, seed=evidence.seed)
        )

    def details(self, evidence: Evidence) -> Mapping[str, Any]:
        """Return ``against``: of each image, the classes that its own was compared with."""
        return {"against": self._contrast(evidence).others}

    def _contrast(self, evidence: Evidence) -> _Contrast:
        question = evidence.asked("compares classes")
        logits = _logits(question)
        own = question.classes or ()
        if self.against is None:
            others = _similar(logits, own, self.references)
        else:
            others = tuple(self._given(one, logits.shape[1]) for one in own)
        return _Contrast(own, others, float(self.gamma), self.weights)

    def _given(self, own: int, count: int) -> tuple[int, ...]:
        """Return the classes of `against`, counted from the front."""
        found = tuple(checked(one, count) for one in self.against or ())
        if own in found:
            raise MethodError(f"against= holds class {own}, which is the class that is explained.")
        return found


def _logits(question: Question) -> Tensor:
    """Return the logits (N, classes), if the question is for one of them."""
    if question.classes is not None:
        logits = flat(question.result)
        if logits.shape[1] > 1:
            own = picked(logits, question.classes)
            if torch.allclose(own, question.scores, rtol=0, atol=0, equal_nan=True):
                return logits
    raise MethodError(
        f"Finer-CAM compares the logit of a class with those of others, but {question.label} is "
        f"no such logit. Give a class as target= for a model that returns (N, classes)."
    )


def _similar(logits: Tensor, own: Sequence[int], count: int) -> tuple[tuple[int, ...], ...]:
    """Return of each image the classes whose logits are closest to that of its own, in order."""
    mine = torch.tensor(own, device=logits.device).unsqueeze(1)
    distances = (logits - logits.gather(1, mine)).abs().scatter(1, mine, torch.inf)
    order = distances.sort(dim=1, stable=True).indices[:, : min(count, logits.shape[1] - 1)]
    return tuple(map(tuple, order.tolist()))
