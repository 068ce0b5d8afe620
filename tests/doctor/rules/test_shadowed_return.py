"""Results that a later hook threw away, and results that it used."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import hooktrace as ht

RULE = "shadowed-return"


def double(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
    return output * 2


def test_an_earlier_output_brought_back_shadows_the_hook_between() -> None:
    model = nn.Linear(2, 2)
    kept: list[torch.Tensor] = []
    model.register_forward_hook(lambda module, args, output: kept.append(output))
    model.register_forward_hook(double)

    def restore(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        return kept[-1]

    model.register_forward_hook(restore)
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    (one,) = t.findings([RULE])
    assert "the hook double on Linear returned was lost" in one.message
    assert "the hook restore on Linear" in one.message
    assert len(one.events) == 2


def test_an_input_returned_as_output_shadows_too() -> None:
    model = nn.Linear(2, 2)
    model.register_forward_hook(double)
    model.register_forward_hook(lambda module, args, output: args[0])
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    (one,) = t.findings([RULE])
    assert "double" in one.message


def test_a_gradient_brought_back_shadows_a_tensor_hook() -> None:
    w = torch.ones(2, requires_grad=True)
    kept: list[torch.Tensor] = []

    def triple(grad: torch.Tensor) -> torch.Tensor:
        kept.append(grad)
        return grad * 3

    w.register_hook(triple)
    w.register_hook(lambda grad: kept[-1])
    with ht.trace() as t:
        (w * torch.tensor([1.0, 2.0])).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [1, 2]
    (one,) = t.findings([RULE])
    assert "triple on w" in one.message


def test_a_hook_that_computes_from_what_it_is_given_shadows_nothing() -> None:
    model = nn.Linear(2, 2)
    model.register_forward_hook(double)
    model.register_forward_hook(lambda module, args, output: output + args[0])
    model.register_forward_hook(lambda module, args, output: output)
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    assert not t.findings([RULE])


def test_two_calls_with_one_hook_each_shadow_nothing() -> None:
    model = nn.Linear(2, 2)
    model.register_forward_hook(double)
    x = torch.ones(1, 2)
    with ht.trace(model) as t:
        model(x)
        model(x)
    assert not t.findings([RULE])


def test_an_early_result_returned_by_the_only_hook_shadows_nothing() -> None:
    model = nn.Identity()
    constant = torch.zeros(1)
    model.register_forward_hook(lambda module, args, output: constant)
    with ht.trace(model) as t:
        for _ in range(3):
            model(torch.ones(1))
    assert not t.findings([RULE])


def test_a_new_tensor_with_another_graph_shadows_what_was_returned_before_it() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))

    def replace(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        return torch.ones(1, 2, requires_grad=True)

    model[0].register_forward_hook(double)
    model[0].register_forward_hook(replace)
    with ht.trace(model) as t:
        model(torch.ones(1, 2)).sum().backward()
    (one,) = t.findings([RULE])
    assert one.possible == ""
    assert one.message == (
        "What the hook double on 0 (Linear) returned was lost: the hook replace on 0 (Linear), "
        "which was given it, returned a tensor that was not computed from it."
    )


def test_a_result_that_uses_the_first_and_something_new_shadows_nothing() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    bias = torch.ones(1, 2, requires_grad=True)
    model[0].register_forward_hook(double)
    model[0].register_forward_hook(lambda module, args, output: output + bias)
    with ht.trace(model) as t:
        model(torch.ones(1, 2)).sum().backward()
    assert not t.findings([RULE])
