"""torch.compile before and inside the block: same results, no further compilation."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht


class Counting:
    """A backend that runs the graph as it is and counts how often it was asked."""

    def __init__(self) -> None:
        self.graphs: list[str] = []

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.graphs.append(graph.code)
        return graph.forward


def net_with_hooks() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(inplace=True), nn.Linear(4, 1))
    net[0].register_forward_hook(lambda m, args, output: output * 2)
    return net


@pytest.fixture(autouse=True)
def reset() -> Any:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def gradients(net: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in net.parameters()]


def expected() -> tuple[torch.Tensor, list[torch.Tensor]]:
    net = net_with_hooks()
    output = net(torch.ones(3, 2))
    output.sum().backward()
    return output, gradients(net)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("when", ["before", "inside"])
def test_a_compiled_model_gives_the_same_with_a_trace(when: str) -> None:
    net, backend = net_with_hooks(), Counting()
    x = torch.ones(3, 2)
    if when == "before":
        compiled = torch.compile(net, backend=backend)
        compiled(x)
        graphs = len(backend.graphs)
        with ht.trace() as t:
            output = compiled(x)
            output.sum().backward()
    else:
        graphs = 1
        with ht.trace() as t:
            compiled = torch.compile(net, backend=backend)
            output = compiled(x)
            output.sum().backward()
    want, want_gradients = expected()
    assert torch.equal(output, want)
    assert all(torch.equal(a, b) for a, b in zip(gradients(net), want_gradients, strict=True))
    assert len(backend.graphs) == graphs == 1
    again = compiled(x)
    assert torch.equal(again, want)
    assert t.calls()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_compiled_graph_does_not_know_of_the_trace() -> None:
    graphs = []
    for traced in (False, True):
        torch._dynamo.reset()
        backend = Counting()
        compiled = torch.compile(net_with_hooks(), backend=backend)
        if traced:
            with ht.trace(keep=True):
                compiled(torch.ones(3, 2))
        else:
            compiled(torch.ones(3, 2))
        graphs.append(backend.graphs)
    assert graphs[0] == graphs[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fullgraph_compiles_inside_the_block() -> None:
    net = net_with_hooks()
    named = pytest.warns(ht.errors.NothingTracedWarning, match="OptimizedModule")
    with named, ht.trace(net):
        compiled = torch.compile(net, backend=Counting(), fullgraph=True)
        output = compiled(torch.ones(3, 2))
    assert torch.equal(output, expected()[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_hooks_on_tensors_of_a_compiled_model_fire_and_count_alike() -> None:
    results = []
    for traced in (False, True):
        torch._dynamo.reset()
        net = net_with_hooks()
        net[2].weight.register_hook(lambda grad: grad * 3)
        net[0].weight.register_post_accumulate_grad_hook(lambda p: [p.grad.mul_(2), None][1])
        compiled = torch.compile(net, backend="eager")
        if traced:
            named = pytest.warns(ht.errors.NothingTracedWarning, match="OptimizedModule")
            with named, ht.trace(net) as t:
                compiled(torch.ones(3, 2)).sum().backward()
            assert len(t.of(ht.events.HookFired)) >= 2
        else:
            compiled(torch.ones(3, 2)).sum().backward()
        results.append(gradients(net))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tracing_a_compiled_copy_tells_the_original_apart() -> None:
    net = net_with_hooks()
    compiled = torch.compile(net, backend="eager")
    compiled(torch.ones(3, 2))
    with ht.trace(compiled) as t:
        compiled(torch.ones(3, 2))
    assert t.calls()
    assert t.calls()[0].module.type == "OptimizedModule"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("when", ["before", "inside"])
@pytest.mark.parametrize("kind", ["forward", "forward_pre"])
def test_a_hook_that_comes_after_the_compilation_is_ignored_also_in_a_trace(
    when: str, kind: str
) -> None:
    fired: list[list[str]] = []
    for traced in (False, True):
        torch._dynamo.reset()
        seen: list[str] = []
        net, x = nn.Sequential(nn.Linear(2, 2), nn.ReLU()), torch.ones(1, 2)
        if when == "before":
            net.compile(backend="eager")
            net(x)
        with ht.trace(net) if traced else nullcontext():
            if when == "inside":
                net.compile(backend="eager")
                net(x)
            getattr(net[0], f"register_{kind}_hook")(lambda *_, seen=seen: seen.append("late"))
            net(x)
        net(x)
        fired.append(seen)
    assert fired[0] == fired[1]


def test_dynamo_knows_pytorchs_own_functions_again_after_the_block() -> None:
    from torch._dynamo import utils
    from torch._dynamo.variables import nn_module

    with ht.trace():
        for known in (utils, nn_module):
            assert known.unpatched_nn_module_call is nn.Module.__call__
            assert known.unpatched_nn_module_call_impl is nn.Module._call_impl
    for known in (utils, nn_module):
        assert known.unpatched_nn_module_call is nn.Module.__call__
        assert known.unpatched_nn_module_call_impl is nn.Module._call_impl
