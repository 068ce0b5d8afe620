"""ReLUs that are dead over a batch, and those that are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.findings import Finding

RULE = "dead-activation"


class Own(nn.ReLU):
    """A class of one's own below PyTorch's."""


def findings(net: nn.Module, *batches: torch.Tensor) -> list[Finding]:
    with ht.trace(net, stats=True) as t:
        for batch in batches:
            net(batch)
    return list(t.findings(select=[RULE]))


def shifted(relu: nn.Module, bias: float | torch.Tensor, features: int = 16) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, features), relu, nn.Linear(features, 1))
    with torch.no_grad():
        net[0].bias.copy_(torch.as_tensor(bias).expand(features))
    return net


@pytest.mark.parametrize(
    "relu",
    [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.Hardswish(), nn.Threshold(0.0, 0.0), Own()],
    ids=lambda relu: type(relu).__name__ + "_in_place" * getattr(relu, "inplace", False),
)
def test_every_kind_of_relu_that_lets_nothing_through(relu: nn.Module) -> None:
    (found,) = findings(shifted(relu, -100.0), torch.randn(4, 8))
    assert found.severity == "warning"
    assert found.message == (
        f"1@0 ({type(relu).__name__}) returned nothing but zeros: all 64 elements."
    )
    assert found.where.startswith("1@0")
    assert found.evidence[0].startswith("its input lay between -10")
    assert not found.possible


@pytest.mark.parametrize("relu", [nn.LeakyReLU(), nn.GELU(), nn.ELU(), nn.Softplus(), nn.Tanh()])
def test_what_is_not_cut_off_at_zero_is_no_relu(relu: nn.Module) -> None:
    assert findings(shifted(relu, -100.0), torch.randn(4, 8)) == []


def test_one_element_that_lives_is_enough() -> None:
    bias = torch.full((16,), -100.0)
    net = shifted(nn.ReLU(), bias)
    with torch.no_grad():
        net[0].weight[3] = 1.0
        net[0].bias[3] = 0.0
    batch = torch.full((4, 8), -1.0)
    batch[2] = 1.0
    found = findings(net, batch)
    assert [one.severity for one in found if "nothing but zeros" in one.message] == []


def test_of_several_calls_those_that_were_dead_are_counted() -> None:
    net = nn.Sequential(nn.ReLU())
    (found,) = findings(net, torch.ones(2, 16), -torch.ones(2, 16), -torch.ones(4, 16))
    assert "all 64 elements, in 2 of its 3 calls" in found.message
    assert len(found.events) == 2


def test_few_channels_may_all_be_negative_by_chance() -> None:
    (found,) = findings(shifted(nn.ReLU(), -100.0, features=9), torch.randn(4, 8))
    assert found.severity == "note"
    assert found.possible == "9 channels may be negative by chance"


def dead(channels: int, some: int, shape: Any) -> torch.Tensor:
    """Return feature maps of which some channels are negative throughout."""
    batch = torch.ones(4, channels, *shape)
    batch[:, :some] = -1.0
    return batch


@pytest.mark.parametrize(("channels", "some"), [(64, 45), (16, 15), (256, 153)])
@pytest.mark.parametrize("shape", [(3, 3), (3, 3, 3)])
def test_more_dead_channels_than_chance_explains_are_a_note(
    channels: int, some: int, shape: Any
) -> None:
    net = nn.Sequential(nn.ReLU())
    (found,) = findings(net, dead(channels, some, shape))
    assert found.severity == "note"
    assert f"{some} of {channels} channels are zero over the whole batch" in found.message
    assert "told above" in found.evidence[0]


@pytest.mark.parametrize(("channels", "some"), [(64, 44), (16, 14), (256, 152)])
def test_as_many_as_chance_explains_are_none(channels: int, some: int) -> None:
    assert findings(nn.Sequential(nn.ReLU()), dead(channels, some, (3, 3))) == []


def test_dimension_one_of_three_may_be_time() -> None:
    assert findings(nn.Sequential(nn.ReLU()), dead(64, 60, (3,))) == []


def test_a_channel_of_few_elements_is_no_evidence() -> None:
    net = nn.Sequential(nn.ReLU())
    assert findings(net, dead(64, 60, ())) == []
    assert len(findings(net, torch.cat([dead(64, 60, ())] * 3))) == 1


def test_in_inference_mode_too() -> None:
    net = shifted(nn.ReLU(inplace=True), -100.0)
    with torch.inference_mode():
        (found,) = findings(net, torch.randn(4, 8))
    assert "nothing but zeros" in found.message


def test_without_statistics_nothing_is_said() -> None:
    net = shifted(nn.ReLU(), -100.0)
    with ht.trace(net) as t:
        net(torch.randn(4, 8))
    assert list(t.findings(select=[RULE])) == []
