"""Results that nobody looks at, and results that count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht

RULE = "return-ignored"


def multi_grad(mode: str) -> Callable[[], None]:
    def step() -> None:
        v, w = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)

        def double(grads: Any) -> Any:
            return grads * 2

        torch.autograd.graph.register_multi_grad_hook((v, w), double, mode=mode)  # type: ignore[arg-type]
        (v * w).sum().backward()

    return step


def private_state_dict_hook(part: bool) -> Callable[[], None]:
    def step() -> None:
        model = nn.Sequential(nn.Linear(2, 2))
        owner = model[0] if part else model
        owner._register_state_dict_hook(lambda module, state, prefix, local: dict(state))
        model.state_dict()

    return step


def optimizer_hook(register: str, result: Any) -> Callable[[], None]:
    def step() -> None:
        model = nn.Linear(2, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        getattr(optimizer, register)(lambda *_: result)
        optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())

    return step


LOST: dict[str, tuple[Callable[[], None], str]] = {
    "multi_grad: all": (multi_grad("all"), "warning"),
    "multi_grad: any": (multi_grad("any"), "warning"),
    "a part's state_dict": (private_state_dict_hook(True), "warning"),
    "optimizer_step_post": (optimizer_hook("register_step_post_hook", 5), "note"),
    "optimizer_state_dict_pre": (optimizer_hook("register_state_dict_pre_hook", 5), "note"),
    "tensors after a step": (
        optimizer_hook("register_step_post_hook", torch.ones(2)),
        "warning",
    ),
}
KEPT: dict[str, Callable[[], None]] = {
    "the saved module's state_dict": private_state_dict_hook(False),
    "optimizer_step_post": optimizer_hook("register_step_post_hook", None),
}


@pytest.mark.parametrize("name", LOST)
def test_a_result_that_is_ignored_is_told(name: str) -> None:
    step, severity = LOST[name]
    with ht.trace() as t:
        step()
    (one,) = t.findings([RULE])
    assert one.severity == severity
    assert one.evidence[0].startswith("returned ")


@pytest.mark.parametrize("name", KEPT)
def test_a_result_that_counts_is_not(name: str) -> None:
    with ht.trace() as t:
        KEPT[name]()
    assert not t.findings([RULE])


def test_the_state_dict_of_a_part_really_stays_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0]._register_state_dict_hook(lambda module, state, prefix, local: {"other": 1})
    with ht.trace(model) as t:
        state = model.state_dict()
    assert list(state) == ["0.weight", "0.bias"]
    assert t.findings([RULE])
