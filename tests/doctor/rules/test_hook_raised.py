"""Hooks that raise: what ended the block, what PyTorch silenced, and what was meant."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht

RULE = "hook-raised"


def divide(*_: Any) -> None:
    raise ZeroDivisionError("division by zero")


REGISTER: dict[str, Any] = {
    "forward_pre": lambda m: m.register_forward_pre_hook(divide),
    "forward": lambda m: m.register_forward_hook(divide),
    "full_backward": lambda m: m.register_full_backward_hook(divide),
    "full_backward_pre": lambda m: m.register_full_backward_pre_hook(divide),
    "tensor": lambda m: m.weight.register_hook(divide),
    "post_accumulate_grad": lambda m: m.weight.register_post_accumulate_grad_hook(divide),
}


@pytest.mark.parametrize("kind", REGISTER)
def test_the_hook_whose_exception_ended_the_block_is_named(kind: str) -> None:
    model = nn.Linear(2, 2)
    REGISTER[kind](model)
    with pytest.raises(ZeroDivisionError), ht.trace(model) as t:
        model(torch.ones(1, 2, requires_grad=True)).sum().backward()
    (one,) = t.findings([RULE])
    assert one.severity == "error"
    assert one.where.startswith(f"{kind} hook divide")
    assert one.evidence[0] == "ZeroDivisionError: division by zero"
    line = divide.__code__.co_firstlineno
    assert one.source.endswith(f"test_hook_raised.py:{line}")


@pytest.mark.parametrize("kind", REGISTER)
def test_an_exception_that_the_program_catches_was_meant(kind: str) -> None:
    model = nn.Linear(2, 2)
    REGISTER[kind](model)
    with ht.trace(model) as t, contextlib.suppress(ZeroDivisionError):
        model(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert not t.findings([RULE])


def test_a_hook_that_pytorch_silences_is_told() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("no")

    model = Broken()
    model.register_forward_hook(divide, always_call=True)
    with warnings.catch_warnings(), ht.trace(model) as t:
        warnings.simplefilter("ignore")
        with contextlib.suppress(ValueError):
            model(torch.ones(1))
    (one,) = t.findings([RULE])
    assert "turned into a warning" in one.message


def test_of_hooks_inside_each_other_the_inmost_is_named() -> None:
    inner = nn.Linear(2, 2)
    inner.register_forward_hook(divide)
    outer = nn.ReLU()

    def runs_the_other(module: nn.Module, args: Any, output: Any) -> None:
        inner(torch.ones(1, 2))

    outer.register_forward_hook(runs_the_other)
    with pytest.raises(ZeroDivisionError), ht.trace() as t:
        outer(torch.ones(1))
    (one,) = t.findings([RULE])
    assert "divide" in one.message


def test_of_several_the_one_that_was_not_caught_is_told() -> None:
    w = torch.ones(1, requires_grad=True)
    w.register_hook(divide)
    with contextlib.suppress(ZeroDivisionError), ht.trace() as t:
        with contextlib.suppress(ZeroDivisionError):
            (w * 2).sum().backward()
        (w * 2).sum().backward()
    (one,) = t.findings([RULE])
    assert one.events == (max(e.seq for e in t.of(ht.events.HookFired)),)


def test_an_exception_of_the_program_is_no_hooks() -> None:
    w = torch.ones(1, requires_grad=True)
    w.register_hook(lambda grad: None)
    with contextlib.suppress(ZeroDivisionError), ht.trace() as t:
        (w * 2).sum().backward()
        divide()
    assert not t.findings([RULE])


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_a_tensor_hook_on_an_output_without_a_graph_is_told_with_the_mode(off: Any) -> None:
    def hang(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        output.register_hook(divide)

    model = nn.Linear(2, 2)
    model.register_forward_hook(hang)
    with contextlib.suppress(RuntimeError), ht.trace(model) as t, off():
        model(torch.ones(1, 2))
    (one,) = t.findings([RULE])
    assert one.evidence[1] == f"in the call Linear@0, under torch.{off.__name__}()"
    assert "if output.requires_grad" in one.instead


def advice(register: str, hook: Any) -> str:
    """Return what is told to do instead about a hook that raises."""
    model = nn.Sequential(nn.Linear(2, 2))
    owner = model[0].bias if register == "register_hook" else model[0]
    getattr(owner, register)(hook)
    with contextlib.suppress(Exception), ht.trace(model) as t:
        model(torch.ones(1, 2, requires_grad=True)).sum().backward()
    (one,) = t.findings([RULE])
    return one.instead


def test_a_write_to_an_expanded_gradient_is_told_the_way_out() -> None:
    w = torch.ones(2, requires_grad=True)

    def scale(grad: torch.Tensor) -> None:
        grad *= 10

    w.register_hook(scale)
    with contextlib.suppress(RuntimeError), ht.trace() as t:
        w.sum().backward()
    (one,) = t.findings([RULE])
    assert one.instead.startswith("return a new tensor, `return grad * 10`, instead of writing")


def test_a_hook_that_takes_too_few_arguments_is_told_what_it_is_given() -> None:
    def save(module: nn.Module, output: torch.Tensor) -> None:
        """Take one argument too few."""

    assert advice("register_forward_hook", save) == (
        "take what it is given: forward hooks are called with (module, args, output); those with "
        "with_kwargs=True with (module, args, kwargs, output)."
    )
    assert advice("register_full_backward_hook", save) == (
        "take what it is given: full backward hooks are called with (module, grad_input, "
        "grad_output)."
    )
    assert "tensor hooks are called with (grad)" in advice("register_hook", save)


def test_a_call_with_wrong_arguments_inside_a_hook_is_not_taken_for_the_hooks_own() -> None:
    def inner(one: Any) -> None:
        """Take one argument."""

    def save(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        inner(args, output)  # type: ignore[call-arg]

    assert advice("register_forward_hook", save).startswith("mend the hook")


def test_numpy_on_a_tensor_with_a_graph_is_told_to_detach_it() -> None:
    def save(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        output.numpy()

    assert "`output.detach().cpu().numpy()`" in advice("register_forward_hook", save)
