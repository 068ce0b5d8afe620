"""Repeated up to a thousand times, a traced program holds no more than once."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd.graph import register_multi_grad_hook, saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

import hooktrace as ht

Step = Callable[[], None]
STEPS: dict[str, Callable[[], tuple[nn.Module, Step]]] = {}


def repeated(build: Any) -> Any:
    STEPS[build.__name__] = build
    return build


def hook(*arguments: Any) -> None: ...


def small(*, inplace: bool = True) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=inplace), nn.Linear(2, 1))


@repeated
def forward_and_backward() -> Any:
    net, x = small(), torch.ones(1, 2)

    def step() -> None:
        net(x).sum().backward()
        net.zero_grad()

    return net, step


@repeated
def hooks_of_many_kinds() -> Any:
    net = small(inplace=False)
    net[0].register_forward_pre_hook(hook)
    net[0].register_forward_hook(hook, always_call=True)
    net[0].register_full_backward_pre_hook(hook)
    net[0].register_full_backward_hook(hook)
    net[0].weight.register_hook(hook)
    net[0].weight.register_post_accumulate_grad_hook(hook)

    def step() -> None:
        x = torch.ones(1, 2, requires_grad=True)
        y = net(x)
        y.register_hook(hook)
        y.retain_grad()
        y.grad_fn.register_prehook(hook)
        y.grad_fn.register_hook(hook)
        y.sum().backward()

    return net, step


@repeated
def hooks_registered_and_removed() -> Any:
    net = small()

    def step() -> None:
        handles = [net[0].register_forward_hook(lambda *a: None)]
        handles.append(net[2].weight.register_hook(lambda grad: None))
        handles.append(register_multi_grad_hook(tuple(net.parameters()), lambda grads: None))
        handles.append(net.register_state_dict_post_hook(lambda *a: None))
        net(torch.ones(1, 2)).sum().backward()
        net.state_dict()
        for handle in handles:
            handle.remove()

    return net, step


@repeated
def a_module_that_raises() -> Any:
    net = small()

    def step() -> None:
        with contextlib.suppress(TypeError):
            net(torch.ones(1, 2), 3)
        with contextlib.suppress(RuntimeError):
            net(torch.ones(1, 3))

    return net, step


@repeated
def saved_tensors_checkpoints_and_double_backward() -> Any:
    net = small(inplace=False)

    def step() -> None:
        x = torch.ones(1, 2, requires_grad=True)
        with saved_tensors_hooks(lambda tensor: tensor.clone(), lambda tensor: tensor):
            y = net(x)
        y.sum().backward()
        checkpoint(net, x, use_reentrant=False).sum().backward()
        (gradient,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
        gradient.sum().backward()

    return net, step


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad * 2 + ctx.saved_tensors[0] * 0


@repeated
def custom_functions_and_plain_tensors() -> Any:
    net = small()

    def step() -> None:
        x = torch.ones(1, 2, requires_grad=True)
        y = Twice.apply(net[0](x)) * 3
        y.register_hook(lambda grad: None)
        z = (y[0] + x).sum()
        z.backward()

    return net, step


@repeated
def optimizers_and_schedulers() -> Any:
    net = small()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    optimizer.register_step_pre_hook(hook)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)

    def step() -> None:
        optimizer.zero_grad()
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        scheduler.step()

    return net, step


TRACED: dict[str, Callable[[Any], Any]] = {
    "the model": lambda net: ht.trace(net, edits="versions"),
    "everything": lambda net: ht.trace(),
    "the model kept": lambda net: ht.trace(net, keep=True),
}


@pytest.fixture(autouse=True)
def only_what_is_new_is_counted() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def census() -> Counter[str]:
    """Count what is alive by kinds, and the tensors among it once more."""
    gc.collect()
    things = gc.get_objects()
    found = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in things)
    found["tensors"] = sum(issubclass(type(one), torch.Tensor) for one in things)
    del things
    return found


def grown(before: Counter[str], after: Counter[str], by: int) -> dict[str, int]:
    """What there is at least so much more of."""
    return {kind: more for kind, more in (after - before).items() if more >= by}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("tracing", TRACED)
def test_many_traces_leave_what_one_leaves(name: str, tracing: str) -> None:
    net, step = STEPS[name]()
    times = 1000 if (name, tracing) == ("forward_and_backward", "the model") else 100

    def once() -> None:
        with TRACED[tracing](net):
            step()

    for _ in range(10):
        once()
    before = census()
    for _ in range(times):
        once()
    assert grown(before, census(), by=times // 2) == {}  # one for each would be found


@pytest.mark.parametrize("name", STEPS)
def test_many_steps_in_one_trace_hold_no_tensor_and_no_hook(name: str) -> None:
    """The log grows by its rows, alike for each step; nothing of the user's grows."""
    net, step = STEPS[name]()
    half = 500 if name == "hooks_of_many_kinds" else 50
    with ht.trace(net, edits="versions") as t:
        for _ in range(20):
            step()
        first, events = census(), len(t.log)
        for _ in range(half):
            step()
        second, more = census(), len(t.log)
        for _ in range(half):
            step()
        third, most = census(), len(t.log)
    theirs = {
        kind: number
        for kind, number in grown(first, third, by=half // 5).items()
        if kind == "tensors" or kind.startswith(("torch.nn", "torch.utils", "torch.autograd"))
    }
    assert theirs == {}
    rows = (second.total() - first.total()) / (more - events)
    later = (third.total() - second.total()) / (most - more)
    assert later < rows + 0.5  # how often an address is used again differs
    assert rows < 2  # tracked objects for each event: none for the row itself


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("tracing", TRACED)
def test_the_collector_finds_nothing_of_ours_after_the_block(name: str, tracing: str) -> None:
    net, step = STEPS[name]()
    for _ in range(2):
        with TRACED[tracing](net):
            step()
    gc.collect()
    gc.disable()
    try:
        with TRACED[tracing](net) as t:
            step()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        ours = Counter(
            type(one).__qualname__ for one in gc.garbage if _is_ours(type(one).__module__)
        )
        assert ours == Counter()
        assert t.events
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("tracing", TRACED)
def test_with_the_trace_goes_everything_that_it_made(tracing: str) -> None:
    net, step = STEPS["hooks_of_many_kinds"]()
    with TRACED[tracing](net) as t:
        step()
    assert of_ours()
    del t
    gc.collect()
    assert of_ours() == Counter()


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("tracing", TRACED)
def test_a_trace_that_is_dropped_goes_without_the_collector(name: str, tracing: str) -> None:
    net, step = STEPS[name]()
    with TRACED[tracing](net):
        step()
    gc.collect()
    gc.disable()
    try:
        with TRACED[tracing](net) as t:
            step()
        log = weakref.ref(t.log)
        del t
        assert log() is None
    finally:
        gc.enable()


def of_ours() -> Counter[str]:
    """Count the living objects of our classes."""
    return Counter(
        type(one).__qualname__ for one in gc.get_objects() if _is_ours(type(one).__module__)
    )


def _is_ours(module: Any) -> bool:
    return str(module).partition(".")[0] == "hooktrace"


def test_the_census_notices_a_tensor_a_hook_and_a_cycle_of_ours() -> None:
    before = census()
    kept = [(torch.ones(1), nn.ReLU()) for _ in range(10)]
    found = grown(before, census(), by=10)
    assert found["tensors"] == 10
    assert found["torch.nn.modules.activation.ReLU"] == len(kept)
    t = ht.trace()
    assert of_ours()["Trace"] == 1
    t.itself = t
    del t
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        assert "Trace" in [type(one).__qualname__ for one in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
