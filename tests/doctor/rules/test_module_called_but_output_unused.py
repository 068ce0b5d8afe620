"""module-called-but-output-unused: calls that led to nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import hooktrace as ht
from hooktrace.findings import Finding


def found(t: ht.Trace) -> list[Finding]:
    return list(t.findings(select=["module-called-but-output-unused"]))


class Net(nn.Module):
    """Calls what it is told to."""

    def __init__(self, forward: Callable[[Any, torch.Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 1)
        self.rnn, self.drop = nn.LSTM(2, 2, batch_first=True), nn.Dropout(0.5)
        self.does = forward
        self.seen: Any = None

    def forward(self, x: torch.Tensor) -> Any:
        return self.does(self, x)


def run(forward: Callable[[Any, torch.Tensor], Any], times: int = 1) -> ht.Trace:
    net = Net(forward)
    with ht.trace(net) as t:
        for _ in range(times):
            out = net(torch.randn(3, 2))
            (out[0] if isinstance(out, tuple) else out).sum().backward()
    return t


def forgotten(net: Any, x: torch.Tensor) -> torch.Tensor:
    h = net.a(x)
    net.b(h)
    return net.c(h)  # type: ignore[no-any-return]


def test_a_forgotten_result_is_told_once_by_the_outermost_call() -> None:
    t = run(forgotten, times=2)
    (one,) = found(t)
    assert one.severity == "warning"
    assert one.message == (
        "b was called (2 times), and nothing that led to the loss used what it returned."
    )
    assert one.where == "b@0 (Sequential)"
    assert one.possible.startswith("code between the modules may have used it without autograd")
    assert one.evidence[1] == "backward reached Net@0, in which it was called"
    assert len(one.events) == 2


def test_the_module_before_a_forgotten_one_is_not_blamed() -> None:
    def chain(net: Any, x: torch.Tensor) -> torch.Tensor:
        h = net.a(x)
        net.drop(net.b(h))
        return net.c(h)  # type: ignore[no-any-return]

    assert [one.where for one in found(run(chain))] == ["drop@0 (Dropout)"]


USED: dict[str, Callable[[Any, torch.Tensor], Any]] = {
    "in a sum": lambda net, x: net.c(net.a(x) + net.b(x)),
    "one of two outputs": lambda net, x: net.c(net.rnn(net.a(x))[0]),
    "returned beside": lambda net, x: (net.c(net.a(x)), net.b(x)),
    "passed on": lambda net, x: net.c(net.drop(net.b(net.a(x)))),
    "checkpointed": lambda net, x: net.c(checkpoint(net.b, net.a(x), use_reentrant=False)),
    "checkpointed reentrantly": lambda net, x: net.c(
        checkpoint(net.b, net.a(x), use_reentrant=True)
    ),
    "in place": lambda net, x: net.c(net.a(x).add_(net.b(x))),
    "used by a view": lambda net, x: net.c(net.b(x).view(-1, 2)[:, [1, 0]]),
}


@pytest.mark.parametrize("name", USED)
def test_a_result_that_is_used_is_fine(name: str) -> None:
    assert found(run(USED[name])) == []


def test_without_autograd_it_is_not_known() -> None:
    net = Net(forgotten)
    with ht.trace(net) as t, torch.no_grad():
        net(torch.ones(1, 2))
    assert found(t) == []
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    assert found(t) == []


def test_a_break_of_the_graph_is_told_as_such() -> None:
    def broken(net: Any, x: torch.Tensor) -> torch.Tensor:
        return net.c(net.b(net.a(x)).detach())  # type: ignore[no-any-return]

    t = run(broken)
    assert found(t) == []
    assert len(t.findings(select=["graph-broken"])) == 1


def test_of_a_module_that_another_call_trains_the_unused_calls_are_counted() -> None:
    def forward(net: Any, x: torch.Tensor) -> torch.Tensor:
        return net.a(x).detach() * 1 + net.a(x)

    (one,) = found(run(forward))
    assert one.severity == "note"
    assert one.message == (
        "Nothing that led to the loss used what 1 of 2 calls of a returned: a@0."
    )
    assert ".detach()" in one.possible


def test_several_unused_calls_of_a_module_that_is_trained_are_one_note() -> None:
    def forward(net: Any, x: torch.Tensor) -> torch.Tensor:
        net.a(x), net.a(x)
        return net.a(x)

    (one,) = found(run(forward))
    assert one.message.endswith("2 of 3 calls of a returned: a@0, a@1.")
    assert len(one.events) == 2
