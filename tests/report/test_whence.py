"""Where gradients came from, as links from event to event."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import hooktrace as ht
from hooktrace.events import BackwardStarted, GradientAccumulated, GradientComputed, HookFired
from hooktrace.report.whence import Origin, _leaving, whence


def gradient(t: Any, name: str, role: str, run: int = 0) -> int:
    """The number of the event of a gradient of a call."""
    call = t[name].id
    (found,) = [
        one.seq
        for one in t.of(GradientComputed)
        if one.call == call and one.gradient.role == role and one.backward == run
    ]
    return int(found)


def origins(t: Any) -> dict[int, Origin]:
    """Where the gradients of a trace came from."""
    assert isinstance(t.edits, list)  # measured when they are first asked for
    return whence(t.log, t.index)


def froms(t: Any) -> dict[int, list[int]]:
    """The events that the gradients of a trace came from."""
    return {seq: one.seqs for seq, one in origins(t).items()}


def test_a_gradient_is_followed_back_through_calls_and_hooks() -> None:
    def half(module: Any, grad_input: Any, grad_output: Any) -> Any:
        return (grad_input[0] * 0.5,)

    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    net[2].register_full_backward_hook(half)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    found = froms(t)
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
    found = froms(t)
    for run in (0, 1):
        both = sorted(gradient(t, name, "grad_input[0]", run) for name in ("left", "right"))
        assert found[gradient(t, "first", "grad_output[0]", run)] == both


def test_a_leaf_has_its_gradient_from_its_hook_or_from_the_call_that_sent_it() -> None:
    net = nn.Linear(2, 3)
    net.weight.register_hook(lambda grad: grad * 2)
    with ht.trace(net) as t:
        net(torch.ones(4, 2)).square().sum().backward()
    found = froms(t)
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
    found = froms(t)
    for run in (0, 1):
        here = gradient(t, "0", "grad_output[0]", run)
        assert found[here] == [gradient(t, "1", "grad_input[0]", run)]


def test_plain_code_is_followed_from_node_to_node() -> None:
    w = torch.ones(1, requires_grad=True)
    with ht.trace() as t:
        a = w * 2
        b = a.exp()
        b.sum().backward()
    found = froms(t)
    nodes = {t.log.nodes[one.node].name: one.seq for one in t.of(GradientComputed)}
    assert found[nodes["ExpBackward0"]] == [nodes["SumBackward0"]]
    assert found[nodes["MulBackward0"]] == [nodes["ExpBackward0"]]
    assert found[t.of(GradientAccumulated)[0].seq] == [nodes["MulBackward0"]]


def test_the_first_gradient_came_from_where_backward_began() -> None:
    net = nn.Linear(2, 1)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).square().sum().backward()
    origin = origins(t)[gradient(t, "Linear", "grad_output[0]")]
    assert origin.seqs == [t.of(BackwardStarted)[0].seq]
    assert origin.through == ["SumBackward0", "PowBackward0"]


class Net(nn.Module):
    """A convolution and a layer, with functions between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 3), nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        return self.fc(torch.flatten(self.conv(x).relu(), 1))


def test_functions_between_calls_are_named() -> None:
    net = Net()
    with ht.trace(net) as t:
        nn.functional.cross_entropy(net(torch.ones(1, 1, 4, 4)), torch.tensor([0])).backward()
    found = origins(t)
    arrived = found[gradient(t, "conv", "grad_output[0]")]
    assert arrived.seqs == [gradient(t, "fc", "grad_input[0]")]
    assert arrived.through == ["ViewBackward0", "ReluBackward0"]
    first = found[gradient(t, "fc", "grad_output[0]")]
    assert first.seqs == [t.of(BackwardStarted)[0].seq]
    assert first.through == ["NllLossBackward0", "LogSoftmaxBackward0"]
    gradients = [*t.of(GradientComputed), *t.of(GradientAccumulated)]
    assert [one.seq for one in gradients if not found[one.seq].seqs] == []


def test_the_gradient_of_an_output_did_not_come_from_the_layer_inside_that_made_it() -> None:
    net = Net()
    with ht.trace(net) as t:
        net(torch.ones(1, 1, 4, 4)).square().sum().backward()
    found = origins(t)
    inner, outer = (gradient(t, name, "grad_output[0]") for name in ("fc", "Net"))
    assert found[outer].seqs == found[inner].seqs == [t.of(BackwardStarted)[0].seq]
    assert (found[outer].same, found[inner].same) == (inner, None)


def test_what_one_tensor_was_sent_did_not_come_from_another_that_was_sent_the_same() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return self.left(x) + self.right(x)

    net = Sum()
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).square().sum().backward()
    found = origins(t)
    whole = gradient(t, "Sum", "grad_output[0]")
    for name in ("left", "right"):
        assert found[gradient(t, name, "grad_output[0]")].seqs == [whole]


def test_a_full_backward_hook_sends_no_grad_output_on() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Identity())
    net[1].register_full_backward_hook(lambda module, grad_input, grad_output: None)
    net[0].register_full_backward_hook(lambda module, grad_input, grad_output: None)
    with ht.trace(net) as t:
        net(torch.ones(1, 2, requires_grad=True)).square().sum().backward()
    left = [seen.role for one in t.of(HookFired) for seen in _leaving(one)]
    assert left == ["grad_input[0]", "grad_input[0]"]


def test_a_full_backward_pre_hook_sends_grad_output_on() -> None:
    net = nn.Linear(2, 2)
    net.register_full_backward_pre_hook(lambda module, grad_output: (grad_output[0] * 2,))
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).square().sum().backward()
    (fired,) = t.of(HookFired)
    assert [str(one.value) for one in _leaving(fired)] == [str(fired.edits[0].after.value)]
    found = origins(t)
    assert found[fired.seq].seqs == [gradient(t, "Linear", "grad_output[0]")]
    assert [found[one.seq].seqs for one in t.of(GradientAccumulated)] == [[fired.seq]] * 2
