"""Runs of the model on images other than the recorded ones, and what a method may see of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from hooktrace.cam.backwards import run_back
from hooktrace.cam.evidence import Evidence, Layer, Rerun, Scorer, wide
from hooktrace.cam.question import Question, differentiable
from hooktrace.cam.replica import Replica, by_role, call_number
from hooktrace.errors import MethodError, NoGraphError, TargetError

__all__ = ["Fresh", "FreshEvidence", "FreshRuns"]


class Fresh(NamedTuple):
    """One run on M images.

    Attributes:
        value: What the layer returned, as it returned it.
        edge: The gradient edge of that.
        scores: (M,), with a graph from the layer on.
    """

    value: Tensor
    edge: GradientEdge
    scores: Tensor


class FreshRuns:
    """A replica that is run on images of the caller's, for what a layer returns and its gradients.

    A graph begins where the layer returns, and nowhere before: so frozen models do as well.

    Args:
        evidence: The layer, the score and the model.
        method: Who asks, for errors.

    Attributes:
        images: (N, colours, *sizes) the batch that was recorded.
    """

    def __init__(self, evidence: Evidence, method: str) -> None:
        self.replica = Replica(evidence.rerun(method))
        self.score = evidence.scorer("runs the model on other images")
        self._layer = evidence.layer
        self._index = call_number(evidence)
        self._count = len(evidence.activations)
        self._calls = 0
        self._begun: tuple[Tensor, GradientEdge] | None = None
        self.images = self.replica.images(self._count, self._layer.image)
        self._spy_on(self.replica.model.get_submodule(self._layer.call.module.name))

    def run(self, images: Tensor, rows: Tensor) -> Fresh:
        """Run the model.

        Args:
            images: (M, colours, *sizes).
            rows: (M,) which of the recorded images each of them is made of.

        Raises:
            TargetError: The model does not call the layer with these.
        """
        self._calls, self._begun = 0, None
        with differentiable():
            with torch.no_grad():  # until the layer returns
                output = self.replica.run_rows(rows, self._count, images)
            if self._begun is None:
                raise TargetError(f"The model, run again, does not call {self._layer.call}.")
            return Fresh(*self._begun, self.score(output, rows))

    def gradients(self, fresh: Fresh) -> Tensor:
        """Return the gradients of the scores for what the layer returned, laid out as that is.

        Raises:
            NoGraphError: The score does not depend on it.
        """
        found = None
        with differentiable():
            if fresh.scores.requires_grad:
                head, seed = get_gradient_edge(fresh.scores), torch.ones_like(fresh.scores)
                (found,) = run_back([head], [seed], [fresh.edge], "a run of the model")
        if found is None:
            raise NoGraphError(f"The target does not depend on {self._layer.call}.")
        return found

    def _spy_on(self, place: nn.Module) -> None:
        original = place.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            number, self._calls = self._calls, self._calls + 1
            return self._beginning(result) if number == self._index else result

        place.forward = forward

    def _beginning(self, result: Any) -> Any:
        """Let a graph begin with the layer's result."""
        torch.set_grad_enabled(True)  # until the no_grad() around the run ends

        def begin(role: str, tensor: Tensor) -> Tensor:
            if role != self._layer.role:
                return tensor
            begun = tensor.detach().requires_grad_().clone()  # may be written to in place
            self._begun = begun.detach().clone(), get_gradient_edge(begun)
            return begun

        return by_role(result, begin)


class FreshEvidence(Evidence):
    """What a method may see of a layer and a score, of images other than the recorded ones.

    Methods that ask for more than values, gradients and scores raise a `MethodError`.

    Args:
        evidence: That of the recorded images.
        runs: Where they are run.
        images: As many as were recorded, (N, colours, *sizes).
        method: Who makes it, for errors.
    """

    def __init__(self, evidence: Evidence, runs: FreshRuns, images: Tensor, method: str) -> None:
        rows = torch.arange(len(images), device=images.device)
        self._runs, self._fresh, self._method = runs, runs.run(images, rows), method
        sizes = tuple(images.shape[2:])
        layer = replace(evidence.layer, value=self._fresh.value, image=sizes)
        rerun = Rerun(evidence.rerun(method).model, *runs.replica.arguments(images))
        super().__init__(evidence.calls, layer, [layer], None, rerun, evidence.seed)

    def gradients_of(self, layer: Layer) -> Tensor:
        """Return (N, C, *S), the gradients with respect to the layer."""
        return wide(layer.layout.arrange(self._runs.gradients(self._fresh))).contiguous()

    @property
    def scores(self) -> Tensor:
        """(N,) the scores."""
        return self._fresh.scores.detach()

    def scorer(self, why: str) -> Scorer:
        """Return the score of what the model returns for some of the images."""
        return self._runs.score

    def asked(self, why: str) -> Question:
        """Raise, as there is no trace of these images.

        Raises:
            MethodError: Always.
        """
        raise MethodError(
            f"{self._method} runs the model on images that were not traced, where a method has "
            f"values, gradients and scores of one layer, but this one {why}. Choose another."
        )
