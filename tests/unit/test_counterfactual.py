"""What would be different without a hook: closed forms, and runs that really are without it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.modules.module as every_module
from every_kind import CASES, World, remove
from torch import nn
from torch.utils.checkpoint import checkpoint

import hooktrace as ht
from hooktrace.errors import (
    TraceStateError,
    UnknownNameError,
    UnsupportedHookError,
    UnsupportedModuleError,
)

pytestmark = pytest.mark.filterwarnings("ignore:Using a non-full backward hook:FutureWarning")


@pytest.fixture(autouse=True)
def no_hook_on_every_module() -> Iterator[None]:
    """PyTorch remembers for ever that there once was a full backward hook on every module."""
    yield
    every_module._global_is_full_backward_hook = None


def line(weight: float = 2.0) -> nn.Linear:
    """Return y = weight * x."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, weight)
    return net


def triple(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
    return output * 3


def plus_one(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
    return output + 1


def halve(grad: torch.Tensor) -> torch.Tensor:
    return grad / 2


def listen(*_: Any) -> None:
    """Change nothing."""


X = torch.tensor([[5.0]])


def rows(found: ht.Counterfactual) -> list[tuple[str, str, str, str]]:
    return [(one.what, one.name, one.before, one.after) for one in found.records]


# ------------------------------------------------------------------ what is measured


def test_a_forward_hook_changes_loss_output_gradient_parameter_as_computed_by_hand() -> None:
    net = line()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net.register_forward_hook(triple)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = net(X).sum()
        loss.backward()
        optimizer.step()
        return loss

    found = ht.counterfactual(step, off=["triple"], state=[net, optimizer])
    assert rows(found) == [
        ("loss", "", "30", "10"),  # 3 * 2 * 5, and 2 * 5
        ("output", "Linear", "[30]", "[10]"),
        ("gradient", "weight", "[15]", "[5]"),
        ("parameter", "weight", "[0.5]", "[1.5]"),  # 2 - 0.1 * 15, and 2 - 0.1 * 5
    ]
    gradient = found.of("gradient")[0]
    assert gradient.change.factor == pytest.approx(1 / 3, rel=1e-6)
    assert (gradient.max_difference, gradient.relative) == (10.0, pytest.approx(2 / 3))
    assert not found.equal
    assert found.fired == 1
    assert [hook.name for hook in found.off] == ["triple"]
    assert str(found).startswith("Without triple the loss is 10 instead of 30; the one output of a")


def test_a_hook_that_changes_nothing_makes_no_difference() -> None:
    net = line()
    net.register_forward_hook(listen)
    found = ht.counterfactual(lambda: net(X).sum().backward(), off="listen", state=net)
    assert found.equal
    assert found.records == ()
    assert str(found) == (
        "Without listen nothing is different, bit for bit: the loss, 1 output of a module, "
        "1 gradient and 1 parameter."
    )


def test_a_hook_that_did_not_fire_is_said_to_have_not_fired() -> None:
    net = nn.Sequential(line(), line())
    net[1].register_forward_hook(triple)
    found = ht.counterfactual(lambda: net[0](X), off="triple", state=net)
    assert found.fired == 0
    assert found.equal
    assert "It did not fire in this step." in str(found)


def test_what_the_step_returns_is_compared_whatever_it_is() -> None:
    net = line()
    net.register_forward_hook(triple)

    def step() -> Any:
        y = net(X)
        return {"y": y, "n": 7, "value": float(y.detach()), "text": f"{float(y.detach())}"}

    found = ht.counterfactual(step, off="triple", state=net)
    returned = [(one.name, one.before, one.after) for one in found.of("returned")]
    assert returned == [
        ("['y']", "[30]", "[10]"),
        ("['value']", "30", "10"),
        ("['text']", "'30.0'", "'10.0'"),
    ]
    assert found.totals["returned"] == 4


def test_gradients_are_compared_also_where_the_step_clears_them_at_its_end() -> None:
    net = line()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    net.weight.register_hook(halve)

    def step() -> None:
        net(X).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    found = ht.counterfactual(step, off="halve", state=[net, optimizer])
    assert rows(found) == [("gradient", "weight", "[2.5]", "[5]")]


def test_a_gradient_of_before_that_the_step_clears_first_is_none_of_its_gradients() -> None:
    net = nn.ModuleDict({"a": line(), "b": line()})
    net["b"](X).sum().backward()
    net["a"].register_forward_hook(triple)

    def step() -> None:
        net.zero_grad()
        net["a"](X).sum().backward()

    found = ht.counterfactual(step, off="triple", state=net)
    assert found.totals["gradient"] == 1


def test_several_losses_are_told_apart() -> None:
    net = line()
    net.register_forward_hook(triple)

    def step() -> None:
        net(X).sum().backward()
        (net(X).sum() * 2).backward()

    found = ht.counterfactual(step, off="triple", state=net)
    assert rows(found)[:2] == [("loss", "[0]", "30", "10"), ("loss", "[1]", "60", "20")]


def test_the_loss_inside_a_checkpoint_is_no_loss_of_the_step() -> None:
    net = line()
    net.register_forward_hook(triple)
    x = X.clone().requires_grad_()

    def step() -> None:
        checkpoint(net, x, use_reentrant=True).sum().backward()

    found = ht.counterfactual(step, off="triple", state=[net, x])
    assert [(one.before, one.after) for one in found.of("loss")] == [("30", "10")]
    assert ("gradient", "weight", "[15]", "[5]") in rows(found)


def test_several_models_and_loose_tensors_are_named() -> None:
    one, other = line(), line()
    scale = torch.ones(1, requires_grad=True)
    one.register_forward_hook(triple)

    def step() -> None:
        (other(one(X)) * scale).sum().backward()

    found = ht.counterfactual(step, off="triple", state=[one, other, scale])
    names = {one.name for one in found.of("gradient")}
    assert names == {"Linear.weight", "Linear-2.weight", "scale"}


def test_all_values_of_one_kind_are_ranked_and_rounding_comes_last() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))  # which makes the first bias useless
    net[0].register_forward_hook(triple)
    x = torch.randn(6, 3)
    target = torch.randn(6, 4)
    step = lambda: ((net(x) - target) ** 2).mean().backward()  # noqa: E731
    found = ht.counterfactual(step, off="triple", state=net)
    assert len(found.of("gradient")) == 4
    bias = next(one for one in found.of("gradient") if one.name == "0.bias")
    assert bias.size == max(one.size for one in found.of("gradient"))
    assert "the most 0.bias" not in str(found)


# ------------------------------------------------------------------ which hooks


def test_of_several_hooks_the_others_keep_their_order() -> None:
    net = line()
    net.register_forward_hook(plus_one)
    net.register_forward_hook(triple)
    net.register_forward_hook(plus_one, prepend=True)
    found = ht.counterfactual(lambda: net(X).sum(), off="triple", state=net)
    assert rows(found)[0] == ("returned", "", "36", "12")  # ((10 + 1) + 1) * 3, without * 3
    found = ht.counterfactual(lambda: net(X).sum(), off=["plus_one"], state=net)
    assert rows(found)[0] == ("returned", "", "36", "30")
    assert len(found.off) == 2
    assert [one.__name__ for one in net._forward_hooks.values()] == [
        "plus_one",
        "plus_one",
        "triple",
    ]


@pytest.mark.parametrize(
    "off",
    [
        "triple on 0",
        "forward:triple on 0",
        ["triple on 0"],
        lambda net: next(one for one in ht.hooks(net) if one.owner == "0"),
    ],
)
def test_a_hook_is_named_by_kind_and_owner(off: Any) -> None:
    net = nn.Sequential(line(), line())
    net[0].register_forward_hook(triple)
    net[1].register_forward_hook(triple)
    chosen = off(net) if callable(off) else off
    found = ht.counterfactual(lambda: net(X).sum(), off=chosen, state=net)
    assert [one.owner for one in found.off] == ["0"]
    assert rows(found)[0] == ("returned", "", "180", "60")


def test_a_hook_is_named_by_its_function_also_where_that_is_a_bound_method() -> None:
    class Scaler:
        def scale(self, module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
            return output * 3

    net, scaler = line(), Scaler()
    net.register_forward_hook(scaler.scale)
    found = ht.counterfactual(lambda: net(X).sum(), off=scaler.scale, state=net)
    assert rows(found)[0] == ("returned", "", "30", "10")
    assert ht.counterfactual(lambda: net(X).sum(), off="scale", state=net).records


def test_hooks_that_the_step_registers_are_told_apart_by_what_they_hang_on() -> None:
    w = torch.ones(1, requires_grad=True)

    def step() -> None:
        a = w * 2
        b = w * 10
        for one in (a, b):
            one.register_hook(halve)
        (a + b).sum().backward()

    found = ht.counterfactual(step, off="halve", state=w)
    assert rows(found) == [("gradient", "w", "[6]", "[12]")]
    found = ht.counterfactual(step, off=halve, state=w)
    assert rows(found) == [("gradient", "w", "[6]", "[12]")]
    assert len(found.off) == 2


def test_one_of_several_registrations_of_the_step_is_switched_off() -> None:
    net = nn.Sequential(line(), line())

    def step() -> torch.Tensor:
        handles = [one.register_forward_hook(triple) for one in net]
        result = net(X).sum()
        for handle in handles:
            handle.remove()
        return result

    found = ht.counterfactual(step, off="triple on 1", state=net)
    assert [one.owner for one in found.off] == ["1"]
    assert rows(found)[0] == ("output", "1", "[180]", "[60]") or rows(found)[0] == (
        "returned",
        "",
        "180",
        "60",
    )
    assert ("output", "0") not in [(one.what, one.name) for one in found.records]


def test_a_hook_that_a_forward_hook_puts_on_each_activation_is_switched_off() -> None:
    net = line()

    def attach(module: Any, args: Any, output: torch.Tensor) -> None:
        output.register_hook(halve)

    net.register_forward_hook(attach)
    found = ht.counterfactual(lambda: net(X).sum().backward(), off="halve", state=net)
    assert rows(found) == [("gradient", "weight", "[2.5]", "[5]")]


def test_without_a_full_backward_hook_there_are_no_identity_nodes_either() -> None:
    """In place on what such a hook wraps raises, whatever the hook does."""
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    net[0].register_full_backward_hook(listen)
    x = torch.randn(3, 2)
    found = ht.counterfactual(lambda: net(x).sum().backward(), off="listen", state=net)
    assert found.raised[0] is not None
    view = r"RuntimeError: Output 0 of BackwardHookFunction\w* is a view"
    assert re.match(view, found.raised[0])
    assert found.raised[1] is None
    assert "Without listen the step runs to its end; with it it raises" in str(found)
    assert "did not fire" not in str(found)
    assert [one.change.text for one in found.of("loss")] == ["only without"]


def test_without_a_hook_on_its_child_an_encoder_layer_takes_its_fast_path() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    layer.linear1.register_forward_hook(listen)
    x = torch.randn(2, 3, 8)

    def step() -> None:
        with torch.no_grad():
            layer(x)

    found = ht.counterfactual(step, off="listen", state=layer)
    gone = [one.name for one in found.records if not one.after]
    assert "linear1" in gone


# ------------------------------------------------------------------ every kind of hook

FIXED = {"pack", "unpack", "node_creation", "queue_callback", "retain_grad", "function_backward"}


def counted(case: Any) -> tuple[Any, list[int]]:
    calls: list[int] = []

    def hook(*arguments: Any, **named: Any) -> Any:
        calls.append(len(calls))
        return case.result(*arguments, **named)

    return hook, calls


@pytest.mark.parametrize("name", [name for name, one in CASES.items() if one.kind not in FIXED])
def test_a_hook_of_any_kind_that_the_step_registers_is_not_called(name: str) -> None:
    case = CASES[name]
    hook, calls = counted(case)
    w = World()

    def step() -> None:
        case.prepare(w)
        handle = case.register(w, hook)
        calls.clear()
        case.run(w)
        remove(handle)

    found = ht.counterfactual(step, off="hook", state=[w.net, w.optimizer, w.x])
    assert [one.kind for one in found.off] == [case.kind]
    assert found.fired > 0
    assert calls == []
    assert found.still_fired == ()


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, one in CASES.items()
        if one.kind not in FIXED and one.prepare is not World.forward
    ],
)
def test_a_hook_of_any_kind_that_was_there_is_not_called(name: str) -> None:
    case = CASES[name]
    hook, calls = counted(case)
    w = World()
    case.prepare(w)
    handle = case.register(w, hook)

    def step() -> None:
        calls.clear()
        case.run(w)

    try:
        found = ht.counterfactual(step, off=[hook], state=[w.net, w.optimizer, w.x])
        assert found.fired > 0
        assert calls == []
        assert found.still_fired == ()
        assert [one.kind for one in found.off] == [case.kind]
        step()
        assert calls != []  # it is back in its place
    finally:
        remove(handle)


@pytest.mark.parametrize("name", [name for name, one in CASES.items() if one.kind in FIXED])
def test_a_kind_that_cannot_be_switched_off_says_why(name: str) -> None:
    case = CASES[name]
    hook, _ = counted(case)
    w = World()

    def step() -> None:
        case.prepare(w)
        handle = case.register(w, hook)
        try:
            case.run(w)
        finally:
            if case.removable:
                remove(handle)

    with pytest.raises(UnsupportedHookError, match="cannot be switched off: it "):
        ht.counterfactual(step, off="hook", state=[w.net, w.x])


# ------------------------------------------------------------------ when it does not go well


def raising(*_: Any) -> None:
    raise ValueError("no")


def test_what_a_run_raises_is_told_and_not_raised() -> None:
    net = line()
    net.register_forward_hook(raising)
    found = ht.counterfactual(lambda: net(X), off="raising", state=net)
    assert found.raised == ("ValueError: no", None)
    assert not found.equal
    assert str(found).startswith(
        "Without raising the step runs to its end; with it it raises ValueError: no."
    )


def test_a_step_that_raises_in_both_runs_is_equal_and_says_so() -> None:
    net = line()
    net.register_forward_hook(listen)

    def step() -> None:
        net(X)
        raise ValueError("no")

    found = ht.counterfactual(step, off="listen", state=net)
    assert found.equal
    assert "The step raises ValueError: no in both runs." in str(found)


def test_an_interrupt_goes_on_and_the_state_is_put_back() -> None:
    net = line()

    def step() -> None:
        net(X).sum().backward()
        raise KeyboardInterrupt

    net.register_forward_hook(listen)
    with pytest.raises(KeyboardInterrupt):
        ht.counterfactual(step, off="listen", state=net)
    assert net.weight.grad is None
    assert len(net._forward_hooks) == 1


def test_a_backward_hook_that_a_call_before_the_step_took_along_is_not_seen_and_that_is_said() -> (
    None
):
    net = line()
    net.register_full_backward_hook(lambda *_: (torch.ones(1, 1),))
    x = X.clone().requires_grad_()
    y = net(x)
    step: Callable[[], None] = lambda: y.sum().backward(retain_graph=True)  # noqa: E731
    found = ht.counterfactual(step, off="<lambda>", state=[net, x])
    assert found.fired == 0
    assert "only those of calls that the step makes itself are seen" in str(found)


def test_a_hook_that_a_running_backward_registers_is_switched_off() -> None:
    w = torch.ones(1, requires_grad=True)

    def attach(grad: torch.Tensor) -> None:
        w.register_hook(halve)

    def step() -> None:
        y = w * 2
        y.register_hook(attach)
        y.sum().backward()

    w.register_hook(listen)  # so that the engine knows of hooks on w from the beginning
    found = ht.counterfactual(step, off="halve", state=w)
    assert rows(found) == [("gradient", "w", "[1]", "[2]")]


def test_an_unknown_name_gives_the_nearest_and_changes_nothing() -> None:
    net = line()
    net.register_forward_hook(triple)
    with pytest.raises(UnknownNameError, match="Did you mean 'triple'"):
        ht.counterfactual(lambda: net(X).sum().backward(), off="tripel", state=net)
    assert net.weight.grad is None


def test_a_hook_on_something_else_asks_for_that_in_the_state() -> None:
    net, other = line(), line()
    other.register_forward_hook(triple)
    with pytest.raises(UnknownNameError, match="no part of state="):
        ht.counterfactual(lambda: other(net(X)), off="triple", state=net)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"off": []}, "names no hook"),
        ({"off": [3]}, "off= takes names"),
        ({"state": ["model"]}, "state= takes modules"),
        ({"step": 3}, "takes a callable"),
    ],
)
def test_arguments_of_other_types_are_refused(changes: Any, message: str) -> None:
    arguments: Any = {"step": lambda: None, "off": ["x"], "state": line(), **changes}
    with pytest.raises(TypeError, match=message):
        ht.counterfactual(arguments.pop("step"), **arguments)


def test_a_parameter_without_a_size_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="Run the model once"):
        ht.counterfactual(lambda: None, off="x", state=nn.LazyLinear(2))


def test_inside_of_a_trace_it_is_refused() -> None:
    net = line()
    with ht.trace(), pytest.raises(TraceStateError, match="outside of the block"):
        ht.counterfactual(lambda: net(X), off="triple", state=net)
