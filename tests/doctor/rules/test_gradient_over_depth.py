"""Gradients that vanish or explode over depth, against closed forms and healthy nets."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import hooktrace as ht
from hooktrace.doctor.depth import LOST
from hooktrace.findings import Finding

RULES = ["vanishing-gradient", "exploding-gradient"]


def findings(t: ht.Trace) -> list[Finding]:
    return list(t.findings(select=RULES))


def traced(net: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor] = Tensor.sum) -> ht.Trace:
    with ht.trace(net, stats=True) as t:
        loss(net(x)).backward()
    return t


def chain(factors: list[float], start: float = 1.0) -> nn.Sequential:
    """Scaled identities: the gradient is multiplied by each factor but the first."""
    net = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in factors))
    for layer, factor in zip(net, factors, strict=True):
        nn.init.eye_(layer.weight)
        layer.weight.data.mul_(factor)
    return net


def squashed(factors: list[float]) -> nn.Sequential:
    """The same; between the layers the value is put back to ones, not touching the gradient."""
    layers = [(layer, Renewed()) for layer in chain(factors)]
    return nn.Sequential(*itertools.chain(*layers))


class Renewed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + (1 - x).detach()


ONES = torch.ones(2, 4)


def test_the_ratio_is_that_of_the_factors() -> None:
    """Of 6 layers the gradient passes 5, each of which makes a tenth of it."""
    (found,) = findings(traced(squashed([0.1] * 6), ONES))
    assert found.rule == "vanishing-gradient"
    assert found.severity == "warning"
    assert found.message == (
        "The gradient vanishes on its way from 10@0 to 0@0: its norm falls to 1e-05 of what it was."
    )
    assert found.evidence[0].startswith(
        "norm of grad_output from the last layer to the first: 10@0 2.8, 8@0 0.28, 6@0 0.028,"
    )
    assert found.evidence[1] == "over 6 layers, x0.1 for each"
    assert len(found.events) == 2


def test_it_explodes_by_the_factors() -> None:
    (found,) = findings(traced(squashed([10.0] * 6), ONES))
    assert found.rule == "exploding-gradient"
    assert "its norm grows to 1e+05 times what it was" in found.message


@pytest.mark.parametrize("factor", [0.21, 0.5, 1.0, 2.0, 4.5])
def test_within_the_bounds_nothing_is_said(factor: float) -> None:
    assert LOST < factor**5 < 1 / LOST
    assert findings(traced(squashed([factor] * 6), ONES)) == []


def test_one_step_alone_is_no_depth() -> None:
    assert findings(traced(squashed([1, 1, 1, 1e-5, 1, 1]), ONES)) == []
    assert findings(traced(squashed([1, 1, 1, 1e5, 1, 1]), ONES)) == []


def test_three_layers_are_no_depth() -> None:
    assert findings(traced(squashed([1e-3] * 3), ONES)) == []
    assert len(findings(traced(squashed([1e-3] * 4), ONES))) == 1


def test_gradients_of_the_weights_that_are_alike_are_no_vanishing() -> None:
    """Where the values shrink as the gradients do, all weights get the same gradient."""
    assert findings(traced(chain([0.1] * 6), ONES)) == []


@pytest.mark.parametrize(
    ("activation", "depth"), [(nn.Sigmoid, 6), (nn.Sigmoid, 40), (nn.Tanh, 24)]
)
def test_saturating_nets_vanish(activation: type[nn.Module], depth: int) -> None:
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(32, 32), activation()) for _ in range(depth)]
    net = nn.Sequential(*layers, nn.Linear(32, 1))
    (found,) = findings(traced(net, torch.randn(8, 32)))
    assert found.rule == "vanishing-gradient"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["he", "residual", "normalised", "orthogonal"])
def test_healthy_deep_nets_are_healthy(kind: str, seed: int) -> None:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for _ in range(24):
        linear = nn.Linear(32, 32)
        if kind == "he":
            nn.init.kaiming_normal_(linear.weight)
            layers += [linear, nn.ReLU()]
        elif kind == "orthogonal":
            nn.init.orthogonal_(linear.weight)
            layers += [linear]
        elif kind == "normalised":
            layers += [linear, nn.LayerNorm(32), nn.ReLU()]
        else:
            layers += [Residual(linear)]
    assert findings(traced(nn.Sequential(*layers, nn.Linear(32, 3)), torch.randn(16, 32))) == []


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.inner(x))  # type: ignore[no-any-return]


def test_a_head_that_starts_from_zero_is_healthy() -> None:
    net = squashed([0.9] * 6)
    nn.init.zeros_(net[10].weight)
    assert findings(traced(net, ONES)) == []


class Recurrent(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.cell = nn.RNNCell(4, 4, bias=False)
        nn.init.eye_(self.cell.weight_hh)
        self.cell.weight_hh.data.mul_(factor)
        nn.init.zeros_(self.cell.weight_ih)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.full((2, 4), 1e-12)
        for _ in range(12):
            state = self.cell(x, state)
        return state


def test_through_time_a_vanishing_gradient_is_a_note() -> None:
    (found,) = findings(traced(Recurrent(0.3), torch.ones(2, 4)))
    assert (found.rule, found.severity) == ("vanishing-gradient", "note")
    assert found.where == "Recurrent@0 (Recurrent)"


def test_of_several_steps_the_worst_is_told_once() -> None:
    net = squashed([0.1] * 6)
    with ht.trace(net, stats=True) as t:
        for _ in range(3):
            net(ONES).sum().backward()
    assert len(findings(t)) == 1


def test_frozen_layers_have_nothing_to_lose() -> None:
    net = squashed([10.0] * 6)
    net[0].requires_grad_(False)
    net[0].weight.requires_grad_(False)
    x = ONES.clone().requires_grad_()
    assert findings(traced(net, x)) == []


def test_without_statistics_nothing_is_said() -> None:
    net = squashed([0.1] * 6)
    with ht.trace(net) as t:
        net(ONES).sum().backward()
    assert findings(t) == []
