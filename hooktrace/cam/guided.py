"""Gradients for the image that only what is positive passes every ReLU on the way to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hooktrace.cam.evidence import Evidence, wide
from hooktrace.cam.question import differentiable
from hooktrace.cam.replica import Replica
from hooktrace.errors import NoGraphError

__all__ = ["guided_gradients"]

_KINDS = ("Relu", "Hardtanh", "LeakyRelu", "PreluKernel", "RreluWithNoise", "Threshold")


def guided_gradients(evidence: Evidence, method: str) -> Tensor:
    """Return the guided gradients of the scores for the images: (N, colours, *S).

    The hooks sit on the nodes of the graph of a run of a replica, and go with it.

    Raises:
        MissingModelError: No model was given.
        NoGradientError: There is no target.
        NoGraphError: The score does not depend on the images, or no ReLU lies between.
    """
    found: Tensor = evidence.shared("guided", lambda: _made(evidence, method))
    return found


def _made(evidence: Evidence, method: str) -> Tensor:
    rerun = evidence.rerun(method)
    question = evidence.asked("needs the score of a run of its own")
    replica = Replica(rerun)
    count = len(evidence.activations)
    rows = torch.arange(count, device=evidence.activations.device)
    with differentiable():
        leaf = replica.images(count, evidence.layer.image).clone().requires_grad_()
        total = question.scores_of(replica.run_rows(rows, count, leaf * 1), rows).sum()
        nodes = [one for one in _nodes(total) if one.name().startswith(_KINDS)]
        if not nodes:
            raise NoGraphError(f"{method} is made of ReLUs, but this model ran none.")
        for node in nodes:
            node.register_prehook(_positive)
        (found,) = torch.autograd.grad(total, [leaf], allow_unused=True)
    if found is None:
        raise NoGraphError(f"The target ({question.label}) does not depend on the images.")
    return wide(found)


def _positive(gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    return tuple(None if one is None else one.clamp_min(0) for one in gradients)


def _nodes(total: Tensor) -> Iterator[Any]:
    seen, waiting = set[Any](), [total.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        waiting.extend(following for following, _ in node.next_functions)
