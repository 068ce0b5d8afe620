"""Where gradients came from, as links from event to event."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import hooktrace as ht
from hooktrace.events import GradientAccumulated, GradientComputed, HookFired
from hooktrace.report.whence import whence


def gradient(t: Any, name: str, role: str, run: int = 0) -> int:
    """The number of the event of a gradient of a call."""
    call = t[name].id
    (found,) = [
        one.seq
        for one in t.of(GradientComputed)
        if one.call == call and one.gradient.role == role and one.backward == run
    ]
    return int(found)


def test_a_gradient_is_followed_back_through_calls_and_hooks() -> None:
    def half(module: Any, grad_input: Any, grad_output: Any) -> Any:
        return (grad_input[0] * 0.5,)

    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    net[2].register_full_backward_hook(half)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    found = whence(t.log, t.index)
    (fired,) = t.of(HookFired)
    assert found[gradient(t, "2", "grad_input[0]")] == [fired.seq]
    assert found[fired.seq] == [gradient(t, "2", "grad_output[0]")]
    assert found[gradient(t, "1", "grad_output[0]")] == [gradient(t, "2", "grad_input[0]")]
    assert found[gradient(t, "1", "grad_input[0]")] == [gradient(t, "1", "grad_output[0]")]


def test_a_value_with_two_users_has_gradients_from_both() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.left, self.right = (nn.Linear(2, 2) for _ in range(3))

        def forward(self, x: Any) -> Any:
            x = self.first(x)
            return self.left(x) * self.right(x)

    net = Fork()
    with ht.trace(net) as t:
        loss = net(torch.ones(1, 2)).sum()
        loss.backward(retain_graph=True)
        loss.backward()
    found = whence(t.log, t.index)
    for run in (0, 1):
        both = sorted(gradient(t, name, "grad_input[0]", run) for name in ("left", "right"))
        assert found[gradient(t, "first", "grad_output[0]", run)] == both


def test_a_leaf_has_its_gradient_from_its_hook_or_from_the_call_that_sent_it() -> None:
    net = nn.Linear(2, 3)
    net.weight.register_hook(lambda grad: grad * 2)
    with ht.trace(net) as t:
        net(torch.ones(4, 2)).square().sum().backward()
    found = whence(t.log, t.index)
    filled = {t.log.tensors[one.tensor].name: one.seq for one in t.of(GradientAccumulated)}
    (fired,) = t.of(HookFired)
    arrived = gradient(t, "Linear", "grad_output[0]")
    assert found[filled["weight"]] == [fired.seq]
    assert found[fired.seq] == [arrived]
    assert found[filled["bias"]] == [arrived]


def test_backward_runs_are_kept_apart() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with ht.trace(net) as t:
        loss = net(torch.ones(1, 2)).sum()
        loss.backward(retain_graph=True)
        loss.backward()
    found = whence(t.log, t.index)
    for run in (0, 1):
        here = gradient(t, "0", "grad_output[0]", run)
        assert found[here] == [gradient(t, "1", "grad_input[0]", run)]


def test_plain_code_is_followed_from_node_to_node() -> None:
    w = torch.ones(1, requires_grad=True)
    with ht.trace() as t:
        a = w * 2
        b = a.exp()
        b.sum().backward()
    found = whence(t.log, t.index)
    nodes = {t.log.nodes[one.node].name: one.seq for one in t.of(GradientComputed)}
    assert found[nodes["ExpBackward0"]] == [nodes["SumBackward0"]]
    assert found[nodes["MulBackward0"]] == [nodes["ExpBackward0"]]
    assert found[t.of(GradientAccumulated)[0].seq] == [nodes["MulBackward0"]]


def test_what_came_first_came_from_nothing_that_is_known() -> None:
    net = nn.Linear(2, 1)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    assert gradient(t, "Linear", "grad_output[0]") not in whence(t.log, t.index)
