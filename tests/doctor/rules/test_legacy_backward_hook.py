"""Legacy backward hooks: what their grad_input is, and where it is right."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht

RULE = "legacy-backward-hook"
pytestmark = pytest.mark.filterwarnings("ignore:Using.*non-full backward hook")


def observe(*_: Any) -> None:
    """See nothing."""


def findings(model: nn.Module, x: torch.Tensor) -> Any:
    handle = model.register_backward_hook(observe)
    with ht.trace(model) as t:
        model(x).sum().backward()
    handle.remove()
    return t.findings([RULE])


def test_of_a_linear_layer_it_names_the_node_and_the_shapes() -> None:
    (one,) = findings(nn.Linear(3, 2), torch.ones(1, 3, requires_grad=True))
    assert "the grad_input of AddmmBackward0" in one.message
    assert one.evidence == (
        "grad_input of the hook: 3 gradients of shapes (2,), (1, 3), (3, 2)",
        "Linear@0 was given 1 input of shape (1, 3)",
    )


def test_of_a_block_it_is_the_last_modules() -> None:
    block = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    (one,) = findings(block, torch.ones(1, 3, requires_grad=True))
    assert "TanhBackward0, the last of its 3 nodes" in one.message
    assert one.evidence[0] == "grad_input of the hook: 1 gradient of shape (1, 2)"


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Sigmoid(), nn.Sequential(nn.Tanh())])
def test_a_call_of_one_node_is_right(model: nn.Module) -> None:
    x = torch.randn(2, 3, requires_grad=True)
    right: list[Any] = []
    model.register_full_backward_hook(lambda module, grad_input, _: right.append(grad_input))
    model(x).sum().backward()
    model._backward_hooks.clear()
    model._is_full_backward_hook = None
    got: list[Any] = []
    model.register_backward_hook(lambda module, grad_input, _: got.append(grad_input))
    with ht.trace(model) as t:
        model(x).sum().backward()
    assert torch.equal(got[0][0], right[0][0])
    assert not t.findings([RULE])


def test_a_full_backward_hook_is_right() -> None:
    model = nn.Linear(3, 2)
    model.register_full_backward_hook(observe)
    with ht.trace(model) as t:
        model(torch.ones(1, 3, requires_grad=True)).sum().backward()
    assert not t.findings([RULE])


def test_one_finding_however_often_it_fires() -> None:
    model = nn.Linear(3, 2)
    model.register_backward_hook(observe)
    with ht.trace(model) as t:
        for _ in range(3):
            model(torch.ones(1, 3, requires_grad=True)).sum().backward()
    assert len(t.findings([RULE])) == 1


def test_gradients_of_one_shape_are_counted() -> None:
    class Sum(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
            return a + b + c

    model = Sum()
    model.register_backward_hook(lambda module, grad_input, grad_output: None)
    a, b, c = (torch.ones(2, requires_grad=True) for _ in range(3))
    with ht.trace(model) as t:
        model(a, b, c).sum().backward()
    (one,) = t.findings([RULE])
    assert one.evidence == (
        "grad_input of the hook: 2 gradients of shape (2,)",
        "Sum@0 was given 3 inputs of shape (2,)",
    )
