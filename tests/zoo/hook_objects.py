"""Hooks that are no plain functions, and hooks that got there in no plain way."""

from __future__ import annotations

import functools
import operator
from typing import Any
from unittest.mock import Mock

import torch
from torch import nn

from zoo.program import described, note, program


def registrars(net: nn.Module, x: torch.Tensor) -> list[Any]:
    """Every function that registers a module or tensor hook on the net, its weight and x."""
    return [
        net.register_forward_pre_hook,
        net.register_forward_hook,
        net.register_full_backward_pre_hook,
        net.register_full_backward_hook,
        net.weight.register_hook,
        net.weight.register_post_accumulate_grad_hook,
        x.register_hook,
    ]


class Bound:
    def __init__(self, log: list[Any]) -> None:
        self.log = log

    def hook(self, *arguments: Any) -> None:
        self.log.append(["bound", *map(described, arguments)])

    @classmethod
    def of_class(cls, *arguments: Any) -> None: ...

    @staticmethod
    def static(*arguments: Any) -> None: ...


class Callable:
    """Has no name, no dictionary, is false, unhashable, and equal to nothing."""

    __slots__ = ("log",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, log: list[Any]) -> None:
        self.log = log

    def __call__(self, *arguments: Any) -> None:
        self.log.append(["callable", *map(described, arguments)])

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return False


@program
def partials_bound_methods_and_callable_objects_as_hooks() -> Any:
    net = nn.Linear(2, 2)
    log: list[Any] = []
    x = torch.ones(1, 2, requires_grad=True)
    bound = Bound(log)
    hooks = (
        functools.partial(note(log, "partial")),
        functools.partial(lambda name, *rest: note(log, name)(*rest), "with an argument"),
        functools.partial(functools.partial(bound.hook)),
        bound.hook,
        bound.hook,
        Bound.of_class,
        Bound.static,
        Callable(log),
    )
    handles = [register(hook) for register in registrars(net, x) for hook in hooks]

    def step() -> Any:
        net(x).sum().backward()
        for handle in handles[::2]:
            handle.remove()
        net(x).sum().backward()
        return log, handles

    return net, step


@program
def builtins_and_mocks_as_hooks() -> Any:
    net = nn.Linear(2, 2)
    x = torch.ones(1, 2, requires_grad=True)
    mocks = [Mock(return_value=None, name=f"mock {n}") for n in range(7)]
    for register, mock in zip(registrars(net, x), mocks, strict=True):
        register(mock)
    seen: list[Any] = []
    net.weight.register_hook(torch.neg)
    net.weight.register_hook(operator.neg)
    net.weight.register_hook(seen.append)
    net.weight.register_hook(torch.Tensor.clone)
    x.register_hook(torch.relu_)
    net.register_forward_hook(lambda *a: None, with_kwargs=False)
    net.register_forward_hook(max, always_call=False)  # raises: modules cannot be ordered

    def step() -> Any:
        raised = caught(lambda: net(x))
        handle = net.weight.register_post_accumulate_grad_hook(seen.append)
        net.forward(x).sum().backward()
        found = len(seen), seen[-1] is net.weight
        seen.clear()
        calls = [[described(one.args[1:]) for one in mock.call_args_list] for mock in mocks]
        for mock in mocks:
            mock.reset_mock()
        return raised, handle, found, calls

    return net, step


def caught(work: Any) -> Any:
    try:
        return work()
    except Exception as error:
        return type(error).__name__, str(error)


@program
def hooks_put_into_the_dictionaries_by_hand() -> Any:
    from collections import OrderedDict

    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    log: list[Any] = []
    net[0]._forward_pre_hooks[7] = note(log, "pre")
    net[0]._forward_hooks["name"] = note(log, "forward")  # type: ignore[index]
    net[1]._forward_hooks = OrderedDict({1: note(log, "other dictionary")})
    net[1].weight._backward_hooks = OrderedDict({-1: note(log, "tensor")})
    net[0].bias.register_hook(note(log, "first"))
    net[0].bias._backward_hooks[99] = note(log, "second")

    def step() -> Any:
        net(torch.ones(1, 2)).sum().backward()
        net[0]._forward_hooks.clear()
        net[0].bias._backward_hooks.pop(99)
        net[1].weight._backward_hooks = None
        net(torch.ones(1, 2)).sum().backward()
        return log

    return net, step


@program
def one_hook_registered_everywhere() -> Any:
    nets = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    log: list[Any] = []
    hook = note(log, "shared")
    x = torch.ones(1, 2, requires_grad=True)
    handles = [register(hook) for net in nets for register in registrars(net, x)]
    nets.register_forward_hook(hook)  # a ModuleList is never called

    def step() -> Any:
        y = x
        for net in nets:
            y = net(y)
        y.sum().backward()
        for handle in handles:
            handle.remove()
        return log, handles

    return nets, step


@program
def prepended_and_reordered_hooks() -> Any:
    net = nn.Linear(2, 2)
    log: list[str] = []
    x = torch.ones(1, 2, requires_grad=True)
    for register in registrars(net, x)[:4]:
        for name in ("a", "b"):
            register(lambda *a, name=name: log.append(name))
            register(lambda *a, name=name: log.append(f"prepended {name}"), prepend=True)
    net.weight.register_hook(lambda g: log.append("one"))
    net.weight.register_hook(lambda g: log.append("two"))
    net.weight._backward_hooks.move_to_end(next(iter(net.weight._backward_hooks)))

    def step() -> Any:
        net(x).sum().backward()
        net._forward_hooks.move_to_end(next(iter(net._forward_hooks)))
        net(x).sum().backward()
        return log

    return net, step


@program
def a_hook_that_pickles_and_copies_what_it_hangs_on() -> Any:
    import copy
    import io

    net = nn.Linear(2, 2)
    log: list[Any] = []

    class Hook:
        def __call__(self, *arguments: Any) -> None:
            file = io.BytesIO()
            torch.save(net.weight, file)  # warns, and quotes the hook
            log.append(copy.deepcopy(net.weight))
            log.append([repr(hook) for hook in net.weight._backward_hooks.values()] == ["<hook>"])

        def __repr__(self) -> str:
            return "<hook>"

    net.register_forward_hook(Hook())
    net.weight.register_hook(Hook())
    return net, lambda: (net(torch.ones(1, 2)).sum().backward(), log)


@program
def handles_pickled_copied_and_used_as_contexts() -> Any:
    import copy
    import pickle

    from zoo.program import module_hook

    net = nn.Linear(2, 2)

    def step() -> Any:
        handle = net.register_forward_hook(module_hook)
        twin, loaded = pickle.loads(pickle.dumps((net, handle)))
        copied = copy.deepcopy(net)
        first = net(torch.ones(1, 2)), twin(torch.ones(1, 2)), copied(torch.ones(1, 2))
        loaded.remove()
        with net.weight.register_hook(lambda g: g * 3), net.register_forward_hook(module_hook):
            net(torch.ones(1, 2)).sum().backward()
        handle.remove()
        return first, handle, loaded, net, twin, copied

    return net, step
