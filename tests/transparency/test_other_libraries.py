"""What other libraries do to PyTorch while a trace is open."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Put a property in place of ``Tensor.grad`` that notes who is asked for its gradient.

    Libraries do so while a backward runs, to hand out gradients as they come by.
    """
    tensors: list[torch.Tensor] = []
    original: Any = torch.Tensor.grad

    def grad(tensor: torch.Tensor) -> Any:
        tensors.append(tensor)
        return original.__get__(tensor)

    monkeypatch.setattr(torch.Tensor, "grad", property(grad))
    return tensors


@pytest.mark.parametrize("keep", [False, True])
def test_a_property_in_place_of_a_tensors_gradient_is_not_asked(
    asked: list[torch.Tensor], keep: bool
) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    net[0].weight.register_hook(lambda grad: grad * 2)
    net[0].bias.register_post_accumulate_grad_hook(lambda leaf: None)
    with ht.trace(net, keep=keep) as t:
        middle = net[0](torch.ones(1, 2))
        middle.retain_grad()
        middle.register_hook(lambda grad: None)
        net[2](net[1](middle)).sum().backward()
    assert asked == []
    assert len(t.of(ht.events.GradientAccumulated)) == 4
    assert len(t.of(ht.events.GradientRetained)) == 1
