"""Where an output's gradient does not simply arrive at a node that its call made.

Oracles: full backward hooks on a twin that is written without aliases and in-place writes, and
``autograd.grad`` with respect to the tensors of that twin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht


class Sub(nn.Module):
    """A part whose forward is given."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Any) -> Any:
        return self.function(*tensors)


class Net(nn.Module):
    """Calls one part, in a way that is given."""

    def __init__(self, part: nn.Module, run: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.part = part
        self.run = run

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self.part, x)


def traced(net: nn.Module, *inputs: torch.Tensor) -> Any:
    with ht.trace(net, keep=True) as t:
        net(*inputs).sum().backward()
    return t


def by_full_backward_hooks(net: Net, *inputs: torch.Tensor) -> list[tuple[Any, Any]]:
    """grad_input and grad_output of each call of the part, in the order of the calls."""
    found: list[Any] = []
    net.part.register_full_backward_hook(lambda m, *gradients: found.append(gradients))
    net(*inputs).sum().backward()
    return found[::-1]


def notes(call: Any) -> dict[str, str]:
    return call.runs[-1].notes


WEIGHT = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def leaf(*shape: int) -> torch.Tensor:
    return torch.randn(*shape or (2, 2), requires_grad=True)


# ------------------------------------------------------------------ outputs that a call uses itself


def attention(x: torch.Tensor) -> Any:
    weights = (x * 2).softmax(-1)
    return weights @ x, weights


def features(x: torch.Tensor) -> Any:
    first = x * 2
    second = first.exp()
    return first, second, second.tanh()


@pytest.mark.parametrize(
    ("function", "run"),
    [
        (attention, lambda part, x: part(x * 3)[0] * WEIGHT),
        (attention, lambda part, x: sum(one * WEIGHT for one in part(x * 3))),
        (attention, lambda part, x: part(x * 3)[1] * WEIGHT),
        (features, lambda part, x: sum((one * WEIGHT).sin() for one in part(x * 3))),
        (features, lambda part, x: part(x * 3)[2] * part(x * 5)[0]),
    ],
)
def test_what_a_call_itself_makes_of_its_output_is_not_what_comes_from_outside(
    function: Any, run: Any
) -> None:
    x = leaf()
    expected = by_full_backward_hooks(Net(Sub(function), run), x.detach().clone().requires_grad_())
    calls = traced(Net(Sub(function), run), x).calls("part")
    assert len(calls) == len(expected)
    for call, (grad_input, grad_output) in zip(calls, expected, strict=True):
        assert notes(call) == {}
        for mine, theirs in zip(call.grad_outputs, grad_output, strict=True):
            if theirs is None:
                assert mine is None or not mine.any()
            else:
                assert torch.equal(mine, theirs)
        assert torch.equal(call.grad_input, grad_input[0])


def test_a_tensor_that_is_returned_twice_has_the_sum_and_a_note() -> None:
    def twice(x: torch.Tensor) -> Any:
        y = x.exp()
        return y, y

    t = traced(Net(Sub(twice), lambda part, x: part(x)[0] * WEIGHT + part(x)[1] * 2), leaf())
    first, second = t.calls("part")
    for one, expected in ((first, WEIGHT), (second, torch.full((2, 2), 2.0))):
        assert torch.equal(one.grad_outputs[0], expected)
        assert torch.equal(one.grad_outputs[1], expected)
        assert "returned several times" in notes(one)["grad_output[0]"]
        assert "returned several times" in notes(one)["grad_output[1]"]


def test_where_a_backward_begins_at_such_an_output_the_note_says_what_is_included() -> None:
    net = Net(Sub(features), lambda part, x: part(x))
    x = leaf()
    with ht.trace(net, keep=True) as t:
        first, second, _ = net(x)
        (first.sum() + second.sum()).backward(retain_graph=True)
        torch.autograd.backward([first, second], [WEIGHT, WEIGHT])
    early, late = t["part"].runs
    assert early.notes == {}
    assert "included" in late.notes["grad_output[0]"]
    assert torch.equal(early.grad_outputs[0], torch.ones(2, 2))


# ------------------------------------------------------------------ arguments returned as they are


def test_a_pass_through_module_whose_tensor_nobody_else_uses_is_exact() -> None:
    net = Net(nn.Identity(), lambda part, x: part(x * 3) * WEIGHT)
    x = leaf()
    ((grad_input, grad_output),) = [
        (i[0], o[0])
        for i, o in by_full_backward_hooks(
            Net(nn.Identity(), net.run), x.detach().clone().requires_grad_()
        )
    ]
    call = traced(net, x)["part"]
    assert torch.equal(call.grad_output, grad_output)
    assert torch.equal(call.grad_input, grad_input)
    assert notes(call) == {}


def test_what_used_the_tensor_before_a_pass_through_module_is_not_counted() -> None:
    def run(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        hidden = x * 3
        branch = hidden * 100
        return branch + part(hidden) * WEIGHT

    x = leaf()
    twin = Net(nn.Identity(), run)
    ((grad_input,), (grad_output,)) = by_full_backward_hooks(
        twin, x.detach().clone().requires_grad_()
    )[0]
    call = traced(Net(nn.Identity(), run), x)["part"]
    assert torch.equal(call.grad_output, grad_output)
    assert torch.equal(call.grad_input, grad_input)
    assert notes(call) == {}


def test_several_users_after_a_pass_through_module_are_summed_and_noted() -> None:
    def run(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        hidden = x * 3
        return part(hidden) * WEIGHT + hidden * 100

    call = traced(Net(nn.Identity(), run), leaf())["part"]
    assert torch.equal(call.grad_output, WEIGHT + 100)
    for role in ("grad_output[0]", "grad_input[0]"):
        assert "2 users after the call" in notes(call)[role]


def test_a_chain_of_pass_through_modules_has_one_gradient() -> None:
    chain = nn.Sequential(nn.Identity(), nn.Dropout(0.5), nn.Identity()).eval()
    net = Net(chain, lambda part, x: part(x * 3) * WEIGHT)
    t = traced(net, leaf())
    for name in ("part", "part.0", "part.1", "part.2"):
        assert torch.equal(t[name].grad_output, WEIGHT), name
        assert torch.equal(t[name].grad_input, WEIGHT), name


def test_a_module_that_returns_its_input_and_also_uses_it() -> None:
    def part(x: torch.Tensor) -> Any:
        return x, x.square()

    def run(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        same, squared = part(x * 3)
        return same * WEIGHT + squared * 10

    x = leaf()
    twin = Net(Sub(part), run)
    (grad_input,), grad_outputs = by_full_backward_hooks(twin, x.detach().clone().requires_grad_())[
        0
    ]
    call = traced(Net(Sub(part), run), x)["part"]
    for mine, theirs in zip(call.grad_outputs, grad_outputs, strict=True):
        assert torch.equal(mine, theirs)
    assert torch.allclose(call.grad_input, grad_input)


def test_a_leaf_that_passes_through() -> None:
    net = Net(nn.Identity(), lambda part, x: part(x) * WEIGHT)
    call = traced(net, leaf())["part"]
    assert torch.equal(call.grad_output, WEIGHT)
    assert torch.equal(call.grad_input, WEIGHT)


def test_an_output_that_is_a_parameter() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 2))

        def forward(self) -> torch.Tensor:
            return self.weight

    net = Net(Table(), lambda part, x: part() * x)
    x = leaf()
    call = traced(net, x)["part"]
    assert torch.equal(call.grad_output, x)
    assert torch.equal(net.part.weight.grad, x)


def test_autograd_grad_with_respect_to_what_passed_through() -> None:
    x = leaf()
    part = nn.Identity()
    with ht.trace(part, keep=True) as t:
        hidden = x * 3
        (gradient,) = torch.autograd.grad((part(hidden) * WEIGHT).sum(), hidden)
    assert torch.equal(gradient, WEIGHT)
    assert torch.equal(t["Identity"].grad_output, WEIGHT)
    assert torch.equal(t["Identity"].grad_input, WEIGHT)


# ------------------------------------------------------------------ one tensor several times


def test_one_tensor_passed_three_times_shows_the_sum_and_says_so() -> None:
    part = Sub(lambda q, k, v: q * 1 + k * 10 + v * 100)
    call = traced(Net(part, lambda part, x: part(*[x * 3] * 3)), leaf())["part"]
    for place, gradient in enumerate(call.grad_inputs):
        assert torch.equal(gradient, torch.full((2, 2), 111.0))
        assert "3 times" in notes(call)[f"grad_input[{place}]"]


# ------------------------------------------------------------------ views


def flat(x: torch.Tensor) -> torch.Tensor:
    return (x * 3).view(-1)


def slice_of(x: torch.Tensor) -> torch.Tensor:
    return (x * 3)[0]


def columns(x: torch.Tensor) -> torch.Tensor:
    return (x * 3).t()[1:]


def expanded(x: torch.Tensor) -> torch.Tensor:
    return (x * 3).unsqueeze(0)


@pytest.mark.parametrize("make", [flat, slice_of, columns, expanded])
@pytest.mark.parametrize("read_before", [False, True])
def test_an_output_that_is_a_view_and_is_written_to_later(make: Any, read_before: bool) -> None:
    x = leaf()
    weight = torch.randn(make(x).shape)

    def run(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        view = part(x)
        before = view * 7 if read_before else torch.zeros(())
        view.mul_(weight)
        return before.sum() + (view * weight).sum()

    t = traced(Net(Sub(make), run), x)
    view = make(x).detach().requires_grad_()
    score = (view.sum() * 7 if read_before else 0) + (view * weight * weight).sum()
    (expected,) = torch.autograd.grad(score, view)
    assert torch.allclose(t["part"].grad_output, expected)
    twin = make(x)
    (grad_input,) = torch.autograd.grad(twin, x, expected)
    assert torch.allclose(t["part"].grad_input, grad_input)
    assert torch.allclose(x.grad, grad_input)


def test_a_view_whose_base_is_written_to_later() -> None:
    kept: list[torch.Tensor] = []

    def make(x: torch.Tensor) -> torch.Tensor:
        base = x * 3
        kept.append(base)
        return base[0]

    def run(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        view = part(x)
        kept.pop()[:, 0].mul_(5)
        return view * WEIGHT[0]

    t = traced(Net(Sub(make), run), leaf())
    assert torch.equal(t["part"].grad_output, torch.tensor([5.0, 2.0]))


def test_a_view_that_nobody_writes_to_is_left_as_it_is() -> None:
    t = traced(Net(Sub(flat), lambda part, x: part(x) * torch.arange(4.0)), leaf())
    assert torch.equal(t["part"].grad_output, torch.arange(4.0))


@pytest.mark.parametrize("returned", [True, False])
def test_a_module_that_writes_to_a_view_it_was_given(returned: bool) -> None:
    def double(view: torch.Tensor) -> Any:
        view.mul_(2)
        view.add_(1)
        return view if returned else None

    def run(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        base = x * 3
        part(base[0])
        return base * WEIGHT

    call = traced(Net(Sub(double), run), leaf())["part"]
    assert torch.equal(call.grad_input, 2 * WEIGHT[0])
    if returned:
        assert torch.equal(call.grad_output, WEIGHT[0])


def test_a_module_that_writes_to_an_argument_that_is_no_view() -> None:
    def run(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        hidden = x * 3
        part(hidden)
        return hidden * WEIGHT

    call = traced(Net(Sub(lambda x: x.mul_(2)), run), leaf())["part"]
    assert torch.equal(call.grad_input, 2 * WEIGHT)
    assert torch.equal(call.grad_output, WEIGHT)


# ------------------------------------------------------------------ casts that autocast keeps


def test_each_module_has_its_own_share_of_a_leaf_that_autocast_casts_once() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Linear(2, 2)
            self.right = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.left(x).float() + self.right(x).float() * 2

    net, x = Two(), leaf()
    with ht.trace(net, keep=True) as t, torch.autocast("cpu", dtype=torch.bfloat16):
        net(x).sum().backward()
    for name, factor in (("left", 1.0), ("right", 2.0)):
        half = x.detach().to(torch.bfloat16).requires_grad_()
        weight = net.get_submodule(name).weight.detach().to(torch.bfloat16)
        (expected,) = torch.autograd.grad((half @ weight.t()).float().sum() * factor, half)
        assert torch.equal(t[name].grad_input, expected.float()), name
    assert torch.allclose(
        t["left"].grad_input + t["right"].grad_input, x.grad, rtol=1e-2, atol=1e-2
    )


def test_a_cast_that_one_module_makes_for_itself_is_its_own() -> None:
    part = Sub(lambda x: (x.to(torch.bfloat16) * 3).float())
    x = leaf()
    call = traced(Net(part, lambda part, x: part(x)), x)["part"]
    assert torch.equal(call.grad_input, x.grad)
    assert call.grad_input.dtype == torch.float32


# ------------------------------------------------------------------ other kinds of tensors


@dataclass
class Pair:
    first: torch.Tensor
    second: torch.Tensor


def test_outputs_in_a_dataclass() -> None:
    part = Sub(lambda x: Pair(x * 2, x * 3))

    def run(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        pair = part(x * 1)
        return pair.first * WEIGHT + pair.second * 10

    call = traced(Net(part, run), leaf())["part"]
    assert [one.role for one in call.seen_outputs] == ["output.first", "output.second"]
    assert torch.equal(call.grad_outputs[0], WEIGHT)
    assert torch.equal(call.grad_outputs[1], torch.full((2, 2), 10.0))
    assert torch.equal(call.grad_input, 2 * WEIGHT + 30)


def test_complex_tensors() -> None:
    def run(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return part(x * 1j).abs()

    x = leaf()
    twin = Net(Sub(lambda z: z * (1 + 2j)), run)
    ((grad_input,), (grad_output,)) = by_full_backward_hooks(
        twin, x.detach().clone().requires_grad_()
    )[0]
    call = traced(Net(Sub(lambda z: z * (1 + 2j)), run), x)["part"]
    assert call.grad_output.is_complex()
    assert torch.equal(call.grad_output, grad_output)
    assert torch.equal(call.grad_input, grad_input)


def test_a_sparse_gradient() -> None:
    net = Net(nn.Embedding(5, 2, sparse=True), lambda part, x: part(x) * WEIGHT)
    with ht.trace(net, keep=True) as t:
        net(torch.tensor([1, 3])).sum().backward()
    assert torch.equal(t["part"].grad_output, WEIGHT)
    (filled,) = t.of(ht.events.GradientAccumulated)
    assert filled.after.summary.shape == (5, 2)
    assert net.part.weight.grad.is_sparse


def shapes_of_gradients(call: Any) -> dict[str, tuple[int, ...]]:
    return {one.gradient.role: one.gradient.summary.shape for one in call.gradients}


def test_a_sparse_argument_and_output_have_gradients_that_are_described_but_not_copied() -> None:
    def run(part: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return part(x.to_sparse()).to_dense() * WEIGHT

    call = traced(Net(Sub(lambda s: s * 3 + s), run), (torch.eye(2) * 2).requires_grad_())["part"]
    assert shapes_of_gradients(call) == {"grad_output[0]": (2, 2), "grad_input[0]": (2, 2)}
    with pytest.raises(ht.errors.NotKeptError, match="sparse"):
        call.grad_output.to_dense()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_jagged_tensors_have_gradients_that_are_described_but_not_copied() -> None:
    parts = [torch.randn(2, 3), torch.randn(4, 3)]
    nested = torch.nested.nested_tensor(parts, layout=torch.jagged, requires_grad=True)
    net = nn.Sequential(nn.Linear(3, 2), Sub(lambda x: x * 2 + x * 3))
    with ht.trace(net, keep=True) as t:
        net(nested * 1).values().sum().backward()
    assert shapes_of_gradients(t["0"]) == {
        "grad_output[0]": (2, -1, 2),
        "grad_input[0]": (2, -1, 3),
    }
    assert shapes_of_gradients(t["1"]) == {
        "grad_output[0]": (2, -1, 2),
        "grad_input[0]": (2, -1, 2),
    }
    twin = torch.cat(parts).requires_grad_()
    (expected,) = torch.autograd.grad(net(twin).sum(), twin)
    assert torch.allclose(nested.grad.values(), expected)
