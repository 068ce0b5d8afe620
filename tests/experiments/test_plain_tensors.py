"""Experiments on plain tensors: what PyTorch gives, and what the trace says about it."""

from __future__ import annotations

import pytest
import torch

import hooktrace as ht
from hooktrace.events import (
    BackwardFinished,
    BackwardStarted,
    GradientAccumulated,
    GradientComputed,
    GradientRetained,
    HookFired,
    HookRegistered,
)


def names(t: ht.Trace) -> dict[int, str]:
    return {row.id: row.name for row in t.log.tensors}


def gradients(t: ht.Trace) -> dict[str, tuple[float, ...]]:
    """The gradient that arrived for each named tensor."""
    found = {}
    for event in t.of(GradientComputed):
        if event.tensor is not None:
            found[names(t)[event.tensor]] = event.gradient.numbers
    return found


def test_a_product_of_sums_leaves_gradients_on_leaves_only() -> None:
    w = torch.tensor([1.0], requires_grad=True)
    x = torch.tensor([2.0], requires_grad=True)
    appended: list[torch.Tensor] = []
    with ht.trace() as t:
        a = w + x
        b = w + 1
        y = a * b
        a.register_hook(appended.append)
        y.backward()

    assert w.grad.tolist() == [5.0]
    assert x.grad.tolist() == [2.0]
    assert [one.tolist() for one in appended] == [[2.0]]
    for tensor in (a, b, y):
        with pytest.warns(UserWarning, match="not a leaf"):
            assert tensor.grad is None

    assert [t[name].value.numbers for name in "wxaby"] == [(1.0,), (2.0,), (3.0,), (2.0,), (6.0,)]
    assert [t[name].operation for name in "wxaby"] == [
        "",
        "",
        "AddBackward0",
        "AddBackward0",
        "MulBackward0",
    ]
    assert gradients(t)["y"] == (1.0,)
    assert gradients(t)["a"] == (2.0,)
    assert gradients(t)["b"] == (3.0,)

    filled = {names(t)[event.tensor]: event for event in t.of(GradientAccumulated)}
    assert set(filled) == {"w", "x"}
    assert filled["w"].before is None
    assert filled["w"].after.numbers == (5.0,)
    assert filled["x"].after.numbers == (2.0,)
    assert t["w"].grad.numbers == (5.0,)
    assert t["a"].grad is None
    assert t.edits == []


def test_the_hook_on_a_fires_after_the_product_and_before_the_leaves() -> None:
    w = torch.tensor([1.0], requires_grad=True)
    x = torch.tensor([2.0], requires_grad=True)
    with ht.trace() as t:
        a = w + x
        b = w + 1
        y = a * b
        a.register_hook(lambda grad: None)
        y.backward()
    (fired,) = t.of(HookFired)
    (registered,) = t.of(HookRegistered)
    (started,) = t.of(BackwardStarted)
    (finished,) = t.of(BackwardFinished)
    hook = t.hooks[fired.hook]
    assert (hook.kind, hook.owner, hook.name) == ("tensor", "a", "<lambda>")
    assert hook.registered_at.rpartition(":")[0] == __file__
    assert [one.numbers for one in fired.inputs] == [(2.0,)]
    filled = [event.seq for event in t.of(GradientAccumulated)]
    assert registered.seq < started.seq < fired.seq < min(filled) <= max(filled) < finished.seq
    assert started.accumulates
    assert started.roots[0].numbers == (6.0,)


def test_a_retained_gradient_is_the_one_that_a_hook_sees() -> None:
    w = torch.tensor([1.0], requires_grad=True)
    x = torch.tensor([2.0], requires_grad=True)
    with ht.trace() as t:
        a = w + x
        b = w + 1
        a.retain_grad()
        y = a * b
        y.backward()
    assert a.grad.tolist() == [2.0]
    (retained,) = t.of(GradientRetained)
    assert names(t)[retained.tensor] == "a"
    assert retained.gradient.numbers == (2.0,)
    assert t["a"].grad.numbers == (2.0,)
    order = {names(t)[event.tensor]: event.seq for event in t.of(GradientAccumulated)}
    assert retained.seq < order["x"]
    assert retained.seq < order["w"]


def test_a_hook_that_doubles_in_place_and_returns_the_triple_explains_30() -> None:
    w = torch.tensor([1.0], requires_grad=True)
    x = torch.tensor([2.0], requires_grad=True)

    def double_then_triple(grad: torch.Tensor) -> torch.Tensor:
        grad *= 2
        return grad * 3

    with ht.trace() as t:
        a = w + x
        b = w + 1
        y = a * b
        w.register_hook(double_then_triple)
        y.backward()

    assert w.grad.tolist() == [30.0]
    assert x.grad.tolist() == [2.0]
    first, second = t.edits
    assert [first.how, second.how] == ["in_place", "returned"]
    assert [first.factor, second.factor] == [2.0, 3.0]
    assert first.before.tolist() == [5.0]
    assert first.after.tolist() == [10.0]
    assert second.before.tolist() == [10.0]
    assert second.after.tolist() == [30.0]
    assert first.role == second.role == "grad"
    where = "tensor hook double_then_triple on w: grad"
    assert str(first) == f"{where} [5] -> [10] (in place, x2)"
    assert str(second) == f"{where} [10] -> [30] (returned, x3; together x6)"
    (fired,) = t.of(HookFired)
    assert fired.inputs[0].numbers == (5.0,)
    assert {names(t)[one.tensor]: one.after.numbers for one in t.of(GradientAccumulated)} == {
        "x": (2.0,),
        "w": (30.0,),
    }


def test_without_copies_the_edits_are_seen_but_not_measured() -> None:
    w = torch.ones(20, requires_grad=True)

    def double_then_triple(grad: torch.Tensor) -> torch.Tensor:
        grad *= 2
        return grad * 3

    with ht.trace(edits="versions") as t:
        w.register_hook(double_then_triple)
        (w * 5).sum().backward()
    assert w.grad.tolist() == [30.0] * 20
    first, second = t.edits
    assert [first.how, second.how] == ["in_place", "returned"]
    assert [first.factor, second.factor] == [None, None]
    assert "edits='versions'" in first.change.reason


def test_the_gradient_of_a_mean_of_roots_has_its_closed_form() -> None:
    x = torch.tensor([[1.0], [2.0], [3.0]], requires_grad=True)
    seen: list[torch.Tensor] = []
    with ht.trace() as t:
        y = x + 3
        z = torch.mean(torch.sqrt(y))
        y.register_hook(seen.append)
        z.backward()
    expected = 1 / (6 * torch.sqrt(y.detach()))
    assert torch.allclose(seen[0], expected, rtol=0, atol=1e-7)
    assert torch.allclose(x.grad, expected, rtol=0, atol=1e-7)
    (fired,) = t.of(HookFired)
    assert fired.inputs[0].summary.shape == (3, 1)
    assert fired.inputs[0].numbers == tuple(seen[0].flatten().tolist())
    assert gradients(t)["y"] == fired.inputs[0].numbers
    assert t["x"].grad.numbers == tuple(x.grad.flatten().tolist())
    assert t["z"].operation == "MeanBackward0"


def test_a_step_by_hand_through_data_is_not_seen_as_a_write_of_autograd() -> None:
    x = torch.tensor([[1.0], [2.0], [3.0]], requires_grad=True)
    with ht.trace() as t:
        z = torch.mean(torch.sqrt(x + 3))
        z.backward()
        before = x.detach().clone()
        x.data -= 0.5 * x.grad.data
    assert torch.equal(x.detach(), before - 0.5 * x.grad)
    assert x.is_leaf
    assert t.writes() == []  # `.data` has a version counter of its own
    assert t["x"].value.numbers == (1.0, 2.0, 3.0)


def test_gradients_add_up_over_two_runs_and_the_trace_shows_before_and_after() -> None:
    w = torch.tensor([1.0], requires_grad=True)
    with ht.trace() as t:
        (w * 2).backward()
        (w * 3).backward()
    assert w.grad.tolist() == [5.0]
    first, second = t.of(GradientAccumulated)
    assert (first.before, first.after.numbers) == (None, (2.0,))
    assert (second.before.numbers, second.arrived.numbers, second.after.numbers) == (
        (2.0,),
        (3.0,),
        (5.0,),
    )
    assert [event.backward for event in (first, second)] == [0, 1]


def test_autograd_grad_fills_nothing_and_says_so() -> None:
    w = torch.tensor([1.0], requires_grad=True)
    with ht.trace() as t:
        (gradient,) = torch.autograd.grad(w * 2, w)
    assert gradient.tolist() == [2.0]
    assert w.grad is None
    assert t.of(GradientAccumulated) == []
    assert not t.of(BackwardStarted)[0].accumulates


def test_a_gradient_asked_for_too_early_says_what_to_do() -> None:
    w = torch.tensor([1.0], requires_grad=True)
    with ht.trace() as t:
        y = w * 2
    y.backward()
    with pytest.raises(ht.errors.NoGradientError, match="No backward ran inside the block"):
        _ = t["w"].grad
