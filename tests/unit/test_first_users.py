"""What first users ran into: changes that no counter tells of, changes after the run, bad calls."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.events import GradientAccumulated, HookFired


def double_data(module: Any, args: Any, output: torch.Tensor) -> None:
    output.data.mul_(2)


def numpy_zeros(module: Any, args: Any, output: torch.Tensor) -> None:
    output.detach().numpy()[:] = 0


@pytest.mark.parametrize(("hook", "text"), [(double_data, "x2"), (numpy_zeros, "zeroed")])
def test_a_hook_that_writes_past_the_version_counter_is_found_out(hook: Any, text: str) -> None:
    net = nn.Linear(2, 2)
    net.register_forward_hook(hook)
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    (edit,) = t.edits
    assert (edit.role, edit.how, edit.change.text) == ("output", "in_place", text)
    assert not torch.equal(edit.before, edit.after)


def test_a_kept_output_written_through_data_says_that_no_counter_saw_it() -> None:
    class Writer(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x.data.add_(1)
            return x * 1

    net = nn.Sequential(nn.Linear(2, 2), Writer())
    with ht.trace(net, keep=["0"]) as t:
        net(torch.ones(1, 2))
    assert torch.equal(t["0"].overwritten, t["0"].output + 1)
    (write,) = t.writes()
    assert "past the version counter" in write.by


def test_a_gradient_scaled_after_the_backward_run_is_a_write() -> None:
    w = torch.ones(3, requires_grad=True)
    with ht.trace() as t:
        (w * 2).sum().backward()
        assert w.grad is not None
        w.grad.mul_(0.5)
    assert [write.what for write in t.writes()] == ["w.grad"]


def test_the_gradient_of_a_leaf_is_what_its_post_accumulate_hooks_left() -> None:
    w = torch.ones(2, requires_grad=True)

    def scale(parameter: torch.Tensor) -> None:
        parameter.grad.mul_(7)  # type: ignore[union-attr]

    w.register_post_accumulate_grad_hook(scale)
    with ht.trace() as t:
        (w * 2).sum().backward()
    assert w.grad is not None
    assert t["w"].grad.tolist() == w.grad.tolist() == [14, 14]


def test_autograd_grad_records_the_gradient_of_a_leaf() -> None:
    x = torch.tensor([3.0], requires_grad=True)
    with ht.trace() as t:
        (found,) = torch.autograd.grad(x**2, x)
    assert [one.gradient.numbers for one in t["x"].gradients] == [(found.item(),)]


def test_a_module_that_was_never_called_is_said_to_be_so() -> None:
    class Bypass(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner.forward(x)  # type: ignore[no-any-return]

    net = Bypass()
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    with pytest.raises(ht.errors.UnknownNameError, match="never called"):
        _ = t["inner"]


def test_leaves_are_noted_in_the_order_in_which_the_engine_fills_them() -> None:
    net = nn.Sequential(*(nn.Linear(5, 5) for _ in range(6)))
    net[2].requires_grad_(False)
    twin = copy.deepcopy(net)
    order: list[str] = []
    for name, parameter in twin.named_parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda _, name=name: order.append(name))
    twin(torch.ones(5, 5)).sum().backward()
    with ht.trace(net) as t:
        net(torch.ones(5, 5)).sum().backward()
    names = [t.log.tensors[one.tensor].name for one in t.of(GradientAccumulated)]
    assert names == order
    assert len(order) == 10  # two of the twelve parameters are frozen


def test_a_leaf_is_noted_before_a_hook_that_fires_after_it_was_filled() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    filled: list[bool] = []
    net[0].register_full_backward_hook(
        lambda module, grad_input, grad_output: filled.append(net[1].weight.grad is not None)
    )
    with ht.trace(net) as t:
        net(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert filled == [True]
    (fired,) = t.of(HookFired)
    noted = {t.log.tensors[one.tensor].name: one.seq for one in t.of(GradientAccumulated)}
    assert noted["1.weight"] < fired.seq


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda t: t.of("HookFired"), r"ht\.events"),
        (lambda t: t.of(int), r"ht\.events"),
        (lambda t: t.draw("never.svg", dept=1), "Did you mean 'depth'"),
        (lambda t: t.digraph(depth="two"), "whole number"),
    ],
)
def test_a_wrong_argument_is_told_what_there_is(ask: Any, message: str) -> None:
    net = nn.Linear(2, 2)
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    with pytest.raises(TypeError, match=message):
        ask(t)
