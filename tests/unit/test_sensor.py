"""What is known of a hook: its kind, owner, function, options, and where it came from."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import hooktrace as ht
from hooktrace.events import HookRegistered, HookRemoved, TracedHook

pytestmark = pytest.mark.filterwarnings("ignore:Using a non-full backward hook:FutureWarning")

Register = Callable[[nn.Module, Any], Any]


def on_module(m: nn.Module, hook: Any) -> Any:
    return m.register_forward_hook(hook)


REGISTRATIONS: dict[str, tuple[str, str, Register]] = {
    "forward_pre": ("forward_pre", "Linear", lambda m, h: m.register_forward_pre_hook(h)),
    "forward": ("forward", "Linear", on_module),
    "full_backward_pre": (
        "full_backward_pre",
        "Linear",
        lambda m, h: m.register_full_backward_pre_hook(h),
    ),
    "full_backward": ("full_backward", "Linear", lambda m, h: m.register_full_backward_hook(h)),
    "backward": ("backward", "Linear", lambda m, h: m.register_backward_hook(h)),
    "tensor": ("tensor", "weight", lambda m, h: m.weight.register_hook(h)),
    "post_accumulate_grad": (
        "post_accumulate_grad",
        "weight",
        lambda m, h: m.weight.register_post_accumulate_grad_hook(h),
    ),
    "global forward": (
        "forward",
        "every module",
        lambda m, h: nn.modules.module.register_module_forward_hook(h),
    ),
    "global forward_pre": (
        "forward_pre",
        "every module",
        lambda m, h: nn.modules.module.register_module_forward_pre_hook(h),
    ),
}


def look(*_: Any, **__: Any) -> None:
    """Change nothing."""


class Looker:
    def method(self, *_: Any) -> None:
        """Change nothing."""

    def __call__(self, *_: Any) -> None:
        """Change nothing."""


def place(function: Any) -> str:
    """Where a function is defined, by Python's own account."""
    return f"{inspect.getsourcefile(function)}:{inspect.getsourcelines(function)[1]}"


def run(m: nn.Module) -> None:
    m(torch.ones(1, 2, requires_grad=True)).sum().backward()


def only_hook(t: ht.Trace) -> TracedHook:
    (hook,) = t.hooks
    return hook


def registered(hook: Any) -> TracedHook:
    m = nn.Linear(2, 2)
    with ht.trace(m) as t:
        handle = m.register_forward_hook(hook)
        m(torch.ones(1, 2))
    handle.remove()
    assert len(t.of(ht.events.HookFired)) == 1
    return only_hook(t)


@pytest.mark.parametrize("name", REGISTRATIONS)
def test_a_hook_registered_inside_the_block_is_known_with_its_line(name: str) -> None:
    kind, owner, register = REGISTRATIONS[name]
    m = nn.Linear(2, 2)
    with ht.trace(m) as t:
        handle = register(m, look)
        run(m)
        handle.remove()
    hook = only_hook(t)
    assert (hook.kind, hook.owner, hook.name) == (kind, owner, "look")
    assert hook.defined_at == place(look)
    assert hook.registered_at is not None
    file, _, line = hook.registered_at.rpartition(":")
    lines, first = inspect.getsourcelines(register)
    assert file == __file__
    assert first <= int(line) < first + len(lines)
    assert [len(t.of(one)) for one in (HookRegistered, HookRemoved)] == [1, 1]
    assert len(t.of(ht.events.HookFired)) == 1


@pytest.mark.parametrize("name", REGISTRATIONS)
def test_a_hook_registered_before_the_block_is_known_without_a_line(name: str) -> None:
    kind, owner, register = REGISTRATIONS[name]
    m = nn.Linear(2, 2)
    handle = register(m, look)
    with ht.trace(m) as t:
        run(m)
    handle.remove()
    hook = only_hook(t)
    assert (hook.kind, hook.owner, hook.name) == (kind, owner, "look")
    assert hook.defined_at == place(look)
    assert hook.registered_at is None
    assert t.of(HookRegistered) == []
    assert len(t.of(ht.events.HookFired)) == 1


def test_an_inner_module_is_named_as_the_owner() -> None:
    m = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU()))
    m[1][0].register_forward_hook(look)
    with ht.trace(m) as t:
        run(m)
    assert only_hook(t).owner == "1.0"


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("options", [(), ("prepend",), ("always_call", "prepend", "with_kwargs")])
def test_the_options_of_a_registration_are_known(before: bool, options: tuple[str, ...]) -> None:
    m = nn.Linear(2, 2)
    chosen: Any = dict.fromkeys(options, True)
    if before:
        m.register_forward_hook(look, **chosen)
    with ht.trace(m) as t:
        if not before:
            m.register_forward_hook(look, **chosen)
        run(m)
    expected = set(options) - ({"prepend"} if before else set())  # the order does not tell it
    assert set(only_hook(t).options) == expected


def test_a_lambda_is_called_a_lambda() -> None:
    hook = registered(lambda m, args, output: None)
    assert hook.name == "<lambda>"
    assert hook.defined_at.startswith(f"{__file__}:")


def test_a_partial_is_named_with_what_it_wraps() -> None:
    hook = registered(functools.partial(functools.partial(look), 1))
    assert hook.name in ("partial(look)", "partial(partial(look))")
    assert hook.defined_at == place(look)


def test_a_bound_method_is_named_with_its_class() -> None:
    hook = registered(Looker().method)
    assert (hook.name, hook.defined_at) == ("Looker.method", place(Looker.method))


def test_a_callable_object_is_named_by_its_class() -> None:
    hook = registered(Looker())
    assert (hook.name, hook.defined_at) == ("Looker", place(Looker.__call__))


def test_a_local_function_is_named_without_what_is_around_it() -> None:
    def inner(*_: Any) -> None:
        """Change nothing."""

    assert registered(inner).name == "inner"


def test_a_builtin_has_no_place() -> None:
    w = torch.ones(2, requires_grad=True)
    got: list[torch.Tensor] = []
    with ht.trace() as t:
        w.register_hook(got.append)
        (w * 2).sum().backward()
    hook = only_hook(t)
    assert (hook.owner, hook.name, hook.defined_at) == ("w", "list.append", "")
    assert len(got) == 1


def test_a_registration_inside_pytorch_is_placed_where_the_user_called_it() -> None:
    m = nn.Linear(2, 2)
    with ht.trace(m) as t:
        prune.identity(m, "weight")  # registers a forward_pre hook
        run(m)
    assert only_hook(t).kind == "forward_pre"
    assert (only_hook(t).registered_at or "").startswith(f"{__file__}:")


def test_the_same_function_registered_twice_is_two_hooks() -> None:
    m = nn.Linear(2, 2)
    with ht.trace(m) as t:
        m.register_forward_hook(look)
        m.register_forward_hook(look)
        run(m)
    first, second = t.hooks
    assert first.registered_at != second.registered_at
    assert [one.hook for one in t.of(ht.events.HookFired)] == [first.id, second.id]
