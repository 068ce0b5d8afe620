"""hook-order-surprise: each rule of PyTorch, and pairs whose order does not matter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.findings import Finding


@pytest.fixture
def handles() -> Iterator[list[Any]]:
    """Handles of global hooks, removed afterwards."""
    found: list[Any] = []
    yield found
    for handle in found:
        handle.remove()


def found(t: Any) -> list[Finding]:
    return list(t.findings(select=["hook-order-surprise"]))


def only(t: Any) -> Finding:
    (finding,) = found(t)
    assert finding.severity == "note"
    first, then = finding.events
    assert first < then
    return finding


def save(*arguments: Any) -> None:
    """Changes nothing."""


def double_output(module: Any, args: Any, output: Any) -> Any:
    return output * 2


def double(grad: Any) -> Any:
    return grad * 2


X = torch.ones(1, 2)


def test_a_prepended_hook_that_changes_what_an_earlier_one_sees_is_told() -> None:
    net = nn.Linear(2, 1)
    with ht.trace(net) as t:
        net.register_forward_hook(save)
        net.register_forward_hook(double_output, prepend=True)
        net(X)
    finding = only(t)
    assert finding.message == (
        "The hook double_output on Linear was registered after save on Linear and fired before "
        "it: it was registered with prepend=True."
    )


def test_a_global_hook_that_comes_before_an_earlier_one_is_told(handles: list[Any]) -> None:
    net = nn.Linear(2, 1)
    with ht.trace(net) as t:
        net.register_forward_hook(save)
        register = nn.modules.module.register_module_forward_hook
        handles.append(register(double_output))
        net(X)
    assert "hooks for every module fire before a module's own" in only(t).message


def test_a_prepended_backward_hook_is_told() -> None:
    net = nn.Linear(2, 1)
    with ht.trace(net) as t:
        net.register_full_backward_pre_hook(save)
        net.register_full_backward_pre_hook(lambda module, grads: (grads[0] * 2,), prepend=True)
        net(X.clone().requires_grad_()).sum().backward()
    assert "prepend=True" in only(t).message


def test_hooks_that_change_nothing_may_come_in_any_order(handles: list[Any]) -> None:
    net = nn.Linear(2, 1)
    with ht.trace(net) as t:
        net.register_forward_hook(save)
        net.register_forward_hook(save, prepend=True)
        handles.append(nn.modules.module.register_module_forward_hook(save))
        net(X)
    assert found(t) == []


def test_hooks_in_the_order_of_their_registration_are_not_told(handles: list[Any]) -> None:
    net = nn.Linear(2, 1)
    with ht.trace(net) as t:
        handles.append(nn.modules.module.register_module_forward_hook(double_output))
        net.register_forward_hook(double_output)
        net.register_forward_hook(save)
        net(X)
        net(X)
    assert found(t) == []


def test_a_gradient_kept_after_a_hook_changed_it_is_told() -> None:
    w = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        a = w * 3
        a.retain_grad()
        a.register_hook(double)
        a.sum().backward()
    assert a.grad.tolist() == [2, 2]
    finding = only(t)
    assert "a.grad holds the gradient as the hook double left it" in finding.message
    assert "[1, 1] -> [2, 2]" in finding.evidence[0]


def test_a_gradient_kept_beside_a_hook_that_looks_on_is_not_told() -> None:
    w = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        a = w * 3
        a.retain_grad()
        a.register_hook(save)
        a.sum().backward()
    assert found(t) == []


def forget(parameter: Any) -> None:
    parameter.grad = None


@pytest.mark.parametrize("hook", [forget, save])
def test_a_post_accumulate_hook_that_takes_the_gradient_from_a_module_hook_is_told(
    hook: Any,
) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with ht.trace(net) as t:
        net[1].register_full_backward_hook(save)
        net[1].weight.register_post_accumulate_grad_hook(hook)
        net(X).sum().backward()
    if hook is save:
        assert found(t) == []
    else:
        assert "post-accumulate hooks fire before the backward hooks" in only(t).message


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_module_hook_that_looks_for_gradients_before_there_are_any_is_told(
    requires_grad: bool,
) -> None:
    got = []

    def look(module: Any, grad_input: Any, grad_output: Any) -> None:
        got.append(module.weight.grad is None)

    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with ht.trace(net) as t:
        net[0].register_full_backward_hook(look)
        net(X.clone().requires_grad_(requires_grad)).sum().backward()
    assert got == [not requires_grad]
    if requires_grad:
        assert found(t) == []
    else:
        assert "no input of 0 (Linear) requires grad" in only(t).message


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_a_hook_on_the_model_itself_comes_before_the_gradients_in_it() -> None:
    def look(module: Any, grad_input: Any, grad_output: Any) -> None:
        assert module[0].weight.grad is None

    net = nn.Sequential(nn.Linear(2, 2))
    with ht.trace(net) as t:
        net.register_full_backward_hook(look)
        net(X).sum().backward()
    assert "before 0.bias.grad was filled: no input of Sequential" in only(t).message
