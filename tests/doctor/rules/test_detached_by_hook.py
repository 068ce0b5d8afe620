"""detached-by-hook: hooks that put a tensor without a graph in the place of one that had one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.findings import Finding


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1))


def found(t: ht.Trace) -> list[Finding]:
    return list(t.findings(select=["detached-by-hook"]))


def run(model: nn.Module, times: int = 1) -> ht.Trace:
    with ht.trace(model) as t:
        for _ in range(times):
            model(torch.randn(3, 2)).sum().backward()
    return t


CUTS: dict[str, Callable[[torch.Tensor], Any]] = {
    "detach": lambda out: out.detach() * 2,
    "data": lambda out: out.data,
    "numpy": lambda out: torch.from_numpy(out.detach().numpy() * 2),
    "no_grad": torch.no_grad()(lambda out: out * 2),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_forward_hook_that_returns_a_tensor_without_a_graph(name: str) -> None:
    model = net()

    def cut(module: Any, args: Any, output: torch.Tensor) -> Any:
        return CUTS[name](output)

    model[1].register_forward_hook(cut)
    t = run(model, times=2)
    (one,) = found(t)
    assert one.severity == "warning"
    assert one.where == f"forward hook {t.hooks[0].name} on 1"
    assert one.message.endswith(
        "cut on 1 (Linear) put a tensor without a graph in the place of the output: no gradient "
        "gets past it."
    )
    assert one.evidence == (
        "output of 1@0: 3x2 float32 that requires grad",
        "after the hook: 3x2 float32 that does not",
        "without a gradient in this block: 0 (weight, bias), 1 (weight, bias)",
    )
    assert len(one.events) == 2
    assert list(t.findings(select=["graph-broken"])) == []  # it is told once


def test_a_pre_hook_that_detaches_an_argument() -> None:
    model = net()
    model[1].register_forward_pre_hook(lambda module, args: (args[0].detach(),))
    (one,) = found(run(model))
    assert "forward pre-hook" in one.message
    assert "in the place of an argument" in one.message


def test_detaching_in_place() -> None:
    model = net()

    def cut(module: Any, args: Any, output: torch.Tensor) -> None:
        output.detach_()

    model[1].register_forward_hook(cut)
    (one,) = found(run(model))
    assert one.evidence[0] == "output of 1@0: 3x2 float32 that requires grad"


def test_a_hook_on_a_container_is_told_once_too() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 1))
    model[0].register_forward_hook(lambda module, args, output: output.detach())
    t = run(model)
    assert len(found(t)) == 1
    assert list(t.findings(select=["graph-broken"])) == []


def test_without_a_backward_run_it_is_a_note() -> None:
    model = net()
    model[1].register_forward_hook(lambda module, args, output: output.detach())
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    (one,) = found(t)
    assert one.severity == "note"


@pytest.mark.parametrize(
    "hook",
    [
        lambda module, args, output: output * 2,
        lambda module, args, output: output.detach() + output,
        lambda module, args, output: None,
        lambda module, args, output: setattr(module, "kept", output.detach()),
    ],
)
def test_a_hook_that_keeps_the_graph_is_fine(hook: Any) -> None:
    model = net()
    model[1].register_forward_hook(hook)
    assert found(run(model)) == []


def test_where_there_is_no_graph_there_is_nothing_to_cut() -> None:
    model = net()
    model[1].register_forward_hook(lambda module, args, output: output.detach())
    with ht.trace(model) as t, torch.no_grad():
        model(torch.ones(1, 2))
    assert found(t) == []


def test_indices_never_require_a_gradient() -> None:
    model = net()
    model[2].register_forward_hook(lambda module, args, output: output.argmax(1))
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    assert found(t) == []


def fresh(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
    return torch.randn(3, 2, requires_grad=True)


def computed(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
    return torch.randn(3, 2, requires_grad=True) * 3


@pytest.mark.parametrize("hook", [fresh, computed])
def test_a_new_tensor_with_a_graph_of_its_own_cuts_too_and_forward_is_not_blamed(hook: Any) -> None:
    model = net()
    model[0].register_forward_hook(hook)
    t = run(model)
    (one,) = found(t)
    assert (one.severity, one.possible) == ("warning", "")
    assert one.message == (
        f"The forward hook {hook.__name__} on 0 (Linear) put a tensor that was not computed from "
        f"it in the place of the output: no gradient gets past it."
    )
    assert one.evidence[1:] == (
        "after the hook: 3x2 float32 whose graph does not lead to it",
        "without a gradient in this block: 0 (weight, bias)",
    )
    assert model[0].weight.grad is None
    assert {one.rule for one in t.findings()} == {"detached-by-hook"}


def test_of_several_hooks_the_one_that_returned_the_new_tensor_is_named() -> None:
    model = net()
    model[0].register_forward_hook(lambda module, args, output: output * 2)
    model[0].register_forward_hook(fresh)
    model[0].register_forward_hook(lambda module, args, output: output + 1)
    (one,) = found(run(model))
    assert "hook fresh on" in one.message


def test_a_module_that_ignores_its_parameters_is_not_its_hooks_fault() -> None:
    class Ignoring(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    model = nn.Sequential(nn.Linear(2, 2), Ignoring(2, 2))
    model[1].register_forward_hook(lambda module, args, output: output * 3)
    t = run(model)
    assert not found(t)
    assert t.findings(["unused-parameter"])
