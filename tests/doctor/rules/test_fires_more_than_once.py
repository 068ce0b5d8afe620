"""fires-more-than-once: each reason, and loops, which are none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import hooktrace as ht
from hooktrace.findings import Finding


class Counter:
    """A hook that counts how often it really ran."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *arguments: Any) -> None:
        self.count += 1


def found(t: Any) -> list[Finding]:
    return list(t.findings(select=["fires-more-than-once"]))


def only(t: Any) -> Finding:
    (finding,) = found(t)
    assert finding.severity == "note"
    assert all(type(t.events[seq]).__name__ == "HookFired" for seq in finding.events)
    return finding


def x() -> torch.Tensor:
    return torch.ones(1, 2, requires_grad=True)


class Checkpointed(nn.Module):
    """A body that is recomputed in the backward."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        self.reentrant = reentrant

    def forward(self, x: Any) -> Any:
        return checkpoint(self.body, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_forward_hook_that_fires_in_a_recomputation_is_told_of_which_call(
    reentrant: bool,
) -> None:
    net, hook = Checkpointed(reentrant), Counter()
    net.body[0].register_forward_hook(hook)
    with ht.trace(net) as t:
        net(x()).sum().backward()
    assert hook.count == 2
    finding = only(t)
    assert len(finding.events) == 1
    assert "body.0@1 is the recomputation of body.0@0 by checkpointing" in finding.evidence[0]
    assert "fired 2 times, of which 1 again" in finding.message


def test_the_parameter_hook_of_a_region_used_twice_fires_twice_with_reentrant_checkpointing() -> (
    None
):
    body, hook = nn.Linear(2, 2), Counter()
    body.weight.register_hook(hook)
    with ht.trace(body) as t:
        y = checkpoint(body, checkpoint(body, x(), use_reentrant=True), use_reentrant=True)
        y.sum().backward()
    assert hook.count == 2
    assert "is one of several in backward run 0" in only(t).evidence[0]


def test_without_reentrant_checkpointing_it_fires_once() -> None:
    body, hook = nn.Linear(2, 2), Counter()
    body.weight.register_hook(hook)
    with ht.trace(body) as t:
        y = checkpoint(body, checkpoint(body, x(), use_reentrant=False), use_reentrant=False)
        y.sum().backward()
    assert hook.count == 1
    assert found(t) == []


@pytest.mark.parametrize("kind", ["tensor", "full_backward", "parameter", "node"])
def test_a_second_backward_through_the_same_graph_is_told_with_both_runs(kind: str) -> None:
    net, hook = nn.Linear(2, 1), Counter()
    with ht.trace(net) as t:
        if kind == "full_backward":
            net.register_full_backward_hook(hook)
        if kind == "parameter":
            net.weight.register_hook(hook)
        y = net(x())
        if kind == "tensor":
            y.register_hook(hook)
        if kind == "node":
            y.grad_fn.register_hook(hook)
        loss = y.sum()
        loss.backward(retain_graph=True)
        loss.backward()
    assert hook.count == 2
    finding = only(t)
    assert finding.evidence[0].endswith(
        "backward run 1 goes through the same graph again, after run 0 (retain_graph=True)"
    )


def test_two_losses_on_one_body_go_through_it_twice() -> None:
    net, hook = nn.Linear(2, 2), Counter()
    net.weight.register_hook(hook)
    with ht.trace(net) as t:
        y = net(x())
        y[0, 0].backward(retain_graph=True)
        y[0, 1].backward()
    assert hook.count == 2
    assert "goes through the same graph again" in only(t).evidence[0]


def test_the_backward_of_a_gradient_is_told_as_such() -> None:
    net, hook = nn.Sequential(nn.Linear(2, 2), nn.Tanh()), Counter()
    net[0].register_full_backward_pre_hook(hook)
    with ht.trace(net) as t:
        inputs = x()
        (grad,) = torch.autograd.grad(net(inputs).sum(), inputs, create_graph=True)
        grad.pow(2).sum().backward()
    assert hook.count == 2
    finding = only(t)
    assert "differentiates what run 0 computed (create_graph=True)" in finding.evidence[0]


@pytest.mark.parametrize(("kind", "again"), [("forward", 2), ("full_backward", 2)])
def test_a_module_that_is_called_several_times_in_a_step_is_told(kind: str, again: int) -> None:
    layer, hook = nn.Linear(2, 2), Counter()
    net = nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), layer)
    getattr(layer, f"register_{kind}_hook")(hook)
    with ht.trace(net) as t:
        net(x()).sum().backward()
    assert hook.count == 3
    finding = only(t)
    assert len(finding.events) == again
    assert "0, 2 and 4 are one module, which is called several times in one step" in finding.message


def test_the_parameter_hook_of_a_shared_module_fires_once() -> None:
    layer, hook = nn.Linear(2, 2), Counter()
    net = nn.Sequential(layer, nn.Tanh(), layer)
    layer.weight.register_hook(hook)
    with ht.trace(net) as t:
        net(x()).sum().backward()
    assert hook.count == 1
    assert found(t) == []


def test_the_steps_of_a_loop_are_no_repetition() -> None:
    net, hook = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), Counter()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for module in net:
        module.register_forward_pre_hook(hook)
        module.register_forward_hook(hook)
        module.register_full_backward_hook(hook)
    net[0].weight.register_hook(hook)
    net[0].weight.register_post_accumulate_grad_hook(hook)
    optimizer.register_step_post_hook(hook)
    with ht.trace(net) as t:
        for _ in range(3):
            for _ in range(2):  # accumulates the gradients of two batches
                net(x()).sum().backward()
            optimizer.step()
    assert hook.count == 6 * 8 + 3
    assert found(t) == []


def test_a_loop_outside_of_all_models_is_no_repetition() -> None:
    w, hook = torch.ones(2, requires_grad=True), Counter()
    with ht.trace() as t:
        w.register_hook(hook)
        for _ in range(3):
            (w * 2).sum().backward()
    assert hook.count == 3
    assert found(t) == []


def test_hooks_that_one_line_registered_make_one_finding() -> None:
    net = Checkpointed(reentrant=False)
    for module in net.body:
        module.register_forward_pre_hook(Counter().__call__)
    with ht.trace(net) as t:
        net(x()).sum().backward()
    assert "(and 1 like it)" in only(t).message


def test_a_module_under_several_names_is_told_to_be_one() -> None:
    act = nn.GELU()
    net = nn.Sequential(nn.Linear(2, 2), act, nn.Linear(2, 2), act, act)
    act.register_forward_hook(Counter())
    with ht.trace(net) as t:
        net(x())
    message = only(t).message
    assert "1, 3 and 4 are one module, which is called several times in one step" in message
