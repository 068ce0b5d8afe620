"""duplicate-hook: one function twice at one place, and what only looks like it."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

import hooktrace as ht
from hooktrace.findings import Finding

RULE = "duplicate-hook"


def save(*arguments: Any) -> None:
    """A hook that changes nothing."""


class Recorder:
    """Has a method that serves as a hook."""

    def save(self, *arguments: Any) -> None:
        """A hook that changes nothing."""


def made() -> Any:
    return lambda *arguments: None


def checked(net: Any) -> list[Finding]:
    return list(ht.check(net, select=[RULE]))


def test_a_function_that_is_registered_three_times_is_one_finding() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    for _ in range(3):
        net[0].register_forward_hook(save)
    (finding,) = checked(net)
    assert finding.severity == "warning"
    assert (
        finding.message == "The function save is registered 3 times as forward hook on 0 (Linear)."
    )
    assert finding.source.endswith(f":{save.__code__.co_firstlineno}")


def test_a_method_of_one_object_is_one_function() -> None:
    net = nn.Linear(2, 2)
    recorder = Recorder()
    net.register_forward_pre_hook(recorder.save)
    net.register_forward_pre_hook(recorder.save)
    (finding,) = checked(net)
    assert (
        finding.message
        == "The function Recorder.save is registered twice as forward pre-hook on Linear."
    )
    other = nn.Linear(2, 2)
    for one in (Recorder(), Recorder()):
        other.register_forward_pre_hook(one.save)
    assert checked(other) == []


def test_parameters_and_optimizers_have_duplicates_too() -> None:
    net = nn.Linear(2, 2)
    sgd = torch.optim.SGD(net.parameters(), 0.1)
    with ht.trace(net) as t:
        for _ in range(2):
            net.weight.register_hook(save)
            sgd.register_step_post_hook(save)
        net(torch.ones(1, 2)).sum().backward()
        sgd.step()
    assert [one.message for one in t.findings(select=[RULE])] == [
        "The function save is registered twice as tensor hook on weight.",
        "The function save is registered twice as optimizer step post-hook on SGD.",
    ]


def test_a_tensor_that_was_overwritten_between_has_no_duplicates() -> None:
    grads: list[torch.Tensor] = []

    def keep(grad: torch.Tensor) -> None:
        grads.append(grad)

    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    with ht.trace() as t:
        y = x * 3
        y.register_hook(keep)
        y.relu_()
        y.register_hook(keep)
        y.sum().backward()
    assert [one.tolist() for one in grads] == [[1.0, 1.0], [0.0, 1.0]]
    assert len({one.tensor for one in t.hooks}) == 1
    assert list(t.findings(select=[RULE])) == []


def test_a_tensor_that_was_not_overwritten_has_duplicates() -> None:
    x = torch.ones(2, requires_grad=True)
    with ht.trace() as t:
        y = x * 3
        y.register_hook(save)
        y.register_hook(save)
        y.sum().backward()
    (finding,) = t.findings(select=[RULE])
    assert finding.message == "The function save is registered twice as tensor hook on y."


def test_closures_made_by_one_line_on_one_module_are_possible_duplicates() -> None:
    net = nn.Linear(2, 2)
    for _ in range(2):
        net.register_forward_hook(made())
    (finding,) = checked(net)
    assert finding.severity == "note"
    assert finding.possible.startswith("they are different functions made by the same line")
    assert finding.message.startswith("2 functions <lambda>, made by one line, are forward hooks")


def test_what_differs_in_owner_kind_function_or_time_is_no_duplicate() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    for module in net:
        module.register_forward_hook(made())
        module.register_forward_hook(functools.partial(save, 1))
        module.register_forward_hook(save)
        module.register_forward_pre_hook(save)
        module.register_full_backward_hook(save)
    assert checked(net) == []
    with ht.trace(net) as t:
        for _ in range(2):
            with net[0].register_full_backward_pre_hook(save):
                net(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert list(t.findings(select=[RULE])) == []


def test_two_models_of_one_class_are_told_apart() -> None:
    with ht.trace() as t:
        for _ in range(2):
            net = nn.Linear(2, 2)
            net.register_forward_hook(save)
            net(torch.ones(1, 2))
    assert list(t.findings(select=[RULE])) == []


def test_a_global_hook_can_be_there_twice() -> None:
    from torch.nn.modules.module import register_module_forward_hook

    with register_module_forward_hook(save), register_module_forward_hook(save):
        (finding,) = checked(nn.Linear(2, 2))
    assert (
        finding.message == "The function save is registered twice as forward hook on every module."
    )


def test_two_lambdas_in_one_line_with_different_code_are_none() -> None:
    net = nn.Linear(2, 2)
    for hook in (lambda m, a, out: out * 2, lambda m, a, out: out + 1):
        net.register_forward_hook(hook)
    assert list(ht.check(net, select=["duplicate-hook"])) == []
    for _ in range(2):
        net.register_forward_pre_hook(lambda m, a: None)
    (found,) = ht.check(net, select=["duplicate-hook"])
    assert found.possible
