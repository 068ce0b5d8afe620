"""LeGrad."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hooktrace.cam.attention import Attention, attentions
from hooktrace.cam.backwards import run_back
from hooktrace.cam.evidence import Evidence
from hooktrace.cam.method import Method, method
from hooktrace.cam.question import Question, differentiable
from hooktrace.cam.replica import Replica
from hooktrace.errors import MethodError

__all__ = ["LeGrad"]


@method
@dataclass(frozen=True)
class LeGrad(Method):
    """Where a vision transformer's score grows with attention; it needs no layer.

    With A_l: (N, heads, queries, keys) the attention of layer l and Z_l the tokens that its block
    returns: ``map = (1/L) sum_l mean_(heads, queries) relu(ds_l / dA_l)``, of the keys that have a
    place in space, where the score s_l is that of the classifier for the mean of the tokens Z_l.

    The attention itself is not needed, so that it does not matter how it was computed: as each head
    returns A V, the gradient for A is ``(g W) V^T`` with the gradient g for what the attention
    returned, the weights W that mix the heads, and the values V, made of the recorded input.

    With ``score="model"`` s_l is the score of the model for every layer.

    Needs ``keep=True``, a graph, and ``model=`` and ``inputs=``, as weights are not in the trace;
    ``ht.explain(model, images, method="legrad")`` does all that.  It takes `MultiheadAttention`.

    Source: Bousselham et al. 2024, arXiv 2404.03214, as the authors' code gives it for CLIP, there
    without the factor 1/L and followed by min-max scaling.

    Attributes:
        score: ``layer`` or ``model``: of which score the gradients are.
        classifier: From the mean of the tokens (N, C) to what the model returns; None for the final
            norm and the head of torchvision's `VisionTransformer`.
        last: How many layers, counted from the end; None for all.

    Raises:
        MethodError: The model runs no `MultiheadAttention` of tokens on themselves, or dropped
            some of it; or there is no classifier for the tokens of a layer.
        NotKeptError: What an attention or its block returned, or what it was given, was not kept.
        MapShapeError: The tokens are no grid of the proportions of the image.
        MissingModelError: ``model=`` and ``inputs=`` were not given.
    """

    score: Literal["layer", "model"] = "layer"
    classifier: Callable[[Tensor], Any] | None = None
    last: int | None = None

    name = "legrad"
    title = "LeGrad"
    scope = "model"
    reruns = True
    relu = False

    def __post_init__(self) -> None:
        if self.score not in ("layer", "model"):
            raise ValueError(f"score= is layer or model, but got {self.score!r}.")
        if self.last is not None and self.last < 1:
            raise ValueError(f"last= is at least 1, but got {self.last}.")

    def map(self, evidence: Evidence) -> Tensor:
        question = evidence.asked("starts from the score")
        given = evidence.rerun(self.name)
        layers = self._layers(evidence)
        if self.score == "model":
            places = [one.place for one in layers]
            arrived = question.gradients(places)
            gradients = [arrived[place] for place in places]
        else:
            classifier = self.classifier or _classifier(Replica(given).model)
            gradients = [_own(one, question, classifier) for one in layers]
        maps = [
            one.on_grid(one.gradient(arrived).clamp_min(0).mean((1, 2)))
            for one, arrived in zip(layers, gradients, strict=True)
        ]
        return torch.stack(maps).mean(0)

    def details(self, evidence: Evidence) -> Mapping[str, Any]:
        """Return ``layers``: the calls of the attentions, in order."""
        return {"layers": tuple(str(one.call) for one in self._layers(evidence))}

    def _layers(self, evidence: Evidence) -> list[Attention]:
        found: list[Attention] = evidence.once("attentions", lambda: attentions(evidence))
        return found if self.last is None else found[-self.last :]


def _own(layer: Attention, question: Question, classifier: Callable[[Tensor], Any]) -> Tensor:
    """Return the gradient of the score of a layer's own tokens for what the attention returned."""
    tokens, block_edge = layer.block()
    with differentiable():
        leaf = tokens.detach().clone().requires_grad_()
        output = classifier(layer.batch_first(leaf).mean(1))
        scores = question.scores_of(output, torch.arange(len(question.scores)))
        if not scores.requires_grad:
            raise MethodError(f"The score of the tokens of {layer.call} has no gradient for them.")
        (seed,) = torch.autograd.grad(scores.sum(), leaf)
    (arrived,) = run_back([block_edge], [seed], [layer.edge], str(layer.call.root))
    return torch.zeros_like(tokens) if arrived is None else arrived


def _classifier(model: Any) -> Callable[[Tensor], Any]:
    """Return what follows the pooled tokens in torchvision's `VisionTransformer`."""
    norm = getattr(getattr(model, "encoder", None), "ln", None)
    heads = getattr(model, "heads", None)
    if norm is None or heads is None:
        raise MethodError(
            f"LeGrad takes the score of the tokens of every layer, and does not know which part of "
            f"{type(model).__name__} is the classifier. Give classifier=, from the mean of the "
            f'tokens (N, C) to what the model returns, or score="model".'
        )
    return lambda pooled: heads(norm(pooled))
