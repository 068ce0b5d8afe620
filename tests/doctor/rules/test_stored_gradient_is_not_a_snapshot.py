"""Gradients that hooks store: the oracle is a copy that was made in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.findings import Finding

RULE = "stored-gradient-is-not-a-snapshot"
Later = Callable[[torch.Tensor], None]


def found_in(t: ht.Trace) -> list[Finding]:
    return list(t.findings().of(RULE))


def backward(w: torch.Tensor) -> None:
    (w * 2).sum().backward()


def clip(w: torch.Tensor) -> None:
    nn.utils.clip_grad_norm_([w], 0.1)


def clear(w: torch.Tensor) -> None:
    torch.optim.SGD([w], 0.1).zero_grad(set_to_none=False)


def drop(w: torch.Tensor) -> None:
    torch.optim.SGD([w], 0.1).zero_grad()


def step(w: torch.Tensor) -> None:
    torch.optim.SGD([w], 0.1).step()


def nothing(w: torch.Tensor) -> None: ...


STORED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "itself": lambda grad: grad,
    "detached": lambda grad: grad.detach(),
    "on the CPU": lambda grad: grad.detach().cpu(),
    "a view": lambda grad: grad.detach().view(-1),
    "a copy": lambda grad: grad.clone(),
}


@pytest.mark.parametrize("later", [backward, clip, clear, drop, step, nothing])
@pytest.mark.parametrize("name", STORED)
def test_it_is_found_where_the_stored_gradient_changed_or_is_the_grad(
    name: str, later: Later
) -> None:
    w = torch.ones(3, requires_grad=True)
    saved: list[torch.Tensor] = []
    true: list[torch.Tensor] = []

    def hook(grad: torch.Tensor) -> None:
        saved.append(STORED[name](grad))
        true.append(grad.clone())

    w.register_hook(hook)
    with ht.trace() as t:
        backward(w)
        later(w)
    changed = [not torch.equal(one, other) for one, other in zip(saved, true, strict=True)]
    shared = w.grad is not None and any(one.data_ptr() == w.grad.data_ptr() for one in saved)
    found = found_in(t)
    expected = ["warning"] if any(changed) else ["note"] if shared else []
    assert [one.severity for one in found] == expected
    assert all(one.possible == "" for one in found)


def test_the_finding_says_what_wrote_and_to_what() -> None:
    w = torch.ones(2, requires_grad=True)
    grads: list[torch.Tensor] = []

    def keep(grad: torch.Tensor) -> None:
        grads.append(grad.detach())

    w.register_hook(keep)
    with ht.trace() as t:
        backward(w)
        backward(w)
        clip(w)
    found = next(one for one in found_in(t) if one.severity == "warning")
    assert found.message == (
        "The tensor hook keep on w stored its grad without a copy in grads[0], which was changed "
        "later, by backward run 1, which added to w.grad."
    )
    assert found.source == f"{__file__}:{keep.__code__.co_firstlineno}"
    assert found.evidence[0].startswith("2 of 2 elements of grads[0] are not what the hook was")
    assert "it shares memory with w.grad" in found.evidence
    assert any("code outside of every" in text for text in found.evidence)
    labels = [t.events[seq].label for seq in found.events]
    assert labels[:2] == ["hook", "accumulate"]
    assert set(labels[2:]) == {"write"}


def test_a_post_accumulate_hook_that_stores_the_grad_is_found() -> None:
    w = torch.ones(2, requires_grad=True)
    grads: list[Any] = []
    w.register_post_accumulate_grad_hook(lambda param: grads.append(param.grad))
    with ht.trace() as t:
        backward(w)
        backward(w)
    found, other = found_in(t)
    assert found.severity == "warning"
    assert "stored param.grad in grads[0]" in found.message
    assert other.severity == "note"
    assert "in grads[1], whose memory is that of w.grad." in other.message


def test_a_hook_that_stores_the_parameter_stores_no_gradient() -> None:
    net, seen = nn.Linear(2, 2), []
    net.weight.register_post_accumulate_grad_hook(lambda param: seen.append(param))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert found_in(t) == []


def test_a_backward_hook_of_a_module_is_looked_at_too() -> None:
    net, seen = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), []

    def scale(grad: torch.Tensor) -> None:
        grad.mul_(2)

    def on_the_output(module: Any, args: Any, output: Any) -> None:
        output.register_hook(scale)

    net[1].register_full_backward_pre_hook(lambda module, grad_output: seen.append(grad_output))
    net[1].register_forward_hook(on_the_output)
    with ht.trace(net) as t:
        y = net(torch.ones(1, 2))
        y.square().sum().backward()
    changed = not torch.equal(seen[0][0], 2 * y)
    assert [one.severity for one in found_in(t)] == ["warning"] * changed


def test_a_hook_that_writes_before_it_stores_stores_what_it_wrote() -> None:
    w, saved = torch.ones(2, requires_grad=True), []

    def hook(grad: torch.Tensor) -> None:
        grad.mul_(3)
        saved.append(grad.clone())

    w.register_hook(hook)
    with ht.trace() as t:
        backward(w)
    assert found_in(t) == []


def test_gradients_of_values_that_are_gone_are_found_in_the_users_list() -> None:
    w, grads = torch.ones(2, requires_grad=True), []
    with ht.trace() as t:
        y = w * 2
        y.retain_grad()
        y.register_hook(lambda grad: grads.append(grad.detach()))
        y.sum().backward(retain_graph=True)
        first = grads[0].clone()
        y.sum().backward()
        del y
    changed = not torch.equal(first, grads[0])
    assert bool([one for one in found_in(t) if one.severity == "warning"]) == changed


def test_a_gradient_that_was_written_to_with_the_same_values_is_told_as_that() -> None:
    net = nn.Linear(2, 1)
    stored: list[torch.Tensor | None] = []
    net.bias.register_post_accumulate_grad_hook(lambda p: stored.append(p.grad))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with ht.trace(net) as t:
        for _ in range(2):
            optimizer.zero_grad(set_to_none=False)
            net(torch.ones(1, 2)).sum().backward()  # of which the gradient is 1 each time
            optimizer.step()
    (found,) = t.findings(select=["stored-gradient"])
    assert found.evidence == ("it was written to since, and happens to hold the same values again",)
