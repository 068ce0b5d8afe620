"""Oracle: PyTorch's own full backward hooks, on a twin without in-place operations."""

from __future__ import annotations

import copy
import types
from collections import defaultdict
from typing import Any

import pytest
import torch
from equivalence_nets import NETS, loss
from torch import nn

import hooktrace as ht


def out_of_place(module: nn.Module) -> nn.Module:
    twin = copy.deepcopy(module)
    for one in twin.modules():
        if hasattr(one, "inplace"):
            one.inplace = False
        if type(one).__name__ == "BasicBlock":
            one.forward = types.MethodType(basic_block, one)
    return twin


def basic_block(self: Any, x: torch.Tensor) -> torch.Tensor:
    """The forward of torchvision's block, with `out + identity` for `out += identity`."""
    out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
    return self.relu(out + (x if self.downsample is None else self.downsample(x)))


def reported_by_full_backward_hooks(
    twin: nn.Module, inputs: tuple[torch.Tensor, ...]
) -> dict[str, list[tuple[Any, Any]]]:
    """grad_input and grad_output of every call by name; the calls of one module latest first."""
    found: dict[str, list[Any]] = defaultdict(list)
    for name, module in twin.named_modules():
        label = name or type(module).__name__
        module.register_full_backward_hook(
            lambda m, *gradients, label=label: found[label].append(gradients)
        )
    loss(twin(*inputs)).backward()
    return found


@pytest.mark.parametrize("name", NETS)
@pytest.mark.filterwarnings("ignore:.*full backward hook.*:UserWarning")
def test_every_call_has_the_gradients_that_a_full_backward_hook_reports(name: str) -> None:
    model, inputs = NETS[name]()
    twin = out_of_place(model)
    twin_inputs = tuple(one.detach().clone().requires_grad_() for one in inputs)
    reported = reported_by_full_backward_hooks(twin, twin_inputs)

    with ht.trace(model, keep=True) as t:
        loss(model(*inputs)).backward()

    compared = 0
    for label, calls in reported.items():
        for number, (grad_input, grad_output) in enumerate(reversed(calls)):
            call = t[f"{label}@{number}"]
            outputs = by_place(call.seen_outputs, call.grad_outputs, "output")
            for place, theirs in enumerate(grad_output):
                assert_equal(outputs.get(place), theirs, f"grad_output[{place}] of {call}")
            given = by_place(call.seen_inputs, call.grad_inputs, "args")
            for place, theirs in enumerate(grad_input):
                assert_equal(given.get(place), theirs, f"grad_input[{place}] of {call}")
            compared += 1
    assert compared == len(t.calls())
    root = t.calls()[0]
    for mine, one in zip(root.grad_inputs, inputs, strict=True):
        assert torch.equal(mine, one.grad)
    for mine, theirs in zip(
        (*inputs, *model.parameters()), (*twin_inputs, *twin.parameters()), strict=True
    ):
        assert_equal(mine.grad, theirs.grad, f"leaf of {type(model).__name__}")


def by_place(seen: Any, gradients: Any, role: str) -> dict[int, Any]:
    """Gradients by the place of their tensor in the tuple, as a full backward hook counts."""
    found = {}
    for one, gradient in zip(seen, gradients, strict=True):
        if one.role == role:
            found[0] = gradient
        elif one.role.removeprefix(role).count("[") == 1:
            found[int(one.role.removeprefix(role)[1:-1])] = gradient
    return found


def assert_equal(mine: Any, theirs: Any, what: str) -> None:
    if theirs is None:
        assert mine is None, what
        return
    assert mine is not None, what
    if "Residual" in what:  # the hooks' identity nodes change the order in which shares add up
        assert torch.allclose(mine, theirs, rtol=1e-6, atol=1e-6), what
        return
    assert torch.equal(mine, theirs), f"{what}: {(mine - theirs).abs().max()} apart"


@pytest.mark.parametrize("name", NETS)
def test_leaf_gradients_equal_autograd_grad(name: str) -> None:
    model, inputs = NETS[name]()
    state = copy.deepcopy(model.state_dict())
    with ht.trace(model) as t:
        loss(model(*inputs)).backward()
    model.load_state_dict(state)
    leaves = {"input": inputs[0], **dict(model.named_parameters())}
    gradients = torch.autograd.grad(loss(model(*inputs)), list(leaves.values()))
    filled = {
        t.log.tensors[event.tensor].name: event for event in t.of(ht.events.GradientAccumulated)
    }
    for (label, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        assert torch.equal(leaf.grad, gradient), label
        if label != "input":
            assert filled[label].before is None
            assert filled[label].after.summary.shape == tuple(leaf.shape)
            if leaf.numel() <= 16:
                assert filled[label].after.numbers == tuple(gradient.flatten().tolist())


@pytest.mark.parametrize(
    "name", ["in_place_mlp", "convolutions", "nested_residuals", "shared_module"]
)
def test_the_kept_edges_differentiate_to_what_the_calls_returned(name: str) -> None:
    """Differentiating to the edge of a kept output gives its grad_output, in place or not."""
    model, inputs = NETS[name]()
    with ht.trace(model, keep=True) as t:
        score = loss(model(*inputs))
        score.backward(retain_graph=True)
        expected = {call.id: call.grad_output for call in t.calls()}
        for call in t.calls():
            if call.parent is None:
                continue
            edge = t.log.edges[call.id, "output"]
            (gradient,) = torch.autograd.grad(score, [edge], retain_graph=True)
            assert torch.equal(expected[call.id], gradient), call


@pytest.mark.parametrize("net", NETS)
def test_kept_outputs_are_those_of_the_twin_without_in_place_operations(net: str) -> None:
    model, inputs = NETS[net]()
    twin = out_of_place(model)
    captured: dict[str, list[Any]] = defaultdict(list)
    for name, module in twin.named_modules():
        label = name or type(module).__name__
        module.register_forward_hook(lambda m, args, out, label=label: captured[label].append(out))
    twin(*inputs)
    with ht.trace(model, keep=True) as t:
        model(*inputs)
    for label, outputs in captured.items():
        for number, output in enumerate(outputs):
            tensors = [
                one
                for item in (output if isinstance(output, tuple) else (output,))
                for one in (item if isinstance(item, tuple) else (item,))
            ]
            for mine, theirs in zip(t[f"{label}@{number}"].outputs, tensors, strict=True):
                assert torch.equal(mine, theirs), f"{label}@{number}"
