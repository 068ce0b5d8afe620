"""The order in which hooks fire: PyTorch's own, told by what the hooks themselves write down."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.modules.module as every
from torch import nn
from torch.autograd import Variable
from torch.autograd.graph import register_multi_grad_hook, saved_tensors_hooks
from torch.optim import SGD
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.checkpoint import checkpoint

import hooktrace as ht
from hooktrace.events import HookFired

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using a non-full backward hook:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Full backward hook is firing when:UserWarning"),
]

Register = Callable[[str, Callable[[Any], Any]], None]


class Diary:
    """Hooks that write their names down when they fire."""

    def __init__(self) -> None:
        self.fired: list[str] = []
        self.handles: list[Any] = []

    def hook(self, name: str, result: Callable[..., Any] | None = None) -> Any:
        """Return a hook of this name."""

        def fire(*arguments: Any, **named: Any) -> Any:
            self.fired.append(name)
            return None if result is None else result(*arguments)

        fire.__qualname__ = fire.__name__ = name
        return fire

    def __call__(self, name: str, register: Callable[[Any], Any]) -> None:
        """Register a hook of this name."""
        self.handles.append(register(self.hook(name)))

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()
        every._global_is_full_backward_hook = None


@pytest.fixture
def diary() -> Iterator[Diary]:
    found = Diary()
    yield found
    found.remove()


def told(t: ht.Trace) -> list[str]:
    """Return the names of the hooks in the order in which the trace says that they were called."""
    firings = sorted(t.of(HookFired), key=lambda one: one.time_ns)
    return [t.hooks[one.hook].name for one in firings]


def everything_on_one_linear(add: Diary, net: nn.Linear, x: torch.Tensor, opt: SGD) -> None:
    """Register two of whatever there is, in an order that is not the one of firing."""
    add("all full_backward", every.register_module_full_backward_hook)
    add("full_backward", net.register_full_backward_hook)
    add("full_backward first", lambda h: net.register_full_backward_hook(h, prepend=True))
    add("all full_backward_pre", every.register_module_full_backward_pre_hook)
    add("full_backward_pre", net.register_full_backward_pre_hook)
    add("full_backward_pre first", lambda h: net.register_full_backward_pre_hook(h, prepend=True))
    add("all forward", every.register_module_forward_hook)
    add("all forward always",
        lambda h: every.register_module_forward_hook(h, always_call=True))  # fmt: skip
    add("forward", net.register_forward_hook)
    add("forward always", lambda h: net.register_forward_hook(h, always_call=True))
    add("forward first", lambda h: net.register_forward_hook(h, with_kwargs=True, prepend=True))
    add("forward_pre", net.register_forward_pre_hook)
    add("forward_pre first", lambda h: net.register_forward_pre_hook(h, prepend=True))
    add("all forward_pre", every.register_module_forward_pre_hook)
    for name, parameter in net.named_parameters():
        add(f"{name} accumulated", parameter.register_post_accumulate_grad_hook)
        add(f"{name} tensor", parameter.register_hook)
    both = (net.weight, net.bias)
    add("any of both", lambda h: register_multi_grad_hook(both, h, mode="any"))
    add("all of both", lambda h: register_multi_grad_hook(both, h))
    add("x tensor", x.register_hook)
    add("step_pre", opt.register_step_pre_hook)
    add("all step_pre", register_optimizer_step_pre_hook)
    add("all step_post", register_optimizer_step_post_hook)
    add("step_post", opt.register_step_post_hook)


def everything_in_the_graph(add: Diary, y: torch.Tensor) -> None:
    """Register hooks on what exists only once forward has run."""
    output: Any = y.grad_fn
    add("output node", output.register_hook)
    add("output node pre", output.register_prehook)
    linear = output.next_functions[0][0]
    add("linear node", linear.register_hook)
    add("linear node pre", linear.register_prehook)
    for parent, slot in ((linear, 0), (linear.next_functions[2][0], 0)):
        node = parent.next_functions[slot][0]
        add.handles.append(_Kept(node))
        name = "bias" if slot == 0 and parent is linear else "weight"
        add(f"{name} node", node.register_hook)
        add(f"{name} node pre", node.register_prehook)
    add("y tensor", y.register_hook)
    add("y tensor 2", y.register_hook)
    call = add.hook("callback")
    y.register_hook(lambda grad: Variable._execution_engine.queue_callback(call))


class _Kept:
    """Keeps a node alive, as a handle would."""

    def __init__(self, node: Any) -> None:
        self.node = node

    def remove(self) -> None:
        self.node = None


_FORWARD = """all forward_pre, forward_pre first, forward_pre, pack, pack,
all forward, all forward always, forward first, forward, forward always"""
_BACKWARD = """y tensor, y tensor 2, output node pre, all full_backward_pre,
full_backward_pre first, full_backward_pre, output node, linear node pre, unpack, unpack,
linear node, bias tensor, any of both, bias node pre, bias accumulated, bias node,
weight tensor, all of both, weight node pre, weight accumulated, weight node,
all full_backward, full_backward first, full_backward, x tensor, callback"""
_STEP = "all step_pre, step_pre, step_post, all step_post"


@pytest.mark.parametrize("before", [True, False], ids=["before", "inside"])
def test_everything_registered_on_one_linear_fires_in_pytorchs_order(
    diary: Diary, before: bool
) -> None:
    net = nn.Linear(2, 2)
    leaf = torch.ones(1, 2, requires_grad=True)
    x = leaf * 2
    optimizer = SGD(net.parameters(), lr=0.1)
    if before:
        everything_on_one_linear(diary, net, x, optimizer)
    saved = saved_tensors_hooks(
        diary.hook("pack", lambda tensor: tensor), diary.hook("unpack", lambda tensor: tensor)
    )
    with ht.trace(net) as t:
        if not before:
            everything_on_one_linear(diary, net, x, optimizer)
        with saved:
            y = net(x)
        everything_in_the_graph(diary, y)
        y.sum().backward()
        optimizer.step()
    ours = [name for name in told(t) if name in diary.fired]
    assert ours == diary.fired
    expected = ", ".join((_FORWARD, _BACKWARD, _STEP)).replace("\n", " ").split(", ")
    assert diary.fired == expected


def test_legacy_hooks_fire_after_the_output_node(diary: Diary) -> None:
    net = nn.Linear(2, 2)
    diary("own", net.register_backward_hook)
    diary("all", every.register_module_backward_hook)
    with ht.trace(net) as t:
        y = net(torch.ones(1, 2))
        diary("y", y.register_hook)
        diary("node", y.grad_fn.register_hook)  # type: ignore[union-attr]
        diary("node pre", y.grad_fn.register_prehook)  # type: ignore[union-attr]
        y.sum().backward()
    assert told(t) == diary.fired == ["y", "node pre", "all", "own", "node"]


def test_hooks_of_nested_modules_nest(diary: Diary) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Tanh(), nn.Linear(2, 2)))
    for name, module in net.named_modules():
        for kind in ("forward_pre", "forward", "full_backward_pre", "full_backward"):
            diary(f"{name or 'root'} {kind}", getattr(module, f"register_{kind}_hook"))
    with ht.trace(net) as t:
        net(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert told(t) == diary.fired
    assert len(diary.fired) == 20


# ------------------------------------------------------------------ saving, loading, stepping


def test_hooks_of_saving_fire_from_the_outside_in_and_back(diary: Diary) -> None:
    net = nn.Sequential(nn.Linear(1, 1))
    for name, module in (("child", net[0]), ("root", net)):
        diary(f"{name} post", module.register_state_dict_post_hook)
        diary(f"{name} pre", module.register_state_dict_pre_hook)
        diary(f"{name} private", module._register_state_dict_hook)
        diary(f"{name} load post", module.register_load_state_dict_post_hook)
        diary(f"{name} load pre", module.register_load_state_dict_pre_hook)
    with ht.trace(net) as t:
        net.load_state_dict(net.state_dict())
    saving = ["root pre", "child pre", "child post", "child private", "root post", "root private"]
    loading = ["root load pre", "child load pre", "child load post", "root load post"]
    assert told(t) == diary.fired == saving + loading


def test_hooks_on_an_optimizers_state_fire_in_order(diary: Diary) -> None:
    net = nn.Linear(1, 1)
    optimizer = SGD(net.parameters(), lr=0.1)
    for name in ("second", "first"):
        for kind in ("state_dict_pre", "state_dict_post"):
            register = getattr(optimizer, f"register_{kind}_hook")
            diary(f"{name} {kind}", lambda h, r=register: r(h, prepend=True))
            load = getattr(optimizer, f"register_load_{kind}_hook")
            diary(f"{name} load_{kind}", lambda h, r=load: r(h, prepend=True))
    with ht.trace() as t:
        optimizer.load_state_dict(optimizer.state_dict())
    assert told(t) == diary.fired
    assert [one.partition(" ")[0] for one in diary.fired] == ["first", "second"] * 4


def test_a_step_that_calls_the_one_of_its_base_class_fires_twice(diary: Diary) -> None:
    class Twice(SGD):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    net = nn.Linear(1, 1)
    optimizer = Twice(net.parameters(), lr=0.1)
    diary("pre", optimizer.register_step_pre_hook)
    diary("post", optimizer.register_step_post_hook)
    diary("all pre", register_optimizer_step_pre_hook)
    diary("all post", register_optimizer_step_post_hook)
    with ht.trace(net) as t:
        net(torch.ones(1, 1)).sum().backward()
        optimizer.step()
    around = ["all pre", "pre"] * 2 + ["post", "all post"] * 2
    assert told(t) == diary.fired == around


# ------------------------------------------------------------------ exceptions and recomputation


class OddError(Exception):
    """What is raised on purpose."""


def test_only_hooks_that_are_always_called_fire_when_forward_raises(diary: Diary) -> None:
    class Raising(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise OddError

    net = Raising()
    diary("own", net.register_forward_hook)
    diary("own always", lambda h: net.register_forward_hook(h, always_call=True))
    diary("all always", lambda h: every.register_module_forward_hook(h, always_call=True))
    diary("all", every.register_module_forward_hook)
    with ht.trace(net) as t, pytest.raises(OddError):
        net(torch.ones(1))
    assert told(t) == diary.fired == ["all always", "own always"]


def test_a_hook_that_raises_keeps_the_plain_ones_after_it_from_firing(diary: Diary) -> None:
    def odd(*_: Any) -> None:
        raise OddError

    net = nn.ReLU()
    diary("first", net.register_forward_hook)
    diary.handles.append(net.register_forward_hook(diary.hook("raises", odd)))
    diary("plain", net.register_forward_hook)
    diary("always", lambda h: net.register_forward_hook(h, always_call=True))
    with ht.trace(net) as t, pytest.raises(OddError):
        net(torch.ones(1))
    assert told(t) == diary.fired == ["first", "raises", "always"]


@pytest.mark.parametrize("reentrant", [True, False], ids=["reentrant", "not"])
def test_a_recomputation_fires_its_hooks_again(diary: Diary, reentrant: bool) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    for name, module in net.named_children():
        for kind in ("forward_pre", "forward", "full_backward_pre", "full_backward"):
            diary(f"{name} {kind}", getattr(module, f"register_{kind}_hook"))
    with ht.trace(net) as t:
        x = torch.ones(1, 2, requires_grad=True)
        checkpoint(net, x, use_reentrant=reentrant).sum().backward()
    ours = [name for name in told(t) if name in diary.fired]
    assert ours == diary.fired
    assert diary.fired.count("0 forward_pre") == 2


def test_a_double_backward_fires_hooks_again_where_it_passes(diary: Diary) -> None:
    net = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1))
    for name, module in net.named_children():
        for kind in ("full_backward_pre", "full_backward"):
            diary(f"{name} {kind}", getattr(module, f"register_{kind}_hook"))
    diary("weight", net[0].weight.register_hook)
    with ht.trace(net) as t:
        x = torch.ones(1, 1, requires_grad=True)
        (grad,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        grad.sum().backward()
    assert told(t) == diary.fired
    assert diary.fired.count("0 full_backward_pre") == 2


# ------------------------------------------------------------------ whatever comes


def _module_hooks(rng: random.Random, net: nn.Module, add: Diary) -> None:
    for name, module in net.named_modules():
        for kind in ("forward_pre", "forward", "full_backward_pre", "full_backward"):
            register = getattr(module, f"register_{kind}_hook")
            for number in range(rng.randrange(3)):
                first = rng.random() < 0.5
                add(f"{name} {kind} {number}", lambda h, r=register, p=first: r(h, prepend=p))


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_registered_fires_in_the_order_that_is_told(seed: int, diary: Diary) -> None:
    rng = random.Random(seed)
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Tanh(), nn.Linear(3, 2)), nn.Sigmoid())
    optimizer = SGD(net.parameters(), lr=0.1)
    parts = [
        lambda: _module_hooks(rng, net, diary),
        lambda: diary("all pre", every.register_module_forward_pre_hook),
        lambda: diary("all backward", every.register_module_full_backward_hook),
        lambda: [diary(f"{n} tensor", p.register_hook) for n, p in net.named_parameters()],
        lambda: [
            diary(f"{n} accumulated", p.register_post_accumulate_grad_hook)
            for n, p in net.named_parameters()
        ],
        lambda: diary(
            "some", lambda h: register_multi_grad_hook([*net.parameters()][1:3], h, mode="all")
        ),
        lambda: diary("step", optimizer.register_step_post_hook),
        lambda: diary("saved", net[1].register_state_dict_post_hook),
    ]
    rng.shuffle(parts)
    cut = rng.randrange(len(parts))
    for part in parts[:cut]:
        part()
    with ht.trace(net) as t:
        for part in parts[cut:]:
            part()
        for _ in range(2):
            x = torch.ones(1, 2, requires_grad=rng.random() < 0.8)
            y = net(x)
            diary("y", y.register_hook)
            diary("node", y.grad_fn.register_prehook)
            y.sum().backward()
            optimizer.step()
        net.state_dict()
    assert told(t) == diary.fired
    assert len(diary.fired) > 20
