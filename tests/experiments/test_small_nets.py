"""Experiments on nets that are small enough to be worked out by hand."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.events import (
    ForwardFinished,
    ForwardStarted,
    GradientAccumulated,
    HookFired,
    ModuleCalled,
    ModuleExited,
)


def convolution_and_pool() -> nn.Sequential:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, 2))
    with torch.no_grad():
        net[0].weight[0] = 1
        net[0].weight[1] = 2
        net[0].bias.zero_()
    return net


def firings(t: ht.Trace) -> list[str]:
    return [f"{t.hooks[e.hook].owner} {t.hooks[e.hook].kind}" for e in t.of(HookFired)]


def kinds_of(t: ht.Trace, call: Any) -> list[str]:
    return [type(event).__name__ for event in t[call].events]


def expected_pool_gradient(sign: float) -> torch.Tensor:
    """0.5 in size where each channel has its first maximum, for the mean over two outputs."""
    gradient = torch.zeros(1, 2, 2, 2)
    gradient[:, :, 0, 0] = sign * 0.5
    return gradient


def warnings_of_a_full_hook_without_gradients_to_see() -> list[str]:
    """What PyTorch, untraced, says where no input requires gradients; older ones say nothing."""
    net = convolution_and_pool()
    net[0].register_full_backward_hook(lambda m, grad_input, grad_output: None)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        net(torch.ones(1, 1, 4, 4)).sum().backward()
    return [str(warning.message) for warning in said]


@pytest.mark.parametrize(("target", "sign"), [(100.0, -1.0), (0.0, 1.0)])
def test_a_convolution_of_ones_counts_its_weights(target: float, sign: float) -> None:
    expected_warnings = warnings_of_a_full_hook_without_gradients_to_see()
    net = convolution_and_pool()
    got: list[Any] = []
    net[0].register_forward_pre_hook(lambda m, args: got.append(("forward_pre", args)))
    net[0].register_forward_hook(
        lambda m, args, output: got.append(("forward", output.detach().clone()))
    )
    net[0].register_full_backward_hook(
        lambda m, grad_input, grad_output: got.append(("backward", grad_input, grad_output))
    )
    image = torch.ones(1, 1, 4, 4)
    with ht.trace(net, keep=True) as t:
        loss = nn.functional.l1_loss(net(image), torch.full((1, 2, 1, 1), target))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            loss.backward()

    gradient = expected_pool_gradient(sign)
    assert [str(warning.message) for warning in said] == expected_warnings
    assert [entry[0] for entry in got] == ["forward_pre", "forward", "backward"]
    assert got[1][1][:, 0].eq(9).all()
    assert got[1][1][:, 1].eq(18).all()
    assert got[2][1] == (None,)
    assert torch.equal(got[2][2][0], gradient)

    assert firings(t) == ["0 forward_pre", "0 forward", "0 full_backward"]
    assert torch.equal(t["0"].output[0, 0], torch.full((2, 2), 9.0))
    assert torch.equal(t["0"].output[0, 1], torch.full((2, 2), 18.0))
    assert t["1"].output.flatten().tolist() == [9.0, 18.0]
    assert torch.equal(t["0"].grad_output, gradient)
    assert t["0"].grad_inputs == (None,)
    assert t["1"].grad_output.flatten().tolist() == [sign * 0.5] * 2
    assert torch.equal(t["1"].grad_input, gradient)
    fired = t.of(HookFired)[-1]
    roles = {one.role: one for one in fired.inputs}
    assert roles["grad_input[0]"].summary == "None"
    assert roles["grad_output[0]"].numbers == tuple(gradient.flatten().tolist())
    assert fired.call == t["0"].id
    assert t.edits == []
    assert t.writes() == []


def test_the_legacy_hook_is_given_the_inputs_of_the_node() -> None:
    net = convolution_and_pool()
    got: list[Any] = []
    net[0].register_backward_hook(
        lambda m, grad_input, grad_output: got.append((grad_input, grad_output))
    )
    with ht.trace(net, keep=True) as t:
        with pytest.warns(FutureWarning, match="Using a non-full backward hook"):
            loss = net(torch.ones(1, 1, 4, 4)).sum()
        loss.backward()
    ((grad_input, grad_output),) = got
    assert [None if one is None else tuple(one.shape) for one in grad_input] == [
        None,
        (2, 1, 3, 3),
        (2,),
    ]
    assert grad_output[0].shape == (1, 2, 2, 2)
    (fired,) = t.of(HookFired)
    assert t.hooks[fired.hook].kind == "backward"
    assert fired.call == t["0"].id
    seen = {one.role: one.summary for one in fired.inputs}
    assert seen["grad_input[0]"] == "None"
    assert seen["grad_input[1]"].shape == (2, 1, 3, 3)
    assert seen["grad_input[2]"].shape == (2,)
    assert seen["grad_output[0]"].shape == (1, 2, 2, 2)
    assert torch.equal(t["0"].grad_output, grad_output[0])
    assert t["0"].grad_inputs == (None,)


def test_the_events_of_a_call_come_in_pytorchs_order() -> None:
    net = convolution_and_pool()
    net[0].register_forward_pre_hook(lambda m, args: None)
    net[0].register_forward_hook(lambda m, args, output: None)
    image = torch.ones(1, 1, 4, 4, requires_grad=True)
    with ht.trace(net) as t:
        net(image).sum().backward()
    forward = [
        type(event)
        for event in t["0"].events
        if isinstance(
            event, (ModuleCalled, HookFired, ForwardStarted, ForwardFinished, ModuleExited)
        )
    ]
    assert forward == [
        ModuleCalled,
        HookFired,
        ForwardStarted,
        ForwardFinished,
        HookFired,
        ModuleExited,
    ]
    roles = [one.gradient.role for one in t["0"].gradients]
    assert roles == ["grad_output[0]", "grad_input[0]"]


class DivideByFour(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 4


class LinearThenDivide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1)
        self.divide = DivideByFour()
        nn.init.constant_(self.linear.weight, 8)
        nn.init.constant_(self.linear.bias, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.divide(self.linear(x))


@pytest.mark.parametrize("hooked", [True, False])
def test_a_linear_layer_and_a_division_give_the_same_gradients_with_and_without_hooks(
    hooked: bool,
) -> None:
    net = LinearThenDivide()
    got: list[Any] = []
    if hooked:
        for name in ("divide", "linear"):
            net.get_submodule(name).register_full_backward_hook(
                lambda m, gi, go, name=name: got.append((name, gi[0].tolist(), go[0].tolist()))
            )
    x = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    x.register_hook(lambda grad: got.append(("input", grad.tolist())))
    with ht.trace(net, keep=True) as t:
        y = net(x)
        y.backward()

    assert y.item() == 20.5
    assert x.grad.tolist() == [2.0] * 4
    assert net.linear.weight.grad.tolist() == [[0.25, 0.5, 0.75, 1.0]]
    assert net.linear.bias.grad.tolist() == [0.25]
    modules = [("divide", [0.25], [1.0]), ("linear", [2.0] * 4, [0.25])] if hooked else []
    assert got == [*modules, ("input", [2.0] * 4)]

    assert t["linear"].output.item() == 82.0
    assert t["divide"].output.item() == 20.5
    assert t["divide"].grad_output.tolist() == [1.0]
    assert t["divide"].grad_input.tolist() == [0.25]
    assert t["linear"].grad_output.tolist() == [0.25]
    assert t["linear"].grad_input.tolist() == [2.0] * 4
    filled = {t.log.tensors[e.tensor].name: e for e in t.of(GradientAccumulated)}
    assert filled["linear.weight"].after.numbers == (0.25, 0.5, 0.75, 1.0)
    assert filled["linear.bias"].after.numbers == (0.25,)
    assert filled["x"].after.numbers == (2.0,) * 4
    expected = ["divide full_backward", "linear full_backward", "x tensor"]
    assert firings(t) == (expected if hooked else ["x tensor"])


def test_a_kept_output_is_what_the_module_returned_before_an_in_place_relu() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))
    x = torch.randn(3, 4)
    expected = net[0](x).detach()
    with ht.trace(net, keep=True) as t:
        net(x)
    assert torch.equal(t["0"].output, expected)
    assert torch.equal(t["0"].overwritten, expected.clamp(min=0))
    assert t["1"].overwritten is None
    (write,) = t.writes()
    assert write.what == "output of 0@0"
    assert (write.call.name, write.hook, write.certain) == ("1", None, True)
    assert str(write) == "output of 0@0 was overwritten by 1@0 (ReLU)"


def test_a_write_by_functional_code_is_laid_at_the_call_around_it() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)
            self.last = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x)
            y.mul_(2)
            return self.last(y)

    net = Net()
    with ht.trace(net, keep=["linear"]) as t:
        net(torch.ones(1, 2))
    (write,) = t.writes()
    assert write.by == "functional code in Net@0 (Net)"
    assert torch.equal(t["linear"].overwritten, 2 * t["linear"].output)


def test_a_write_by_a_hook_is_laid_at_the_hook() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Identity())

    def halve(module: nn.Module, args: Any) -> None:
        args[0].mul_(0.5)

    net[1].register_forward_pre_hook(halve)
    with ht.trace(net, keep=["0"]) as t:
        net(torch.ones(1, 2))
    (write,) = t.writes()
    assert write.hook.name == "halve"
    assert write.by == "forward_pre hook halve on 1"
    (edit,) = t.edits
    assert (edit.how, edit.factor, edit.role) == ("in_place", 0.5, "args[0]")


def test_the_fast_path_of_a_transformer_calls_no_children_and_the_trace_says_so() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        untraced = net(x)
        with ht.trace(net, keep=True) as t:
            output = net(x)
    assert torch.equal(output, untraced)
    assert [str(call) for call in t.calls()] == ["TransformerEncoder@0", "layers.0@0", "layers.1@0"]
    assert torch.equal(t["TransformerEncoder"].output, output)

    with ht.trace(net) as slow:
        net(x)
    assert len(slow.calls("layers.0.*")) > 5


def test_the_user_sees_the_same_calls_on_the_fast_path_with_a_hook_on_a_child() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).eval()
    fired: list[str] = []
    net.layers[0].linear1.register_forward_hook(lambda *arguments: fired.append("linear1"))
    with torch.no_grad(), ht.trace(net) as t:
        net(torch.randn(2, 5, 8))
    assert fired == ["linear1"]
    assert len(t.of(HookFired)) == 1
    assert t["layers.0.linear1"].output is not None
