"""How a healthy program enters the zoo, and the loops that many of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import hooktrace as ht

Tracing = Callable[[Any], ht.Trace]
Run = Callable[[Tracing], ht.Trace]


@dataclass(frozen=True)
class Healthy:
    """A program that is as it should be.

    Attributes:
        run: Runs it in the trace that it is given the maker of, and returns that trace.
        agreed: Rules that warn of it, each with the reason why the warning is true and useful.
    """

    run: Run
    agreed: Mapping[str, str]


HEALTHY: dict[str, Healthy] = {}


def healthy(**agreed: str) -> Callable[[Run], Run]:
    """Enter a program into the zoo, with the warnings that a reviewer agrees to.

    Args:
        **agreed: The reason for each, under the rule's name with underscores for hyphens.
    """

    def enter(run: Run) -> Run:
        assert run.__name__ not in HEALTHY
        assert run.__doc__
        reasons = {rule.replace("_", "-"): reason for rule, reason in agreed.items()}
        HEALTHY[run.__name__] = Healthy(run, reasons)
        return run

    return enter


def train(trace: Tracing, net: nn.Module, *inputs: Any, steps: int = 2, **options: Any) -> ht.Trace:
    """Train a net for some steps on one batch, towards zero, in a trace of it."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with trace(net) as t:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = total(net(*inputs, **options))
            loss.backward()
            optimizer.step()
    return t


def evaluate(trace: Tracing, net: nn.Module, *inputs: Any, **options: Any) -> ht.Trace:
    """Run a net in evaluation, without gradients, in a trace of it."""
    net.eval()
    with trace(net) as t, torch.no_grad():
        net(*inputs, **options)
    return t


def total(output: Any) -> torch.Tensor:
    """Return the sum of the mean squares of all tensors in an output."""
    if isinstance(output, torch.Tensor):
        return output.square().mean()
    items = list(output.values()) if isinstance(output, dict) else list(output)
    return torch.stack([total(one) for one in items]).sum()


def small(inputs: int = 4, outputs: int = 1, *, inplace: bool = False) -> nn.Sequential:
    """A small perceptron."""
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(inplace), nn.Linear(8, outputs))
