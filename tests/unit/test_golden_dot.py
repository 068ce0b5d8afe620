"""The DOT text of a handful of pictures, letter for letter.

``python tests/unit/test_golden_dot.py`` writes them anew; look at the pictures before that is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import hooktrace as ht

FOLDER = Path(__file__).parent / "golden"


def constant(model: nn.Module) -> nn.Module:
    """Make all numbers in a picture the same on every machine."""
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.5)
    return model


def run(model: nn.Module, *args: torch.Tensor) -> ht.Trace:
    constant(model)
    with ht.trace(model) as t:
        model(*args).sum().backward()
    return t


def hooked() -> str:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 1))
    model[0].register_forward_hook(lambda module, args, output: output * 2)
    model[2].register_full_backward_hook(lambda module, grad_input, grad_output: None)
    model[2].weight.register_post_accumulate_grad_hook(lambda parameter: None)
    model[1].register_module("never", nn.Identity())
    model[1].never.register_forward_hook(lambda module, args, output: None)
    return str(run(model, torch.ones(1, 2)).digraph().source)


def folded() -> str:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(4)))
    return str(run(model, torch.ones(1, 2)).digraph(depth=2).source)


def expanded() -> str:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(4)))
    return str(run(model, torch.ones(1, 2)).digraph(depth=1, expand="3").source)


def tensors() -> str:
    w = torch.tensor([1.0], requires_grad=True)
    x = torch.tensor([2.0], requires_grad=True)
    w.register_hook(lambda grad: grad * 3)
    with ht.trace() as t:
        y = (w + x) * (w + 1)
        y.backward()
    return str(t.digraph().source)


def backward() -> str:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1))
    return str(run(model, torch.ones(1, 2)).digraph(view="autograd").source)


PICTURES: dict[str, Callable[[], str]] = {
    one.__name__: one for one in (hooked, folded, expanded, tensors, backward)
}


@pytest.mark.parametrize("name", PICTURES)
def test_the_text_is_as_it_was(name: str) -> None:
    assert PICTURES[name]() == (FOLDER / f"{name}.dot").read_text(encoding="utf-8")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, picture in PICTURES.items():
        (FOLDER / f"{name}.dot").write_text(picture(), encoding="utf-8")
