"""unused-parameter: to be trained, and used by nothing that led to the loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import hooktrace as ht
from hooktrace.findings import Finding


def found(t: ht.Trace) -> list[Finding]:
    return list(t.findings(select=["unused-parameter"]))


def step(net: nn.Module, *, train: bool = True, size: int = 2) -> ht.Trace:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ht.trace(net) as t:
        out: Any = net(torch.randn(3, size))
        (out[0] if isinstance(out, tuple) else out).sum().backward()
        if train:
            optimizer.step()
    return t


class Spare(nn.Module):
    """A model with a block that nobody calls."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(2, 1)
        self.spare = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


def test_a_module_that_was_never_called_is_told_once_by_its_outermost_name() -> None:
    (one,) = found(step(Spare()))
    assert one.severity == "warning"
    assert one.message == (
        "spare was never called, and nothing that led to the loss used its 4 parameters: "
        "spare.0 (weight, bias), spare.2 (weight, bias)."
    )
    assert one.where == "module spare"
    assert one.evidence == ("1 backward run reached 2 leaves", "SGD took a step and has it")


def test_without_a_step_of_an_optimizer_it_is_a_possible_note() -> None:
    (one,) = found(step(Spare(), train=False))
    assert (one.severity, one.possible != "") == ("note", True)


def test_a_parameter_that_its_own_module_does_not_use() -> None:
    class Scaled(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.scale = nn.Parameter(torch.ones(2))
            self.shift = nn.Parameter(torch.ones(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * self.scale.data

    (one,) = found(step(nn.Sequential(Scaled())))
    assert one.message == (
        "0 (Scaled) was called, but did not use 2 parameters of its own for what it returned: "
        "0 (scale, shift)."
    )


def test_one_of_several_experts_may_have_been_chosen() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.experts[1](x)  # type: ignore[no-any-return]

    (one,) = found(step(Experts()))
    assert (one.severity, one.where) == ("note", "module experts.0")
    assert one.message == (
        "2 modules of experts were never called, and nothing that led to the loss used their 4 "
        "parameters: experts.0 (weight, bias), experts.2 (weight, bias)."
    )
    assert one.possible == (
        "experts.1 of the same list ran: forward() may choose among them in each step"
    )


def test_what_a_parent_uses_without_a_call_is_used() -> None:
    """As the output projection of attention, whose weights alone are read."""
    net = nn.MultiheadAttention(2, 1, batch_first=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ht.trace(net) as t:
        x = torch.randn(1, 3, 2)
        net(x, x, x)[0].sum().backward()
        optimizer.step()
    assert found(t) == []


def test_tied_weights_and_frozen_ones_and_lists_are_fine() -> None:
    class Many(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
            self.tied = nn.Linear(2, 2)
            self.tied.weight = self.layers[0].weight
            self.tied.bias = self.layers[0].bias
            self.frozen = nn.Linear(2, 2).requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = layer(x)
            return x

    assert found(step(Many())) == []


def test_another_model_that_is_not_trained_here_is_no_matter() -> None:
    one, other = nn.Linear(2, 1), nn.Linear(2, 1)
    with ht.trace({"one": one, "other": other}) as t:
        one(torch.ones(1, 2)).sum().backward()
    assert found(t) == []


def test_a_layer_of_which_another_step_of_the_block_makes_use_is_used() -> None:
    net = Spare()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
        net.spare(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert found(t) == []
