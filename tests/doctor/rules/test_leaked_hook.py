"""leaked-hook: what stays registered, what grows, and what is no leak."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import hooktrace as ht
from hooktrace.findings import Finding

RULE = "leaked-hook"


def save(*arguments: Any) -> None:
    """A hook that changes nothing."""


def found(t: Any) -> list[Finding]:
    return list(t.findings(select=[RULE]))


def test_a_hook_whose_handle_is_kept_is_a_note() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    with ht.trace(net) as t:
        handle = net[0].register_forward_hook(save)
        net(torch.ones(1, 2))
    (finding,) = found(t)
    assert finding.severity == "note"
    assert finding.message == (
        "The forward hook save on 0 (Linear) is still registered when the block ends."
    )
    assert finding.where == "forward hook save on 0"
    assert finding.source.startswith(f"{__file__}:")
    assert finding.evidence == ()
    assert [type(t.events[seq]).__name__ for seq in finding.events] == ["HookRegistered"]
    handle.remove()


def test_a_hook_whose_handle_is_gone_is_a_warning() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    with ht.trace(net) as t:
        net[0].register_forward_hook(save)
        net(torch.ones(1, 2))
    (finding,) = found(t)
    assert finding.severity == "warning"
    assert finding.evidence == ("its handle is gone, so that nobody can remove it",)


def test_a_hook_that_a_module_registers_when_it_is_made_is_a_note() -> None:
    with ht.trace() as t:
        net = nn.Linear(2, 2)
        net.register_forward_hook(save)
        net(torch.ones(1, 2))
    (finding,) = found(t)
    assert finding.severity == "note"


def test_hooks_that_grow_with_each_call_are_a_warning_though_their_handles_are_kept() -> None:
    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.handles: list[Any] = []

        def forward(self, x: torch.Tensor) -> Any:
            self.handles.append(self.layer.register_forward_hook(save))
            return self.layer(x)

    net = Growing()
    with ht.trace(net) as t:
        for _ in range(3):
            net(torch.ones(1, 2))
    (finding,) = found(t)
    assert finding.severity == "warning"
    assert finding.message == (
        "The forward hook save on layer was registered 3 times, with calls in between, and all of "
        "these are left when the block ends."
    )
    assert len(finding.events) == 3
    assert len(net.layer._forward_hooks) == 3


def test_one_hook_on_many_modules_is_one_finding_and_does_not_grow() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with ht.trace(net) as t:
        handles = [module.register_forward_hook(save) for module in net]
        net(torch.ones(1, 2))
    (finding,) = found(t)
    assert finding.severity == "note"
    assert "on 3 modules is still registered" in finding.message
    assert len(handles) == 3


def test_what_the_hooks_are_on_is_counted_as_what_it_is() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizers = [torch.optim.SGD(net.parameters(), 0.1) for _ in range(2)]
    with ht.trace(net) as t:
        handles = [one.register_hook(save) for one in net.parameters()]
        handles += [one.register_step_post_hook(save) for one in optimizers]
        net(torch.ones(1, 2)).sum().backward()
        for one in optimizers:
            one.step()
    (note,) = found(t)
    assert [line.partition(", at ")[0] for line in note.evidence] == [
        "The tensor hook save on 4 parameters",
        "The optimizer step post-hook save on 2 optimizers",
    ]
    assert len(handles) == 6


@pytest.mark.parametrize("kind", ["register_hook", "register_post_accumulate_grad_hook"])
def test_a_hook_on_a_parameter_can_leak(kind: str) -> None:
    net = nn.Linear(2, 2)
    with ht.trace(net) as t:
        for _ in range(2):
            getattr(net.weight, kind)(save)
            net(torch.ones(1, 2)).sum().backward()
    (finding,) = found(t)
    assert finding.severity == "warning"
    assert "on weight was registered 2 times" in finding.message


def test_a_hook_on_an_optimizer_can_leak() -> None:
    net = nn.Linear(2, 2)
    sgd = torch.optim.SGD(net.parameters(), 0.1)
    with ht.trace(net) as t:
        handle = sgd.register_step_pre_hook(save)
        net(torch.ones(1, 2)).sum().backward()
        sgd.step()
    (finding,) = found(t)
    assert "optimizer step pre-hook save on SGD" in finding.message
    handle.remove()


def test_hooks_on_intermediate_tensors_nodes_and_plain_leaves_are_no_leak() -> None:
    net = nn.Linear(2, 2)
    x = torch.ones(1, 2, requires_grad=True)
    with ht.trace(net) as t:
        for _ in range(2):
            x.register_hook(save)
            y = net(x)
            y.register_hook(save)
            y.grad_fn.register_hook(save)
            y.sum().backward()
    assert found(t) == []


def test_what_was_there_before_what_is_removed_and_what_dies_is_no_leak() -> None:
    net = nn.Linear(2, 2)
    net.register_forward_hook(save)
    with ht.trace() as t:
        net.register_forward_hook(save).remove()
        net(torch.ones(1, 2))
        short = nn.Linear(2, 2)
        short.register_forward_hook(save)
        short(torch.ones(1, 2))
        del short
    assert found(t) == []


def test_hooks_of_pytorch_are_no_leak() -> None:
    net = nn.Linear(2, 2)
    with ht.trace(net) as t:
        for _ in range(2):
            prune.l1_unstructured(net, "weight", 0.5)
            net(torch.ones(1, 2))
    assert found(t) == []


def test_several_hooks_whose_handles_are_kept_are_one_note() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with ht.trace(net) as t:
        handles = [
            net[0].register_forward_hook(lambda module, args, output: None),
            net[1].register_forward_hook(lambda module, args, output: None),
            net.register_forward_pre_hook(lambda module, args: None),
        ]
        net[0].register_full_backward_hook(lambda *_: None)
        net(torch.ones(1, 2))
    dropped, together = t.findings(select=["leaked-hook"])
    assert (dropped.severity, together.severity) == ("warning", "note")
    assert together.message.startswith("3 hooks that were registered inside the block")
    assert len(together.evidence) == len(together.events) == len(handles) == 3
    assert "forward pre-hook <lambda> on Sequential, at" in together.evidence[2]
    assert "test_leaked_hook.py:" in together.evidence[2]
