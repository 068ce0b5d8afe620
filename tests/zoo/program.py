"""How a program enters the zoo, and steps that many of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

PROGRAMS: dict[str, Callable[[], tuple[Any, Callable[[], Any]]]] = {}


def program(build: Any) -> Any:
    """Enter a program into the zoo."""
    PROGRAMS[build.__name__] = build
    return build


def forward_backward(net: nn.Module, *inputs: torch.Tensor) -> Callable[[], Any]:
    """A step that runs forward and backward and returns the output and the inputs' gradients."""

    def step() -> Any:
        output = net(*inputs)
        output = output[0] if isinstance(output, tuple) else output
        output.square().mean().backward()
        return output, [one.grad for one in inputs]

    return step


def note(log: list[Any], name: str) -> Callable[..., None]:
    """A hook that notes what it was given."""

    def hook(*arguments: Any) -> None:
        log.append([name, *map(described, arguments)])

    return hook


def described(thing: Any) -> Any:
    """Copies of the tensors and everything that a hook could notice of them."""
    if isinstance(thing, torch.Tensor):
        version = None if thing.is_inference() else thing._version
        detached = thing.detach().clone()
        return [
            detached,
            thing.requires_grad,
            thing.is_leaf,
            type(thing).__name__,
            version,
            thing._is_view(),
        ]
    if isinstance(thing, (tuple, list)):
        return [type(thing).__name__, *map(described, thing)]
    if isinstance(thing, dict):
        return [type(thing).__name__, *[(key, described(item)) for key, item in thing.items()]]
    return type(thing).__name__


def module_hook(module: nn.Module, *rest: Any) -> None:
    """A hook that can be pickled."""


def tensor_hook(grad: torch.Tensor) -> torch.Tensor:
    """A hook that can be pickled."""
    return grad * 2
