"""A trace beside other tools that watch: everybody sees the same, in whatever order they leave."""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Callable
from typing import Any

import needs
import pytest
import torch
from frozen import frozen
from observed import differs
from surroundings import attributes, modes, patched
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle
from torch.utils.module_tracker import ModuleTracker

import hooktrace as ht


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True))
        self.head = nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


def made() -> tuple[Net, list[Any]]:
    torch.manual_seed(0)
    RemovableHandle.next_id = 1000
    net, log = Net(), []
    net.features[0].register_forward_hook(lambda m, args, out: log.append(out.detach().clone()))
    net.head.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    net.head.weight.register_hook(lambda grad: grad * 3)
    return net, log


def work(net: nn.Module, log: list[Any]) -> Any:
    x = torch.linspace(-1, 1, 50).reshape(2, 1, 5, 5).requires_grad_()
    y = net(x)
    y.register_hook(log.append)
    y.square().sum().backward()
    return frozen([y, x, list(net.parameters()), log])


def profiled() -> Any:
    return torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])


def debug_mode() -> Any:
    return importlib.import_module("torch.utils._debug_mode").DebugMode()


def profile_seen(tool: Any) -> Any:
    return {
        event.key: event.count for event in tool.key_averages() if event.key.startswith("aten::")
    }


TOOLS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "another trace": (ht.trace, lambda tool: [str(call) for call in tool.calls()]),
    "the profiler": (profiled, profile_seen),
    "DebugMode": (debug_mode, lambda tool: tool.debug_string()),
    "ModuleTracker": (ModuleTracker, lambda tool: sorted(tool.parents)),
    "FlopCounterMode": (lambda: FlopCounterMode(display=False), lambda tool: tool.flop_counts),
    "anomaly detection": (torch.autograd.detect_anomaly, lambda tool: None),
}


def run(tool: str, order: str) -> tuple[Any, Any, Any]:
    """Run the work under a tool and a trace; return result, what the tool saw, and the trace."""
    net, log = made()
    make, seen = TOOLS[tool]
    watcher, t = make(), ht.trace(net, keep=True)
    first, second = (watcher, t) if order.startswith("tool") else (t, watcher)
    if order == "alone":
        with watcher:
            result = work(net, log)
        return result, seen(watcher), None
    first.__enter__()
    second.__enter__()
    try:
        result = work(net, log)
    finally:
        leaving = (first, second) if order.endswith("overlapping") else (second, first)
        for one in leaving:
            one.__exit__(None, None, None)
    return result, seen(watcher), t


@pytest.mark.filterwarnings("ignore:Anomaly Detection:UserWarning")
@pytest.mark.parametrize(
    "tool",
    [pytest.param(one, marks=needs.DEBUG_MODE if one == "DebugMode" else ()) for one in TOOLS],
)
@pytest.mark.parametrize(
    "order", ["tool first", "trace first", "tool first, overlapping", "trace first, overlapping"]
)
def test_a_trace_and_another_tool_do_not_disturb_each_other(tool: str, order: str) -> None:
    run(tool, "alone")  # what PyTorch does on first use
    before, then = attributes(), modes()
    expected, expected_seen, _ = run(tool, "alone")
    result, seen, t = run(tool, order)
    assert differs(result, expected, tool) is None
    if tool != "the profiler" or order.startswith("tool"):
        assert _without_copies(seen) == _without_copies(expected_seen)
    assert [str(call) for call in t.calls()] == [
        "Net@0",
        "features@0",
        "features.0@0",
        "features.1@0",
        "head@0",
    ]
    assert len(t.edits) == 2
    assert t["head"].grad_output is not None
    assert patched(before, attributes()) == []
    assert modes() == then


def _without_copies(seen: Any) -> Any:
    """Leave out what keeping values costs: the profiler counts copies made for ``keep=``."""
    if not isinstance(seen, dict):
        return seen
    return {key: count for key, count in seen.items() if key in ("aten::addmm", "aten::relu_")}


# ------------------------------------------------------------------ tools that run the model


def captum_attributions(net: nn.Module) -> Any:
    attr = importlib.import_module("captum.attr")
    x = torch.linspace(-1, 1, 50).reshape(2, 1, 5, 5).requires_grad_()
    saliency = attr.Saliency(net).attribute(x.clone(), target=1)
    integrated = attr.IntegratedGradients(net).attribute(x.clone(), target=1, n_steps=3)
    layer = attr.LayerGradCam(net, net.features[0]).attribute(x.clone(), target=1)
    activation = attr.LayerActivation(net, net.head).attribute(x.clone())
    conductance = attr.LayerConductance(net, net.features[0])
    return [
        saliency,
        integrated,
        layer,
        activation,
        conductance.attribute(x.clone(), target=1, n_steps=3),
    ]


def torchview_graph(net: nn.Module) -> Any:
    torchview = importlib.import_module("torchview")
    graph = torchview.draw_graph(net, input_data=torch.ones(2, 1, 5, 5), depth=4)
    return graph.visual_graph.source


@pytest.mark.filterwarnings("ignore:Input Tensor 0:UserWarning")
@pytest.mark.filterwarnings("ignore::hooktrace.errors.NothingTracedWarning")
@pytest.mark.parametrize("tool", [captum_attributions, torchview_graph])
@pytest.mark.parametrize("tracing", ["everything", "the model kept", "two, overlapping"])
def test_a_tool_that_runs_the_model_itself_gives_the_same_inside_a_trace(
    tool: Any, tracing: str
) -> None:
    net = made()[0]
    net.features[1].inplace = False
    tool(copy.deepcopy(net))
    before, then = attributes(), modes()
    expected = frozen(tool(copy.deepcopy(net)))
    traced = copy.deepcopy(net)
    state = frozen(traced)
    traces = {
        "everything": [ht.trace()],
        "the model kept": [ht.trace(traced, keep=True)],
        "two, overlapping": [ht.trace(traced), ht.trace()],
    }[tracing]
    for t in traces:
        t.__enter__()
    result = frozen(tool(traced))
    for t in traces:
        t.__exit__(None, None, None)
    assert differs(result, expected, "result") is None
    if tool is captum_attributions:  # torchview calls the __call__ that it found when imported
        assert all(t.calls() for t in traces)
    assert patched(before, attributes()) == []
    assert modes() == then
    traced.zero_grad()
    assert differs(frozen(traced), state, "model") is None


def test_a_profiler_started_by_a_hook_ends_after_the_trace() -> None:
    results = []
    for traced in (False, True):
        net, log = made()
        tool = profiled()
        net.register_forward_pre_hook(lambda m, args, tool=tool: [tool.__enter__(), None][1])
        with ht.trace(net) if traced else contextlib.nullcontext() as t:
            results.append(work(net, log))
        tool.__exit__(None, None, None)
        assert profile_seen(tool)["aten::addmm"] == 1
    assert differs(results[1], results[0], "result") is None
    assert len(t.calls()) == 5
