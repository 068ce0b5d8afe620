"""The observer's oath: a traced run is bit for bit the run without the trace."""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from observed import TRACED, assert_same, left_behind, run
from torch import nn
from torch.overrides import TorchFunctionMode
from zoo import PROGRAMS

import hooktrace as ht

HEAVY = {"alexnet", "resnet18", "export", "make_fx"}
EXPECTED: dict[str, Any] = {}


def untraced(name: str) -> Any:
    if name not in EXPECTED:
        run(PROGRAMS[name])  # what PyTorch warns of once per process
        EXPECTED[name] = run(PROGRAMS[name])
    return EXPECTED[name]


PAIRS = [
    (name, tracing)
    for name in PROGRAMS
    for tracing in TRACED
    if name not in HEAVY or tracing in ("everything", "the model kept")  # the heavy ones: two ways
]


@pytest.mark.parametrize(("name", "tracing"), PAIRS)
def test_a_traced_program_cannot_be_told_from_an_untraced_one(name: str, tracing: str) -> None:
    expected = untraced(name)
    assert_same(run(PROGRAMS[name], TRACED[tracing]), expected)


@pytest.mark.parametrize("name", PROGRAMS)
def test_two_untraced_runs_cannot_be_told_apart(name: str) -> None:
    expected = untraced(name)
    assert_same(run(PROGRAMS[name]), expected)


@pytest.fixture(scope="module")
def only_what_is_new_is_counted() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("only_what_is_new_is_counted")
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in HEAVY])
def test_a_trace_keeps_nothing_alive(name: str) -> None:
    """Some programs leak by themselves (a hook that refers to its tensor); traced, no more."""
    run(PROGRAMS[name], TRACED["everything"])  # what is cached on first use
    expected = left_behind(PROGRAMS[name])
    assert left_behind(PROGRAMS[name], TRACED["everything"]) == expected


def program_that_differs(what: str) -> Any:
    """The same small program but for one thing that a user could notice."""

    def build() -> Any:
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())

        def step() -> Any:
            y = net(torch.ones(1, 2))
            y.sum().backward()
            match what:
                case "a random number":
                    torch.rand(1)
                case "a gradient":
                    net[0].weight.grad.add_(1e-7)
                case "a version":
                    net[0].weight.grad.add_(0)
                    y.detach().add_(0)
                case "a node":
                    y = y.view_as(y)
                case "a hook":
                    net[0].register_forward_hook(lambda *a: None)
                case "a handle":
                    net[0].register_forward_hook(lambda *a: None).remove()
                case "an empty dictionary":
                    net[0].weight._backward_hooks = OrderedDict()
                case "a flag":
                    net[1].eval()
                case "an attribute":
                    net[1].more = 1
                case "a warning":
                    warnings.warn("one more", stacklevel=1)
                case "an exception":
                    raise ValueError
                case "the order of hooks":
                    net[0]._forward_hooks[5] = print
            return y

        return net, step

    return build


@pytest.mark.parametrize(
    "what",
    [
        "a random number",
        "a gradient",
        "a version",
        "a node",
        "a hook",
        "a handle",
        "an empty dictionary",
        "a flag",
        "an attribute",
        "a warning",
        "an exception",
        "the order of hooks",
    ],
)
def test_the_comparison_notices(what: str) -> None:
    expected = run(program_that_differs("nothing"))
    assert_same(run(program_that_differs("nothing")), expected)
    with pytest.raises(AssertionError):
        assert_same(run(program_that_differs(what)), expected)


@pytest.mark.usefixtures("only_what_is_new_is_counted")
def test_the_count_of_what_is_alive_notices_a_tensor_and_a_module() -> None:
    leak: list[Any] = []
    found = left_behind(lambda: (None, lambda: leak.append((torch.ones(1), nn.ReLU()))))
    assert (found["tensor"], found["module"]) == (1, 1)


@pytest.mark.parametrize("order", ["mode outside", "trace outside"])
def test_a_function_mode_sees_the_same_calls_wherever_it_is_entered(order: str) -> None:
    logs = []
    for traced in (False, True):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU(inplace=True))
        net[0].weight.register_hook(lambda grad: grad * 2)
        mode = Logging()
        trace = ht.trace(net, keep=True) if traced else contextlib.nullcontext()
        first, second = (mode, trace) if order == "mode outside" else (trace, mode)
        with first, second:
            net(torch.ones(3, 2)).sum().backward()
        logs.append(mode.calls)
    assert logs[0] == logs[1]
    assert len(logs[0]) > 4


class Logging(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls.append(getattr(func, "__qualname__", str(func)))
        return func(*args, **(kwargs or {}))
