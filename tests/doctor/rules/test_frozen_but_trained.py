"""frozen-but-trained: an optimizer's step changes what does not require a gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.findings import Finding


def found(t: ht.Trace) -> list[Finding]:
    return list(t.findings(select=["frozen-but-trained"]))


OPTIMIZERS: dict[str, Any] = {
    "momentum": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    "weight decay": lambda params: torch.optim.SGD(params, lr=0.1, weight_decay=0.1),
    "Adam": lambda params: torch.optim.Adam(params, lr=0.1),
    "foreach": lambda params: torch.optim.AdamW(params, lr=0.1, foreach=True),
}


def frozen_later(name: str) -> tuple[nn.Linear, Any]:
    net = nn.Linear(2, 1)
    optimizer = OPTIMIZERS[name](net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    net.weight.requires_grad_(False)
    return net, optimizer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_was_frozen_with_its_gradient_is_changed_on(name: str) -> None:
    net, optimizer = frozen_later(name)
    before = net.weight.tolist()
    with ht.trace(net) as t:
        for _ in range(2):
            net(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    assert net.weight.tolist() != before
    (one,) = found(t)
    kind = type(optimizer).__name__
    assert one.message == f"{kind} changed weight, which is frozen."
    assert one.evidence == (f"requires_grad=False and written to in 2 steps of {kind}",)
    assert one.severity == "warning"
    assert len(one.events) == 2


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_was_frozen_without_a_gradient_stays(name: str) -> None:
    net, optimizer = frozen_later(name)
    net.weight.grad = None
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert found(t) == []


def test_a_model_that_is_frozen_while_another_trains_is_fine() -> None:
    """As the discriminator in the generator's step."""
    generator, critic = nn.Linear(2, 2), nn.Linear(2, 1)
    of_critic = torch.optim.SGD(critic.parameters(), lr=0.1)
    of_generator = torch.optim.SGD(generator.parameters(), lr=0.1)
    with ht.trace({"g": generator, "d": critic}) as t:
        critic(generator(torch.ones(1, 2)).detach()).sum().backward()
        of_critic.step()
        critic.requires_grad_(False)
        critic(generator(torch.ones(1, 2))).sum().backward()
        of_generator.step()
    assert found(t) == []


def test_what_a_step_hook_writes_is_not_the_optimizers() -> None:
    net = nn.Linear(2, 1)
    net.weight.requires_grad_(False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def average(*_: Any) -> None:
        with torch.no_grad():
            net.weight.mul_(0.5)

    optimizer.register_step_post_hook(average)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert found(t) == []
