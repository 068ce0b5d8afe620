"""Writes in place that change another tensor's gradient: what is one, and what is not.

The oracle is PyTorch itself: a program is run with its hook writing in place and with the hook
returning what it would have written.  Where both runs give the other tensors the same gradients,
nothing was corrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hooktrace as ht
from hooktrace.events import GradientOverwritten

RULE = "shared-gradient-corruption"
Hook = Callable[[Tensor], Tensor | None]
Program = Callable[[Hook], list[Tensor | None]]


def in_place(grad: Tensor) -> None:
    grad.mul_(10)


def returned(grad: Tensor) -> Tensor:
    return grad * 10


def leaf(*size: int) -> Tensor:
    return torch.ones(*(size or (2,)), requires_grad=True)


K = torch.tensor([2.0, 3.0])


def addition(hook: Hook) -> list[Tensor | None]:
    u, v = leaf(), leaf()
    u.register_hook(hook)
    ((u + v) * K).sum().backward()
    return [v.grad]


def older_side_hooked_through_views(hook: Hook) -> list[Tensor | None]:
    u, v = leaf(), leaf()
    u.register_hook(hook)
    ((u.view(2, 1) + v.view(2, 1)) * K.view(2, 1)).sum().backward()
    return [v.grad]


def younger_side_hooked_through_views(hook: Hook) -> list[Tensor | None]:
    u, v = leaf(), leaf()
    v.register_hook(hook)
    ((u.view(2, 1) + v.view(2, 1)) * K.view(2, 1)).sum().backward()
    return [u.grad]


def subtraction_first_side(hook: Hook) -> list[Tensor | None]:
    u, v = leaf() * 1, leaf()
    u.register_hook(hook)
    ((u - v) * K).sum().backward()
    return [v.grad]


def three_sides(hook: Hook) -> list[Tensor | None]:
    u, v, w = leaf(), leaf(), leaf()
    a = w * 1
    b = v * 1
    c = u * 1
    c.register_hook(hook)
    ((c + (b + a)) * K).sum().backward()
    return [v.grad, w.grad]


def residual(hook: Hook) -> list[Tensor | None]:
    x = leaf()
    h = x * 1
    f = h.relu()
    f.register_hook(hook)
    h.register_hook(lambda grad: grad)
    seen: list[Tensor | None] = []
    h.register_hook(lambda grad: seen.append(grad.clone()))
    ((h + f) * K).sum().backward()
    return seen


def expanded(hook: Hook) -> list[Tensor | None]:
    u, v = leaf(), leaf()
    a = v.expand(2)
    b = u * 1
    b.register_hook(hook)
    ((b + a) * K).sum().backward()
    return [v.grad]


def concatenated(hook: Hook) -> list[Tensor | None]:
    u, v = leaf(), leaf()
    v.register_hook(hook)
    (torch.cat([u, v]) * torch.cat([K, K])).sum().backward()
    return [u.grad]


def concatenated_beside_another(hook: Hook) -> list[Tensor | None]:
    u, v, w = leaf(), leaf(), leaf(4)
    z = w * 1
    a = u * 1
    joined = torch.cat([a, v])
    a.register_hook(hook)
    ((joined + z) * torch.cat([K, K])).sum().backward()
    return [w.grad, v.grad]


def multiplied(hook: Hook) -> list[Tensor | None]:
    u, v = leaf(), leaf()
    u.register_hook(hook)
    (u * v * K).sum().backward()
    return [v.grad]


def chain(hook: Hook) -> list[Tensor | None]:
    u = leaf()
    a = u.view(2, 1)
    a.register_hook(hook)
    (a.view(2) * K).sum().backward()
    return []


def different_dtype(hook: Hook) -> list[Tensor | None]:
    u, v = leaf(), torch.ones(2, requires_grad=True, dtype=torch.float64)
    u.register_hook(hook)
    ((u + v) * K).sum().backward()
    return [v.grad]


def broadcast(hook: Hook) -> list[Tensor | None]:
    u, v = leaf(), leaf(1)
    u.register_hook(hook)
    ((u + v) * K).sum().backward()
    return [v.grad]


def node_prehook(hook: Hook) -> list[Tensor | None]:
    u, v = leaf(), leaf()
    a = v * 1
    b = u * 1
    assert b.grad_fn is not None

    def before(grads: tuple[Tensor, ...]) -> Any:
        new = hook(grads[0])
        return None if new is None else (new,)

    b.grad_fn.register_prehook(before)
    ((b + a) * K).sum().backward()
    return [v.grad]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.inner(x)
        return result


def modules(register: str) -> Program:
    def program(hook: Hook) -> list[Tensor | None]:
        torch.manual_seed(0)
        model = Residual()

        def before(module: nn.Module, grad_output: tuple[Tensor, ...]) -> Any:
            new = hook(grad_output[0])
            return None if new is None else (new,)

        def after(module: nn.Module, grad_input: tuple[Tensor, ...], grad_output: Any) -> Any:
            new = hook(grad_input[0])
            return None if new is None else (new,)

        if register == "before":
            model.inner.register_full_backward_pre_hook(before)
        else:
            model.inner.register_full_backward_hook(after)
        w = leaf(3, 2)
        x = w * 1
        (model(x) * K).sum().backward()
        return [w.grad]

    program.__name__ = f"modules_{register}"
    return program


def gradients_asked_for(hook: Hook) -> list[Tensor | None]:
    u, v = leaf(), leaf()
    v.register_hook(hook)
    return [torch.autograd.grad(((u + v) * K).sum(), [u, v])[0]]


def gradient_of_the_sum_asked_for(hook: Hook) -> list[Tensor | None]:
    u, v = leaf(), leaf()
    h = u + v
    v.register_hook(hook)
    return [torch.autograd.grad((h * K).sum(), [h, v])[0]]


def accumulation(hook: Hook) -> list[Tensor | None]:
    u, v = leaf(), leaf()
    v.register_hook(hook)
    for _ in range(2):
        ((u.view(2, 1) + v.view(2, 1)) * K.view(2, 1)).sum().backward()
    return [u.grad]


def retained(hook: Hook) -> list[Tensor | None]:
    u, v = leaf(), leaf()
    a = v * 1
    a.retain_grad()
    b = u * 1
    b.register_hook(hook)
    ((b + a) * K).sum().backward()
    return [a.grad, v.grad]


def one_side_constant(hook: Hook) -> list[Tensor | None]:
    u = leaf()
    u.register_hook(hook)
    ((u + torch.ones(2)) * K).sum().backward()
    return []


PROGRAMS: list[Program] = [
    addition,
    older_side_hooked_through_views,
    younger_side_hooked_through_views,
    subtraction_first_side,
    three_sides,
    residual,
    expanded,
    concatenated,
    concatenated_beside_another,
    multiplied,
    chain,
    different_dtype,
    broadcast,
    node_prehook,
    modules("before"),
    modules("after"),
    gradients_asked_for,
    gradient_of_the_sum_asked_for,
    accumulation,
    retained,
    one_side_constant,
]
CORRUPTED = {
    "addition",
    "younger_side_hooked_through_views",
    "three_sides",
    "residual",
    "expanded",
    "concatenated_beside_another",
    "node_prehook",
    "modules_before",
    "gradients_asked_for",
    "gradient_of_the_sum_asked_for",
    "retained",
}


def same(one: list[Tensor | None], other: list[Tensor | None]) -> bool:
    return all(
        a is not None and b is not None and torch.equal(a, b)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.__name__)
def test_it_is_found_exactly_where_other_gradients_change(program: Program) -> None:
    right = program(returned)
    with ht.trace() as t:
        got = program(in_place)
    found = t.findings([RULE])
    assert bool(found) is not same(got, right), [str(one) for one in found]
    for one in found:
        assert one.severity == "error"
        assert not one.possible


def test_the_programs_hold_both_kinds() -> None:
    corrupted = {one.__name__ for one in PROGRAMS if not same(one(in_place), one(returned))}
    assert corrupted >= CORRUPTED
    assert len(PROGRAMS) - len(corrupted) > 5


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.__name__)
def test_a_hook_that_returns_corrupts_nothing(program: Program) -> None:
    with ht.trace() as t:
        program(returned)
    assert not t.findings([RULE])


def test_the_finding_names_hook_victim_and_true_value() -> None:
    u, v = leaf(1), leaf(1)
    u.register_hook(in_place)
    with ht.trace() as t:
        ((u + v) * 2).sum().backward()
    assert v.grad is not None
    assert v.grad.item() == 20
    (found,) = t.findings([RULE])
    assert "in_place on u" in found.message
    assert "the gradient of v too" in found.message
    assert found.evidence == ("v was sent [2], which became [20] (x10)",)
    assert found.source.split("/")[-1].startswith("test_shared_gradient_corruption.py:")
    (told,) = t.of(GradientOverwritten)
    assert told.before.numbers == (2.0,)
    assert told.seq in found.events


def test_of_a_part_that_is_hit_the_true_value_is_told() -> None:
    w, u, v = leaf(4), leaf(), leaf()
    z = w * 1
    a = u * 1
    joined = torch.cat([v, a])
    a.register_hook(in_place)
    with ht.trace() as t:
        ((joined + z) * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    (found,) = t.findings([RULE])
    assert "the gradient of z too" in found.message
    assert found.evidence[0].startswith("z was sent [1, 2, 3, 4], which became [1, 2, 30, 40]")


def test_two_hooks_that_clamp_find_each_others_work_done() -> None:
    def clamp(grad: Tensor) -> None:
        grad.clamp_(-1, 1)

    u, v = leaf(), leaf()
    u.register_hook(clamp)
    v.register_hook(clamp)
    with ht.trace() as t:
        ((u + v) * K).sum().backward()
    assert not t.findings([RULE])


def test_a_write_that_changes_no_number_corrupts_nothing() -> None:
    u, v = leaf(), leaf()
    u.register_hook(lambda grad: grad.clamp_(-100, 100))
    with ht.trace() as t:
        ((u + v) * K).sum().backward()
    assert not t.findings([RULE])


def test_a_large_gradient_is_possible_only_for_it_is_not_copied() -> None:
    u, v = leaf(600, 600), leaf(600, 600)
    u.register_hook(in_place)
    with ht.trace() as t:
        ((u + v) * 2).sum().backward()
    (found,) = t.findings([RULE])
    assert found.severity == "warning"
    assert "larger than 1 MiB" in found.possible


def test_small_numbers_are_enough_where_nothing_is_copied() -> None:
    u, v = leaf(), leaf()
    u.register_hook(in_place)
    with ht.trace(edits="versions") as t:
        ((u + v) * K).sum().backward()
    (found,) = t.findings([RULE])
    assert not found.possible
    assert found.evidence == ("v was sent [2, 3], which became [20, 30]",)


def test_a_post_accumulate_hook_may_hit_a_gradient_that_shares_memory() -> None:
    u, v = leaf(), leaf()

    def double(param: Tensor) -> None:
        assert param.grad is not None
        param.grad.mul_(2)

    v.register_post_accumulate_grad_hook(double)
    with ht.trace() as t:
        ((u.view(2, 1) + v.view(2, 1)) * K.view(2, 1)).sum().backward()
    assert u.grad is not None
    assert u.grad.tolist() == [4, 6]  # PyTorch let both .grad share their memory
    (found,) = t.findings([RULE])
    assert "which leads to u" in found.message
