"""Graphs that stay in memory because of what hooks store."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace._torch_saved import TELLS_HOOKS
from hooktrace.findings import Finding

RULE = "hook-keeps-graph-alive"


def found_in(t: ht.Trace) -> list[Finding]:
    return list(t.findings().of(RULE))


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 4), nn.Sigmoid())


def storing(model: nn.Module) -> list[Any]:
    saved: list[Any] = []

    def save(module: Any, args: Any, output: Any) -> None:
        saved.append(output)

    model.register_forward_hook(save)
    return saved


@pytest.mark.skipif(not TELLS_HOOKS, reason="PyTorch before 2.10 does not show saved tensors")
def test_the_bytes_are_those_that_the_nodes_saved() -> None:
    """The weight's gradient needs x, that of the sigmoid its result, which is what is stored."""
    model, x = net(), torch.ones(8, 2)
    storing(model[1])
    with ht.trace(model) as t:
        model(x)
    (held,) = t.log.holdings
    assert held.graph_bytes == x.nbytes
    (found,) = found_in(t)
    assert found.severity == "note"
    assert "at least 64 bytes" in found.message


@pytest.mark.skipif(not TELLS_HOOKS, reason="PyTorch before 2.10 does not show saved tensors")
def test_what_is_counted_is_freed_with_what_is_stored() -> None:
    model = net()
    saved = storing(model[1])
    with ht.trace(model) as t:
        x = torch.ones(8, 2)
        kept = weakref.ref(x.untyped_storage())
        model(x)
        del x
    (held,) = t.log.holdings
    assert held.graph_bytes
    assert kept() is not None or saved
    saved.clear()
    assert kept() is None


def test_a_list_that_grows_with_each_step_is_a_warning() -> None:
    model = net()
    storing(model)
    with ht.trace(model) as t:
        for _ in range(3):
            model(torch.ones(1, 2)).sum().backward()
    (found,) = found_in(t)
    assert found.severity == "warning"
    assert "stored 3 tensors in saved" in found.message
    assert "more with each of 3 steps" in found.message
    assert len(found.events) == 3
    assert found.where == "forward hook save on Sequential"


def test_a_module_that_is_called_thrice_in_one_step_is_none() -> None:
    class Thrice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> Any:
            return self.layer(self.layer(self.layer(x)))

    model = Thrice()
    storing(model.layer)
    with ht.trace(model) as t:
        model(torch.ones(1, 2)).sum().backward()
    assert [one.severity for one in found_in(t) if one.severity != "note"] == []


def test_a_graph_that_has_run_keeps_nothing() -> None:
    model = net()
    storing(model)
    with ht.trace(model) as t:
        model(torch.ones(1, 2)).sum().backward()
    assert found_in(t) == []


@pytest.mark.parametrize("how", ["detached", "cleared", "no_grad"])
def test_nothing_is_said_without_a_graph(how: str) -> None:
    model, saved = net(), []

    def save(module: Any, args: Any, output: Any) -> None:
        saved.append(output.detach() if how == "detached" else output)

    model.register_forward_hook(save)
    with ht.trace(model) as t:
        for _ in range(3):
            with torch.set_grad_enabled(how != "no_grad"):
                y = model(torch.ones(1, 2))
            if how != "no_grad":
                y.sum().backward()
            if how == "cleared":
                saved.clear()
    assert found_in(t) == []


def test_a_dict_with_the_last_step_does_not_grow() -> None:
    model, saved = net(), {}

    def save(module: Any, args: Any, output: Any) -> None:
        saved["last"] = output

    model.register_forward_hook(save)
    with ht.trace(model) as t:
        for _ in range(3):
            model(torch.ones(1, 2)).sum().backward()
    assert found_in(t) == []
    assert len(t.log.holdings) == 1


def test_gradients_with_a_graph_count_too() -> None:
    w, grads = torch.ones(2, requires_grad=True), []
    w.register_hook(grads.append)
    w.register_hook(lambda grad: grads.append(grad))
    with ht.trace() as t:
        for _ in range(2):
            torch.autograd.grad((w**3).sum(), w, create_graph=True)
    assert [one.severity for one in found_in(t)] == ["warning"]
