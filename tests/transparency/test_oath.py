"""The observer's oath: a traced run is bit for bit the run without the trace."""

from __future__ import annotations

import contextlib
import functools
import gc
import random
import threading
import types
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import needs
import numpy
import pytest
import torch
from observed import TRACED, assert_same, left_behind, run
from surroundings import attributes, everything_of_pytorch, patched, top_pair
from torch import nn
from torch.overrides import TorchFunctionMode
from zoo import PROGRAMS

import hooktrace as ht

HEAVY = {"alexnet", "resnet18", "export", "make_fx"} | {
    name for name in PROGRAMS if name.startswith("compiled")
}
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


def hook(*arguments: Any) -> None: ...


def a_random_number(net: Any, y: Any) -> None:
    torch.rand(1)


def a_random_number_of_python(net: Any, y: Any) -> None:
    random.random()


def a_random_number_of_numpy(net: Any, y: Any) -> None:
    numpy.random.rand()


def a_gradient(net: Any, y: Any) -> None:
    net[0].weight.grad.add_(1e-7)


def the_sign_of_a_zero(net: Any, y: Any) -> None:
    net[0].bias.grad.neg_()


def a_version(net: Any, y: Any) -> None:
    net[0].weight.grad.add_(0)


def a_stride(net: Any, y: Any) -> None:
    net[0].weight.grad = net[0].weight.grad.t().contiguous().t()


def a_node(net: Any, y: Any) -> torch.Tensor:
    return y.view_as(y)


def a_node_that_nobody_has(net: Any, y: Any) -> None:
    y.view_as(y)


def a_node_hook(net: Any, y: Any) -> None:
    y.grad_fn.register_prehook(hook)


def a_retained_gradient(net: Any, y: Any) -> None:
    y.retain_grad()


def a_hook(net: Any, y: Any) -> None:
    net[0].register_forward_hook(hook)


def a_handle(net: Any, y: Any) -> None:
    net[0].register_forward_hook(hook).remove()


def a_state_dict_hook(net: Any, y: Any) -> None:
    net[0]._state_dict_hooks[1] = hook


def a_load_state_dict_hook(net: Any, y: Any) -> None:
    net[0]._load_state_dict_post_hooks[1] = hook


def an_optimizer_hook(net: Any, y: Any) -> None:
    net.optimizer._optimizer_step_pre_hooks[1] = hook


def a_wrapped_step(net: Any, y: Any) -> None:
    net.optimizer.step = functools.partial(net.optimizer.step)


def a_global_optimizer_hook(net: Any, y: Any) -> None:
    torch.optim.optimizer._global_optimizer_post_hooks[1] = hook


def a_registration_hook(net: Any, y: Any) -> None:
    torch.nn.modules.module._global_buffer_registration_hooks[1] = hook


def an_empty_dictionary(net: Any, y: Any) -> None:
    net[0].weight._backward_hooks = OrderedDict()


def another_dictionary(net: Any, y: Any) -> None:
    net[0]._forward_hooks = OrderedDict(net[0]._forward_hooks)


def another_function_of_the_same_name(net: Any, y: Any) -> None:
    key, function = next(iter(net[1]._forward_hooks.items()))
    net[1]._forward_hooks[key] = types.FunctionType(function.__code__, {}, "hook")


def the_order_of_hooks(net: Any, y: Any) -> None:
    net[1]._forward_hooks.move_to_end(next(iter(net[1]._forward_hooks)))


def a_flag(net: Any, y: Any) -> None:
    net[1].eval()


def an_attribute(net: Any, y: Any) -> None:
    net[1].more = 1


def a_warning(net: Any, y: Any) -> None:
    warnings.warn("one more", stacklevel=1)


def the_line_of_a_warning(net: Any, y: Any) -> None:
    net.level += 1


def an_exception(net: Any, y: Any) -> None:
    raise ValueError


def the_line_of_an_exception(net: Any, y: Any) -> None:
    try:
        net.wrong(1)
    except TypeError as error:
        net.caught = error


def a_note_on_an_exception(net: Any, y: Any) -> None:
    net.caught.add_note("seen")


def a_mode(net: Any, y: Any) -> None:
    torch.set_grad_enabled(False)


def a_saved_tensor_hook(net: Any, y: Any) -> None:
    torch._C._autograd._push_saved_tensors_default_hooks(hook, hook)


def a_patched_method(net: Any, y: Any) -> None:
    nn.Module.train = types.FunctionType(nn.Module.train.__code__, {}, "train")  # type: ignore[method-assign]


def a_patched_function(net: Any, y: Any) -> None:
    torch.autograd.graph.register_multi_grad_hook = functools.partial(  # type: ignore[assignment]
        torch.autograd.graph.register_multi_grad_hook
    )


def a_thread(net: Any, y: Any) -> None:
    net.thread = threading.Thread(target=net.done.wait)
    net.thread.start()


DIFFERENCES = {
    one.__name__: one
    for one in (
        a_random_number,
        a_random_number_of_python,
        a_random_number_of_numpy,
        a_gradient,
        the_sign_of_a_zero,
        a_version,
        a_stride,
        a_node,
        a_node_that_nobody_has,
        a_node_hook,
        a_retained_gradient,
        a_hook,
        a_handle,
        a_state_dict_hook,
        a_load_state_dict_hook,
        an_optimizer_hook,
        a_wrapped_step,
        a_global_optimizer_hook,
        a_registration_hook,
        an_empty_dictionary,
        another_dictionary,
        another_function_of_the_same_name,
        the_order_of_hooks,
        a_flag,
        an_attribute,
        a_warning,
        the_line_of_a_warning,
        an_exception,
        the_line_of_an_exception,
        a_note_on_an_exception,
        a_mode,
        a_saved_tensor_hook,
        a_patched_method,
        a_patched_function,
        a_thread,
    )
}


def program_that_differs(differ: Any) -> Any:
    """The same small program but for one thing that a user could notice."""

    def build() -> Any:
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        for one in (hook, lambda *a: None):
            net[1].register_forward_hook(one)
        net.optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
        net.done, net.thread, net.level = threading.Event(), None, 1

        def step() -> Any:
            y = net(torch.ones(1, 2))
            y.sum().backward()
            net[0].bias.grad.zero_()
            if differ is not the_sign_of_a_zero:
                net[0].bias.grad.abs_()
            try:
                net.wrong = lambda: None
                net.wrong(1)
            except TypeError as error:
                net.caught = error
            made = differ(net, y)
            warnings.warn("here or there", stacklevel=net.level)
            return y if made is None else made, net.optimizer, net.caught

        return net, step

    return build


@pytest.fixture
def undone() -> Iterator[None]:
    train, register = nn.Module.train, torch.autograd.graph.register_multi_grad_hook
    yield
    nn.Module.train = train  # type: ignore[method-assign]
    torch.autograd.graph.register_multi_grad_hook = register
    torch.set_grad_enabled(True)
    if top_pair(False) is not None:
        torch._C._autograd._pop_saved_tensors_default_hooks()


@pytest.mark.usefixtures("undone")
@pytest.mark.parametrize(
    "what",
    [
        pytest.param(name, marks=needs.TOP_PAIR if name == "a_saved_tensor_hook" else ())
        for name in DIFFERENCES
    ],
)
def test_the_comparison_notices(what: str) -> None:
    expected = run(program_that_differs(lambda net, y: None))
    assert_same(run(program_that_differs(lambda net, y: None)), expected)
    models: list[Any] = []

    def build() -> Any:
        models.extend(program_that_differs(DIFFERENCES[what])())
        return models

    try:
        with pytest.raises(AssertionError):
            assert_same(run(build), expected)
    finally:
        models[0].done.set()


@pytest.mark.parametrize("name", ["hooks_of_every_kind", "optimizer_hooks_of_every_kind"])
@pytest.mark.parametrize("tracing", ["everything", "the model kept"])
def test_no_class_and_no_function_of_all_pytorch_is_another_one_afterwards(
    name: str, tracing: str
) -> None:
    run(PROGRAMS[name], TRACED[tracing])  # what PyTorch itself changes on first use
    owners = everything_of_pytorch()
    before = attributes(owners)
    with ht.trace():
        assert patched(before, attributes(owners))
    run(PROGRAMS[name], TRACED[tracing])
    assert patched(before, attributes(owners)) == []
    assert len(owners) > 1000


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
