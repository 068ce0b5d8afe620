"""Facts that are recorded for the sake of diagnoses: modes, containers, registrations, owners."""

from __future__ import annotations

import copy
import functools
import sys
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.events import BackwardStarted, StepStarted
from hooktrace.modes import Mode


class Net(nn.Module):
    """Returns what it is told to."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.make = make

    def forward(self, x: torch.Tensor) -> Any:
        return self.make(self.layer(x))


def test_a_call_knows_the_modes_in_which_it_was_made() -> None:
    net = nn.Linear(2, 2)
    x = torch.ones(1, 2)
    with ht.trace(net) as t:
        net(x)
        with torch.no_grad():
            net.eval()(x)
        with torch.inference_mode():
            net.train()(x)
    assert [call.mode for call in t.calls()] == [
        Mode(grad=True, inference=False, training=True),
        Mode(grad=False, inference=False, training=False),
        Mode(grad=False, inference=True, training=True),
    ]


class Answer(dict[str, torch.Tensor]):
    pass


@pytest.mark.parametrize(
    ("make", "container"),
    [
        (lambda y: y, ""),
        (lambda y: (y, y), ""),
        (lambda y: [y], "list"),
        (lambda y: {"y": y}, "dict"),
        (lambda y: Answer(y=y), "Answer"),
        (lambda y: None, "NoneType"),
    ],
)
@pytest.mark.parametrize("hooked", [False, True])
def test_a_call_knows_the_class_of_what_it_returned(
    make: Any, container: str, hooked: bool
) -> None:
    net = Net(make)
    if hooked:
        net.register_forward_hook(lambda module, args, output: None)
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    assert t["Net"].container == container


def test_a_module_knows_the_class_of_pytorch_that_it_derives_from() -> None:
    class Mine(nn.ReLU):
        pass

    net = nn.Sequential(Mine(), Net(lambda y: y))
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    assert [call.module.base for call in t.calls()] == ["Sequential", "ReLU", "Module", "Linear"]


def hook(*_: Any) -> None:
    """Look."""


def other(param: torch.Tensor) -> None:
    """Use a gradient."""
    (lambda: param.grad)()


def facts(t: ht.Trace, owner: str) -> Any:
    found = [row for row in t.hooks if row.owner == owner]
    assert len(found) == 1
    return t.log.registrations[found[0].id]


def test_hooks_of_one_function_are_told_from_others() -> None:
    net = nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.ReLU())
    for member in (net[0], net[1]):
        member.register_forward_hook(hook)
    for member in (net[2], net[3]):
        member.register_forward_hook(lambda module, args, output: None)
    with ht.trace(net) as t:
        net(torch.ones(2))
    numbers = [facts(t, str(place)).function for place in range(4)]
    assert numbers[0] == numbers[1]
    assert len(set(numbers)) == 3


def test_bound_methods_are_told_apart_by_what_they_are_bound_to() -> None:
    class Keeper:
        def keep(self, *_: Any) -> None:
            pass

    net = nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU())
    first, second = Keeper(), Keeper()
    for member, keeper in zip(net, (first, second, first), strict=True):
        member.register_forward_hook(keeper.keep)
    with ht.trace(net) as t:
        net(torch.ones(2))
    numbers = [facts(t, str(place)).function for place in range(3)]
    assert numbers[0] == numbers[2] != numbers[1]


def test_a_copied_module_has_hooks_with_the_numbers_of_the_original() -> None:
    net = nn.ReLU()
    handle = net.register_forward_hook(hook)
    both = nn.Sequential(net, copy.deepcopy(net))
    with ht.trace(both) as t:
        both(torch.ones(2))
    assert facts(t, "0").number == facts(t, "1").number == handle.id
    assert not facts(t, "0").beyond
    assert [len(call.hooks) for call in t.calls("[01]")] == [1, 1]


def test_a_number_that_pytorch_has_yet_to_give_out_is_noted() -> None:
    net = nn.ReLU()
    net._forward_hooks[torch.utils.hooks.RemovableHandle.next_id + 5] = hook
    with ht.trace(net) as t:
        net(torch.ones(2))
    assert facts(t, "ReLU").beyond


def test_what_is_left_and_what_nobody_can_remove_is_told_at_the_end() -> None:
    net = nn.Sequential(nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.ReLU())
    net[3].register_forward_hook(hook)
    with ht.trace(net) as t:
        kept = net[0].register_forward_hook(hook)
        net[1].register_forward_hook(hook)
        net[2].register_forward_hook(hook).remove()
        net(torch.ones(2))
    told = [(facts(t, str(place)).left, facts(t, str(place)).dropped) for place in range(4)]
    assert told == [(True, False), (True, True), (False, True), (False, False)]
    kept.remove()


def test_a_dictionary_that_was_cleared_has_no_hook_left() -> None:
    net = nn.ReLU()
    with ht.trace(net) as t:
        net.register_forward_hook(hook)
        net._forward_hooks.clear()
        net(torch.ones(2))
    assert not facts(t, "ReLU").left


def test_the_names_that_a_hook_uses_are_noted_also_of_functions_inside() -> None:
    w = torch.ones(1, requires_grad=True)
    with ht.trace() as t:
        w.register_post_accumulate_grad_hook(other)
        w.sum().backward()
    assert "grad" in facts(t, "w").names


def test_a_parameter_that_was_replaced_is_told() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with ht.trace(net) as t:
        old = net[0].weight
        net[0].weight = nn.Parameter(torch.zeros(2, 2))
        net(torch.ones(1, 2))
    assert list(t.log.replaced.values()) == ["0.weight"]
    del old


def test_a_parameter_that_is_still_there_is_not_called_replaced() -> None:
    net = nn.Linear(2, 2)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
        torch.optim.SGD(net.parameters(), 0.1).step()
    assert t.log.replaced == {}


def test_the_parameters_of_an_optimizer_are_told() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = torch.optim.SGD(net[0].parameters(), 0.1)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        optimizer.add_param_group({"params": net[1].parameters()})
        optimizer.step()
    names = [t.log.tensors[one].name for one in t.log.optimized["SGD"]]
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_a_result_that_pytorch_ignores_is_recorded() -> None:
    u, v = (torch.ones(2, requires_grad=True) for _ in range(2))
    torch.autograd.graph.register_multi_grad_hook((u, v), lambda grads: grads[0] * 2)
    with ht.trace() as t:
        (u * v).sum().backward()
    (firing,) = t.of(ht.events.HookFired)
    assert firing.edits == ()
    assert [one.numbers for one in firing.returned] == [(2.0, 2.0)]


def test_backward_runs_and_steps_know_the_statement_that_called_them() -> None:
    w = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([w], 0.1)
    first = sys._getframe().f_lineno
    with ht.trace() as t:
        (w * 2).sum().backward()
        torch.autograd.grad((w * 2).sum(), w)
        optimizer.step()
    runs = [event.line for event in t.events if isinstance(event, BackwardStarted)]
    assert runs == [f"{__file__}:{first + 2}", f"{__file__}:{first + 3}"]
    steps = [event.line for event in t.events if isinstance(event, StepStarted)]
    assert steps == [f"{__file__}:{first + 4}"]


class Keeper:
    """Has hooks of all shapes that a callable can have."""

    def method(self, gradient: torch.Tensor) -> None: ...

    def __call__(self, called: torch.Tensor) -> None: ...


def two(given: int, last: torch.Tensor) -> None: ...


def anything(*arguments: torch.Tensor) -> None: ...


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda grad: None, "grad"),
        (Keeper().method, "gradient"),
        (Keeper(), "called"),
        (functools.partial(two, 1), "last"),
        (torch.no_grad()(lambda grad: None), "grad"),
        (anything, ""),
        (print, ""),
    ],
)
def test_a_hook_knows_what_its_first_argument_is_called(function: Any, name: str) -> None:
    w = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        w.register_hook(function)
        (w * 2).sum()
    assert [one.argument for one in t.log.registrations.values()] == [name]
