"""trained-but-frozen: gets gradients, and no optimizer that stepped has it."""

from __future__ import annotations

import torch
from torch import nn

import hooktrace as ht
from hooktrace.findings import Finding


def found(t: ht.Trace) -> list[Finding]:
    return list(t.findings(select=["trained-but-frozen"]))


def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> ht.Trace:
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    return t


def two() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))


def test_a_layer_that_was_replaced_after_the_optimizer_was_made() -> None:
    net = two()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net[1] = nn.Linear(2, 3)
    (one,) = found(step(net, optimizer))
    assert one.severity == "warning"
    assert one.message == (
        "2 parameters got a gradient, and no optimizer that stepped has them: 1 (weight, bias)."
    )
    assert one.evidence == (
        "SGD took a step and has none of them",
        "SGD has 2 parameters that no traced model has",
    )


def test_a_bias_that_was_forgotten_beside_its_weight() -> None:
    net = two()
    optimizer = torch.optim.SGD([net[0].weight, *net[1].parameters()], lr=0.1)
    (one,) = found(step(net, optimizer))
    assert (one.severity, one.possible) == ("warning", "")
    assert one.message == (
        "1 parameter got a gradient, and no optimizer that stepped has it: 0 (bias)."
    )


def test_a_whole_layer_without_an_optimizer_may_have_another_one() -> None:
    net = two()
    optimizer = torch.optim.SGD(net[1].parameters(), lr=0.1)
    (one,) = found(step(net, optimizer))
    assert one.severity == "note"
    assert one.possible.startswith("another optimizer")


def test_a_frozen_layer_is_fine() -> None:
    net = two()
    net[0].requires_grad_(False)
    assert found(step(net, torch.optim.SGD(net[1].parameters(), lr=0.1))) == []


def test_several_optimizers_and_groups_are_fine() -> None:
    net = two()
    one = torch.optim.SGD([{"params": [net[0].weight]}, {"params": [net[0].bias]}], lr=0.1)
    other = torch.optim.Adam(net[1].parameters())
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
        one.step()
        other.step()
    assert found(t) == []


def test_the_discriminator_in_the_generators_step_is_fine() -> None:
    generator, critic = nn.Linear(2, 2), nn.Linear(2, 1)
    optimizer = torch.optim.SGD(generator.parameters(), lr=0.1)
    with ht.trace({"g": generator, "d": critic}) as t:
        critic(generator(torch.ones(1, 2))).sum().backward()
        optimizer.step()
    assert found(t) == []


def test_gradients_without_any_step_are_fine() -> None:
    net = two()
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    assert found(t) == []


def test_a_tensor_of_the_users_beside_the_model_is_no_stranger() -> None:
    net, scale = two(), torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([*net[1].parameters(), scale], lr=0.1)
    with ht.trace(net) as t:
        (net(torch.ones(1, 2)) * scale).sum().backward()
        optimizer.step()
    assert [one.severity for one in found(t)] == ["note"]
