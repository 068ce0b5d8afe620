"""Post-accumulate hooks: those that take the parameter for its gradient, and those that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import hooktrace as ht

RULE = "post-accumulate-hook-got-parameter"
seen: list[Any] = []
optimizers: dict[str, torch.optim.Optimizer] = {}


def clip(grad: torch.Tensor) -> None:
    grad.data.clamp_(-1, 1)


@torch.no_grad()
def scale(grad: torch.Tensor) -> None:
    grad.mul_(0.5)


def log_norm(grad: torch.Tensor) -> None:
    seen.append(grad.norm())


def clip_gradient(param: torch.Tensor) -> None:
    assert param.grad is not None
    param.grad.clamp_(-1, 1)


@torch.no_grad()
def descend(param: torch.Tensor) -> None:
    assert param.grad is not None
    param.add_(param.grad, alpha=-0.1)
    param.grad = None


def step(param: torch.Tensor) -> None:
    optimizers["own"].step()
    optimizers["own"].zero_grad()


def count(param: torch.Tensor) -> None:
    seen.append(param.shape)


def run(hook: Callable[[torch.Tensor], None]) -> Any:
    w = torch.full((2,), 3.0, requires_grad=True)
    optimizers["own"] = torch.optim.SGD([w], lr=0.1)
    w.register_post_accumulate_grad_hook(hook)
    with ht.trace() as t:
        (w * 2).sum().backward()
    return t.findings([RULE])


@pytest.mark.parametrize("hook", [clip, scale])
def test_a_hook_that_writes_into_the_parameter_is_told(hook: Any) -> None:
    (one,) = run(hook)
    assert f"The hook {hook.__name__} wrote into the parameter w itself" in one.message
    assert one.evidence[0].startswith("param ")
    assert not one.possible


def test_a_hook_that_measures_the_parameter_is_possible() -> None:
    (one,) = run(log_norm)
    assert one.possible
    assert one.evidence == ("its code uses norm, and never grad",)


@pytest.mark.parametrize("hook", [clip_gradient, descend, step, count])
def test_a_hook_that_knows_what_it_is_given_is_right(hook: Any) -> None:
    assert not run(hook)


total = torch.zeros(2)


def accumulate(grad: torch.Tensor) -> None:
    total.add_(grad.detach())


def accumulate_right(g: torch.Tensor) -> None:
    total.add_(g.grad)  # type: ignore[arg-type]


def accumulate_parameter(param: torch.Tensor) -> None:
    total.add_(param.detach())


def test_an_argument_that_is_called_grad_is_told_as_possible() -> None:
    (one,) = run(accumulate)
    assert one.message == (
        "The hook accumulate on w calls its argument grad, but what it is given is the parameter, "
        "not its gradient."
    )
    assert one.possible
    assert list(run(accumulate_right)) == []
    assert list(run(accumulate_parameter)) == []
