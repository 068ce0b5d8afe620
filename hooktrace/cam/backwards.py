"""Backward runs between gradient edges, which fill no ``.grad`` and leave the graph as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hooktrace.errors import GraphFreedError, NoGraphError
from hooktrace.log import EventLog

__all__ = ["check_graph", "run_back"]

_WAYS_OUT = (
    "Ask for the map before backward(), call backward(retain_graph=True), use "
    'target="backward" for the gradients that backward brought, or ht.explain(model, images), '
    "which runs the model itself."
)


def check_graph(log: EventLog) -> None:
    """Check that a log can have an autograd graph.

    Raises:
        NoGraphError: It was read from a file.
    """
    if log.origin is not None:
        raise NoGraphError(
            f"{log.origin.path} holds no autograd graph, so no gradient can be taken through it. "
            f'Use target="backward" for the gradients that a backward inside the block brought, or '
            f"methods that need none, such as eigencam."
        )


def run_back(
    heads: Sequence[Any],
    seeds: Sequence[Tensor],
    edges: Sequence[Any],
    label: str,
    *,
    create_graph: bool = False,
) -> tuple[Tensor | None, ...]:
    """Return what arrives at some edges if gradients start at others.

    Args:
        heads: Gradient edges where it starts.
        seeds: The gradient for each.
        edges: Where it is to arrive.
        label: What the graph is of, in a few words.
        create_graph: Whether the gradients are to be differentiated again.

    Returns:
        For each of `edges` the gradient; None where no way leads from the heads.

    Raises:
        GraphFreedError: A backward has freed the graph.
    """
    try:
        return torch.autograd.grad(
            heads, edges, seeds, retain_graph=True, create_graph=create_graph, allow_unused=True
        )
    except RuntimeError as error:
        if "backward through the graph a second time" not in str(error):
            raise
        raise GraphFreedError(
            f"A backward has freed the graph of {label}, so no gradient can be taken "
            f"through it. {_WAYS_OUT}"
        ) from None
