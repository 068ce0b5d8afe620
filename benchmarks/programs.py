"""What the benchmarks run: models, their steps, and the same with a trace or with empty hooks."""

from __future__ import annotations

import torch
from torch import nn

import hooktrace as ht

__all__ = [
    "Floor",
    "Forest",
    "Sum",
    "chain",
    "empty_hooks",
    "loop",
    "step",
    "traced_loop",
    "traced_step",
]

nothing = {}.get
"""An empty hook for one argument: a function of C that returns None."""


def chain(depth: int = 50) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(8, 8) for _ in range(depth)))


def step(model: nn.Module, batch: torch.Tensor) -> None:
    model.zero_grad()
    model(batch).sum().backward()


def traced_step(model: nn.Module, batch: torch.Tensor) -> None:
    with ht.trace(model):
        step(model, batch)


def loop(model: nn.Module, batch: torch.Tensor, steps: int) -> None:
    for _ in range(steps):
        step(model, batch)


def traced_loop(model: nn.Module, batch: torch.Tensor, steps: int, edits: str = "values") -> None:
    with ht.trace(model, edits=edits):
        loop(model, batch, steps)


def empty_hooks(model: nn.Sequential) -> nn.Sequential:
    """Put an empty full backward hook on every module of a chain."""
    for layer in model:
        layer.register_full_backward_hook(lambda module, grad_input, grad_output: None)
    return model


class Floor(nn.Module):
    """A chain on whose nodes and leaves empty hooks are put in each step.

    They are the very nodes at which hooktrace looks, found for nothing, and the hooks run no
    Python: so it is the least that any tool pays that looks there.
    """

    def __init__(self, model: nn.Sequential) -> None:
        super().__init__()
        self.model = model
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(nothing)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        for layer in self.model:
            batch = layer(batch)
            batch.grad_fn.register_prehook(nothing)
        return batch


class Sum(nn.Module):
    """The sum of a parameter of 8 numbers, which has so many empty tensor hooks."""

    def __init__(self, hooks: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))
        for _ in range(hooks):
            self.weight.register_hook(lambda gradient: None)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.weight * batch


class Forest(nn.Module):
    """A model of so many modules, ten layers to a branch."""

    def __init__(self, modules: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(nn.Linear(2, 2) for _ in range(10))) for _ in range(modules // 11)
        )
