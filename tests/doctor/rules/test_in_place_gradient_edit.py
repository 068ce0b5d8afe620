"""Gradients that hooks wrote to: every kind of hook that is given one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht

RULE = "in-place-gradient-edit"


def write(*given: Any) -> None:
    """Write into the first gradient that there is."""
    for one in given:
        for gradient in one if isinstance(one, (tuple, list)) else (one,):
            if isinstance(gradient, torch.Tensor):
                gradient.mul_(2)
                return


def step(kind: str, hook: Any) -> None:
    model = nn.Linear(2, 2)
    x = torch.ones(1, 2, requires_grad=True)
    if kind == "tensor":
        model.weight.register_hook(hook)
    elif kind == "multi_grad":
        torch.autograd.graph.register_multi_grad_hook((model.weight, model.bias), hook)
    elif kind == "full_backward":
        model.register_full_backward_hook(hook)
    elif kind == "full_backward_pre":
        model.register_full_backward_pre_hook(hook)
    elif kind == "post_accumulate_grad":
        model.weight.register_post_accumulate_grad_hook(lambda param: hook(param.grad))
    y = model(x * 1) * torch.tensor([2.0, 3.0])
    if kind == "node":
        y.grad_fn.register_hook(hook)
    elif kind == "node_pre":
        y.grad_fn.register_prehook(hook)
    (y * torch.ones(2)).sum().backward()


@pytest.mark.parametrize(
    "kind", ["tensor", "multi_grad", "full_backward", "full_backward_pre", "node", "node_pre"]
)
def test_every_kind_of_hook_that_is_given_gradients_is_told(kind: str) -> None:
    with ht.trace() as t:
        step(kind, write)
    (one,) = t.findings([RULE])
    assert one.where.startswith(f"{kind} hook write")
    assert "x2 in place" in one.evidence[0]


def test_a_post_accumulate_hook_may_write_to_the_gradient_of_its_parameter() -> None:
    with ht.trace() as t:
        step("post_accumulate_grad", write)
    assert t.edits
    assert not t.findings([RULE])


@pytest.mark.parametrize("kind", ["tensor", "full_backward", "node", "node_pre"])
def test_hooks_that_look_write_nothing(kind: str) -> None:
    with ht.trace() as t:
        step(kind, lambda *given: None)
    assert not t.findings([RULE])


def test_a_write_through_data_is_found_by_its_numbers() -> None:
    w = torch.ones(2, requires_grad=True)
    w.register_hook(_zero)
    with ht.trace() as t:
        (w * torch.tensor([2.0, 3.0])).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [0, 0]
    assert t.findings([RULE])


def _zero(grad: torch.Tensor) -> None:
    grad.data.zero_()


def test_a_write_that_changes_nothing_is_silent() -> None:
    w = torch.ones(2, requires_grad=True)
    w.register_hook(lambda grad: grad.clamp_(-10, 10))
    with ht.trace() as t:
        (w * torch.tensor([2.0, 3.0])).sum().backward()
    assert not t.findings([RULE])


def test_arguments_that_are_one_tensor_are_told() -> None:
    class Sum(nn.Module):
        def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            return one + other

    model = Sum()
    model.register_full_backward_hook(write)
    u, v = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        (model(u * 1, v * 1) * torch.tensor([2.0, 3.0])).sum().backward()
    assert v.grad is not None
    assert v.grad.tolist() == [4, 6]
    (one,) = t.findings([RULE])
    assert any("grad_input[0] and grad_input[1]" in text for text in one.evidence)


def test_a_write_that_is_known_to_do_harm_is_left_to_the_rule_that_tells_it() -> None:
    def run(hook: Any) -> ht.Trace:
        u = torch.ones(1, requires_grad=True)
        v = torch.ones(1, requires_grad=True)
        u.register_hook(hook)
        with ht.trace() as t:
            ((u + v) * 2).sum().backward()
        return t

    t = run(write)
    assert [one.rule for one in t.findings()] == ["shared-gradient-corruption"]
    assert list(t.findings([RULE])) == []
