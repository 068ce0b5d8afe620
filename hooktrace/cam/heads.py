"""The head of a classifier that pools a layer and weights its channels once.

A trace keeps no parameters, so the weights of the head come from one of two places.  The recorded
graph has them in the gradients: if nothing but average pooling and one linear layer lies between
a layer and a logit, the logit's gradient at each of T positions is ``W[c] / T``.  Or the model has
them, and what the trace kept says whether they are the ones: ``logits = W mean_p(A_p) + b``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hooktrace.cam.axes import descendants
from hooktrace.cam.evidence import Evidence, wide
from hooktrace.cam.outputs import logits_of
from hooktrace.cam.question import Question
from hooktrace.descriptions import build
from hooktrace.errors import MethodError

__all__ = ["weights_in_graph", "weights_in_model"]

_POOLING = re.compile(r"(Mean|(Mkldnn)?AdaptiveAvgPool[123]D|AvgPool[23]D)Backward\d+")
_LINEAR = re.compile(r"(Addmm|Mm|Linear|MkldnnLinear|Convolution)Backward\d+")
_PASSING = re.compile(
    r"((Unsafe)?View|ReshapeAlias|AsStrided|Squeeze|Unsqueeze|Permute|Transpose|T|Clone|Alias"
    r"|ToCopy|Select)Backward\d+|BackwardHookFunctionBackward"
)
_WANTED = "CAM needs average pooling over all positions and one linear layer after it, nothing else"
_ADVICE = "Choose the layer right before the pooling, or use Grad-CAM, which takes any model."
_ROUNDINGS = 16  # of logits that were summed in another order, in units of the last place


# ------------------------------------------------------------------ in the graph


def weights_in_graph(evidence: Evidence, question: Question) -> Tensor:
    """Return W[c] from the recorded graph: (N, C).

    Raises:
        NoGraphError: No graph leads from the score to the layer, or it was freed.
        MethodError: Anything but average pooling and one linear layer lies on the way.
    """
    gradients = evidence.gradients.flatten(2)
    _check_way(evidence, question)
    first = gradients[:, :, :1]
    if not torch.allclose(gradients, first.expand_as(gradients), rtol=0, atol=0, equal_nan=True):
        raise MethodError(
            f"{_WANTED}, but the positions of {evidence.layer.call} have different weights: the "
            f"pooling is not over all of them, or a linear layer takes them apart. {_ADVICE}"
        )
    return first[:, :, 0] * (gradients.shape[2] + evidence.layer.layout.tokens)


def _check_way(evidence: Evidence, question: Question) -> None:
    """Check that each way from the score to the layer is pooling and one linear layer."""
    layer = evidence.log.edges[evidence.layer.place].node
    between = _leading(question.heads(), layer)
    ways = [head.node for head in question.heads() if head.node in between]
    passed: list[str] = []
    while ways and ways[0] is not layer:
        passed.append(ways[0].name())
        ways = [node for node, _ in ways[0].next_functions if node in between]
        if len(ways) > 1:
            passed.append("several ways")
            break
    other = [name for name in passed if not any(one.fullmatch(name) for one in _KNOWN)]
    linear = sum(_LINEAR.fullmatch(name) is not None for name in passed)
    pooled = any(_POOLING.fullmatch(name) for name in passed)
    if other or linear != 1 or not pooled:
        there = ", ".join(name.partition("Backward")[0] for name in reversed(passed))
        raise MethodError(
            f"{_WANTED}, but between {evidence.layer.call} and the result of {evidence.root} the "
            f"graph has: {there or 'nothing'}. {_ADVICE}"
        )


_KNOWN = (_POOLING, _LINEAR, _PASSING)


def _leading(heads: Sequence[Any], target: Any) -> set[Any]:
    """Return the nodes from which a way leads to `target`, which is one of them."""
    before: dict[Any, list[Any]] = {}
    queue = [head.node for head in heads]
    seen = set(queue)
    for node in queue:
        if node is target:
            continue
        for following, _ in node.next_functions:
            if following is None:
                continue
            before.setdefault(following, []).append(node)
            if following not in seen:
                seen.add(following)
                queue.append(following)
    found, queue = {target}, [target]
    for node in queue:
        fresh = set(before.get(node, ())) - found
        found |= fresh
        queue.extend(fresh)
    return found


# ------------------------------------------------------------------ in the model


def weights_in_model(evidence: Evidence, question: Question, model: nn.Module) -> Tensor:
    """Return W[c] of the model's last linear layer, once the trace has shown it to be the head.

    Returns:
        (N, C), in the precision of the activations.

    Raises:
        MethodError: The target is no class, the model called no linear layer, or the recorded
            logits are not those of pooling and this layer.
    """
    if question.classes is None:
        raise MethodError(
            f"Without a graph CAM needs a class as target, but {question.label} is none."
        )
    name, head = _last_linear(evidence, model)
    pooled = evidence.activations.flatten(2).mean(2)
    weight = head.weight.detach().to(pooled)
    bias = torch.zeros_like(weight[:, 0]) if head.bias is None else head.bias.detach().to(pooled)
    logits = logits_of(_result(evidence))
    if weight.shape[1] != pooled.shape[1] or logits.shape != (len(pooled), len(weight)):
        raise MethodError(
            f"{_WANTED}, but the last one, {name}, takes {weight.shape[1]} features and returns "
            f"{len(weight)}, {evidence.layer.call} has {pooled.shape[1]} channels, and the result "
            f"has shape {tuple(logits.shape)}. {_ADVICE}"
        )
    coarse = max(torch.finfo(one.dtype).eps for one in (evidence.layer.value, logits))
    size = pooled.abs() @ weight.abs().T + bias.abs()
    off = (pooled @ weight.T + bias - wide(logits).to(pooled)).abs()
    if (off > _ROUNDINGS * coarse * size).any():
        raise MethodError(
            f"{_WANTED}, but the recorded logits are not those of the last linear layer, {name}, "
            f"after average pooling of {evidence.layer.call}: they are off by up to "
            f"{off.max().item():.3g}. There is more in between, or the weights have changed since. "
            f"{_ADVICE}"
        )
    return weight[list(question.classes)]


def _last_linear(evidence: Evidence, model: nn.Module) -> tuple[str, nn.Linear]:
    found = [one.name for one in descendants(evidence.root) if one.module.base == "Linear"]
    if not found:
        raise MethodError(f"{_WANTED}, but {evidence.root} called no module of type Linear.")
    known = dict(model.named_modules())
    head = known.get(found[-1])
    if not isinstance(head, nn.Linear):
        raise MethodError(
            f"The last linear layer of the trace, {found[-1]}, is not in model=. Give the model "
            f"that was traced."
        )
    return found[-1], head


def _result(evidence: Evidence) -> Any:
    """Return what the model returned."""
    log = evidence.log
    values = {one.role: one.value for one in evidence.root.seen_outputs if one.value is not None}
    kept = {role: log.snapshots[value] for role, value in values.items()}
    return build(log.results[evidence.root.id], kept)
