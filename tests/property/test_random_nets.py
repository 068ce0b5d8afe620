"""Random small nets: what must hold of every trace, whatever the program."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import hooktrace as ht
from hooktrace.events import (
    BackwardFinished,
    BackwardStarted,
    ForwardFinished,
    ForwardStarted,
    HookFired,
    ModuleCalled,
    ModuleExited,
    TensorWritten,
)

WIDTH = 3


class Residual(nn.Module):
    def __init__(self, inner: nn.Module, *, inplace: bool) -> None:
        super().__init__()
        self.inner = inner
        self.inplace = inplace

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.inner(x)
        if not self.inplace or y is x or not y.requires_grad:
            return y + x
        y = y * 1
        y += x
        return y


class Twice(nn.Module):
    """Calls one module twice."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(self.inner(x) * 1)


class Scale(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


leaf = st.sampled_from(["linear", "relu", "relu_", "tanh", "identity", "dropout_", "scale"])
tree: Any = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.tuples(st.just("sequential"), st.lists(inner, min_size=1, max_size=4)),
        st.tuples(st.just("residual"), inner, st.booleans()),
        st.tuples(st.just("twice"), inner),
        st.tuples(st.just("shared"), inner),
    ),
    max_leaves=8,
)


def build(plan: Any, shared: list[nn.Module]) -> nn.Module:
    """Build the net of a plan; ``shared`` nodes take a module that is there already."""
    match plan:
        case "linear":
            return nn.Linear(WIDTH, WIDTH)
        case "relu":
            return nn.ReLU()
        case "relu_":
            return nn.Sequential(Scale(), nn.ReLU(inplace=True))
        case "tanh":
            return nn.Tanh()
        case "identity":
            return nn.Identity()
        case "dropout_":
            return nn.Sequential(Scale(), nn.Dropout(0.5, inplace=True))
        case "scale":
            return Scale()
        case ("sequential", plans):
            return nn.Sequential(*(build(one, shared) for one in plans))
        case ("residual", one, inplace):
            return Residual(build(one, shared), inplace=inplace)
        case ("twice", one):
            return Twice(build(one, shared))
        case ("shared", one):
            made = shared[0] if shared else build(one, shared)
            shared.append(made)
            return made
    raise AssertionError(plan)


def net_of(plan: Any) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), build(plan, []))


def step(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(1)
    output = net(x)
    output.square().sum().backward()
    return output


quick = settings(max_examples=25, derandomize=True, database=None)


@quick
@given(tree)
def test_calls_nest_and_the_timeline_is_numbered(plan: Any) -> None:
    net = net_of(plan)
    with ht.trace(net) as t:
        step(net, torch.ones(2, WIDTH, requires_grad=True))

    assert [event.seq for event in t.events] == list(range(len(t.events)))
    times = [event.time_ns for event in t.events if not isinstance(event, HookFired)]
    assert times == sorted(times)
    open_calls: list[int] = []
    for event in t.events:
        if isinstance(event, ModuleCalled):
            assert event.parent == (open_calls[-1] if open_calls else None)
            open_calls.append(event.call)
        elif isinstance(event, (ForwardStarted, ForwardFinished)):
            assert event.call == open_calls[-1]
        elif isinstance(event, ModuleExited):
            assert event.call == open_calls.pop()
    assert open_calls == []
    assert len(t.of(BackwardStarted)) == len(t.of(BackwardFinished)) == 1
    for call in t.calls():
        assert [type(event) for event in call.events if type(event) in FORWARD] == list(FORWARD)
        assert all(child.parent is call for child in call.children)


FORWARD = (ModuleCalled, ForwardStarted, ForwardFinished, ModuleExited)


@quick
@given(tree)
def test_the_trace_cannot_be_noticed(plan: Any) -> None:
    results = []
    for traced in (False, True):
        net = net_of(plan)
        x = torch.ones(2, WIDTH, requires_grad=True)
        if traced:
            with ht.trace(net, keep=True):
                output = step(net, x)
        else:
            output = step(net, x)
        results.append([output, x.grad, torch.get_rng_state(), *[p.grad for p in net.parameters()]])
    for one, other in zip(*results, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


@quick
@given(tree)
def test_kept_outputs_are_those_that_a_cloning_forward_hook_captures(plan: Any) -> None:
    net = net_of(plan)
    x = torch.ones(2, WIDTH, requires_grad=True)
    captured: list[torch.Tensor] = []
    handles = [
        module.register_forward_hook(lambda m, args, out: captured.append(out.detach().clone()))
        for module in net.modules()
    ]
    step(net, x)
    for handle in handles:
        handle.remove()
    with ht.trace(net, keep=True) as t:
        step(net, x)
    kept = [t.log.snapshots[event.outputs[0].value] for event in t.of(ModuleExited)]
    assert len(kept) == len(captured)
    assert all(torch.equal(one, other) for one, other in zip(kept, captured, strict=True))


@quick
@given(tree)
def test_the_roots_grad_input_is_the_gradient_of_the_input(plan: Any) -> None:
    net = net_of(plan)
    x = torch.ones(2, WIDTH, requires_grad=True)
    with ht.trace(net, keep=True) as t:
        output = step(net, x)
    root = t.calls()[0]
    assert torch.equal(root.grad_output, 2 * output.detach())
    assert torch.equal(root.grad_input, x.grad)
    for call in t.calls():
        assert call.grad_output.shape == call.output.shape
        assert call.grad_output is not None


@quick
@given(tree)
def test_a_tensor_is_overwritten_exactly_where_a_write_is_recorded(plan: Any) -> None:
    net = net_of(plan)
    with ht.trace(net, keep=True) as t:
        step(net, torch.ones(2, WIDTH, requires_grad=True))
    written = {event.before.tensor for event in t.of(TensorWritten) if event.certain}
    for call in t.calls():
        if call.overwritten is not None:
            assert call.seen_outputs[0].value.tensor in written
