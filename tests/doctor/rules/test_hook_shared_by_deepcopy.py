"""hook-shared-by-deepcopy: copies of modules that took hooks along."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

import hooktrace as ht

RULE = "hook-shared-by-deepcopy"


def save(*arguments: Any) -> None:
    """A hook that changes nothing."""


def test_a_copied_model_is_told_beside_its_original() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    handle = net[0].register_forward_hook(save)
    models = {"net": net, "average": copy.deepcopy(net)}
    (finding,) = ht.check(models, select=[RULE])
    assert finding.severity == "warning"
    assert finding.message == (
        "The forward hook save is on 2 modules under one number: a copy took it along."
    )
    assert finding.evidence == (f"number {handle.id} on net.0, average.0",)
    handle.remove()
    assert [hook.owner for hook in ht.hooks(*models.values())] != []


def test_the_layers_of_a_transformer_share_the_hook_of_the_one_they_were_made_from() -> None:
    layer = nn.TransformerEncoderLayer(4, 1, 8, batch_first=True)
    layer.register_forward_hook(save)
    net = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    (finding,) = ht.check(net, select=[RULE])
    assert "is on 3 modules" in finding.message
    assert finding.evidence[0].endswith("on layers.0, layers.1, layers.2")


def test_a_trace_tells_it_by_the_firings() -> None:
    net = nn.Linear(2, 2)
    net.register_forward_hook(save)
    twin = copy.deepcopy(net)
    with ht.trace({"net": net, "twin": twin}) as t:
        twin(net(torch.ones(1, 2)))
    (finding,) = t.findings(select=[RULE])
    assert finding.evidence[0].endswith("on net, twin")
    assert len(finding.events) == 2


def test_one_module_in_two_places_and_methods_that_were_copied_are_not_shared() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_forward_hook(self.save)

        def save(self, *arguments: Any) -> None:
            """A hook that changes nothing."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    shared = nn.Linear(2, 2)
    shared.register_forward_hook(save)
    own = Own()
    net = nn.Sequential(shared, shared, own, copy.deepcopy(own))
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    assert list(t.findings(select=[RULE])) == []
    assert list(ht.check(net, select=[RULE])) == []


def test_one_function_registered_on_two_modules_is_not_shared() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    for module in net:
        module.register_forward_hook(save)
    assert list(ht.check(net, select=[RULE])) == []
