"""Backward runs are told apart: second runs, threads, nested runs and traces, recomputation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import hooktrace as ht


class Scaled(nn.Module):
    """Two layers of one weight each, so that every gradient is a product of numbers."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.first = nn.Linear(1, 1, bias=False)
        self.second = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.first.weight, weight)
        nn.init.constant_(self.second.weight, weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x) * 2)


def replicas() -> nn.ModuleDict:
    """Three nets of the same shape: their nodes have the same numbers if threads make them."""
    return nn.ModuleDict({"one": Scaled(1.0), "two": Scaled(2.0), "three": Scaled(3.0)})


def in_a_thread(work: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def assert_gradient(t: Any, name: str, weight: float, arriving: float) -> None:
    """The closed form: a call of `Scaled` multiplies by 2 w^2 what arrives."""
    assert t[name].grad_output.item() == arriving, name
    assert t[name].grad_input.item() == 2 * weight**2 * arriving, name
    bare, _, number = name.partition("@")
    suffix = f"@{number}" if number else ""
    assert t[f"{bare}.second{suffix}"].grad_output.item() == arriving
    assert t[f"{bare}.second{suffix}"].grad_input.item() == weight * arriving
    assert t[f"{bare}.first{suffix}"].grad_output.item() == 2 * weight * arriving
    assert t[f"{bare}.first{suffix}"].grad_input.item() == 2 * weight**2 * arriving


# ------------------------------------------------------------------ several runs


def test_the_runs_of_a_double_backward_are_kept_apart() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    x = torch.randn(2, 2, requires_grad=True)
    with ht.trace(net, keep=True) as t:
        hidden = net[0](x)
        score = net[2](net[1](hidden)).sum()
        (gradient,) = torch.autograd.grad(score, x, create_graph=True)
        penalty = gradient.square().sum()
        penalty.backward(retain_graph=True)
    first, second = t["0"].runs
    assert (first.backward, second.backward) == (0, 1)
    assert torch.equal(first.grad_inputs[0], gradient)
    (expected,) = torch.autograd.grad(score, hidden, retain_graph=True)
    assert torch.equal(first.grad_outputs[0], expected)
    (expected,) = torch.autograd.grad(penalty, hidden, retain_graph=True)
    assert torch.equal(second.grad_outputs[0], expected)
    assert t["0"].backward == 1
    assert torch.equal(t["0"].grad_output, expected)


def test_a_run_that_reaches_only_the_output_does_not_borrow_the_input_of_an_earlier_one() -> None:
    net = nn.Linear(2, 1)
    x = torch.randn(1, 2, requires_grad=True)
    with ht.trace(net, keep=True) as t:
        y = net(x)
        y.sum().backward(retain_graph=True)
        torch.autograd.grad(y.sum() * 5, net.bias)
    first, second = t["Linear"].runs
    assert torch.equal(first.grad_inputs[0], net.weight)
    assert second.grad_inputs == (None,)
    assert torch.equal(t["Linear"].grad_output, torch.full((1, 1), 5.0))
    assert t["Linear"].grad_inputs == (None,)


def test_every_run_over_a_retained_graph_has_gradients_of_its_own() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 3.0)
    x = torch.ones(1, 1, requires_grad=True)
    with ht.trace(net, keep=True) as t:
        y = net(x)
        for factor in (1.0, 10.0, 100.0):
            (y.sum() * factor).backward(retain_graph=True)
    runs = t["Linear"].runs
    assert [one.backward for one in runs] == [0, 1, 2]
    assert [one.grad_outputs[0].item() for one in runs] == [1, 10, 100]
    assert [one.grad_inputs[0].item() for one in runs] == [3, 30, 300]
    assert "(3 runs)" in str(t)


def test_gradients_of_several_forwards_accumulate_one_after_the_other() -> None:
    net = nn.Linear(1, 1, bias=False)
    with ht.trace(net, keep=True) as t:
        total = torch.zeros(())
        for value in (1.0, 2.0, 3.0):
            total = total + net(torch.full((1, 1), value)).sum() * value
        total.backward()
        net(torch.full((1, 1), 4.0)).sum().backward()
    assert [call.grad_output.item() for call in t.calls()] == [1, 2, 3, 1]
    assert [call.backward for call in t.calls()] == [0, 0, 0, 1]
    filled = t.of(ht.events.GradientAccumulated)
    assert [(one.backward, one.after.numbers) for one in filled] == [(0, (14.0,)), (1, (18.0,))]
    assert filled[1].before is not None
    assert filled[1].before.numbers == (14.0,)


def test_backward_with_inputs_reports_what_reached_them() -> None:
    net = Scaled(3.0)
    x = torch.ones(1, 1, requires_grad=True)
    with ht.trace(net, keep=True) as t:
        hidden = net.first(x)
        net.second(hidden * 2).sum().backward(inputs=[hidden, net.second.weight])
    assert t["second"].grad_output.item() == 1
    assert t["second"].grad_input.item() == 3
    assert t["first"].grad_output.item() == 6 == hidden.grad.item()
    assert t["first"].grad_inputs == (None,)
    assert x.grad is None


# ------------------------------------------------------------------ threads


def test_forwards_on_several_threads_and_backward_on_another() -> None:
    nets, x = replicas(), torch.ones(1, 1, requires_grad=True)
    with ht.trace(nets, keep=True) as t:
        outputs = [in_a_thread(lambda name=name: nets[name](x * 1)) for name in nets]
        loss = sum(output.sum() * 10.0**place for place, output in enumerate(outputs))
        del outputs
        loss.backward()
    for place, (name, weight) in enumerate({"one": 1, "two": 2, "three": 3}.items()):
        assert_gradient(t, name, weight, 10.0**place)
    assert not t.log.strangers


def test_threads_that_run_at_once_each_have_their_own_gradients() -> None:
    nets = replicas()
    barrier = threading.Barrier(3)

    def work(name: str, weight: float) -> None:
        barrier.wait()
        for _ in range(3):
            x = torch.ones(1, 1, requires_grad=True)
            (nets[name](x).sum() * weight).backward()

    with ht.trace(nets, keep=True) as t:
        threads = [
            threading.Thread(target=work, args=(name, weight))
            for name, weight in {"one": 1.0, "two": 2.0, "three": 3.0}.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for name, weight in {"one": 1, "two": 2, "three": 3}.items():
        for number in range(3):
            assert_gradient(t, f"{name}@{number}", weight, weight)
    started = t.of(ht.events.BackwardStarted)
    threads_of = {one.backward: one.thread for one in started}
    assert len(threads_of) == 9
    assert len(set(threads_of.values())) == 3
    for call in t.calls():
        assert threads_of[call.backward] == call.called.thread


def test_a_tensor_that_goes_from_thread_to_thread() -> None:
    nets, x = replicas(), torch.ones(1, 1, requires_grad=True)
    with ht.trace(nets, keep=True) as t:
        y = nets["one"](x)
        y = in_a_thread(lambda: nets["two"](y * 3))
        y = nets["three"](y * 5)
        in_a_thread(lambda: y.backward(retain_graph=True))
        (y * 7).backward()
    assert_gradient(t, "three", 3, 7)
    assert_gradient(t, "two", 2, 7 * 18 * 5)
    assert_gradient(t, "one", 1, 7 * 18 * 5 * 8 * 3)
    assert [one.grad_outputs[0].item() for one in t["one"].runs] == [2160, 15120]


def test_backward_on_a_thread_that_computed_the_loss_itself() -> None:
    net, x = Scaled(3.0), torch.ones(1, 1, requires_grad=True)

    def score(y: torch.Tensor) -> None:
        for _ in range(100):  # its numbers overtake those of the thread that called the net
            torch.sin(x)
        (y * 5).sum().backward()

    with ht.trace({"net": net}, keep=True) as t:
        y = net(x)
        in_a_thread(lambda: score(y))
    assert_gradient(t, "net", 3, 5)


def test_every_node_is_visited_where_two_threads_give_the_same_numbers() -> None:
    net = nn.Linear(1, 1, bias=False)

    def plain() -> torch.Tensor:
        x = torch.ones(1, 1, requires_grad=True)
        return x.sin().exp().tanh()

    with ht.trace(keep=True) as t:
        made_here = plain()
        made_there = in_a_thread(plain)
        net(made_here + made_there).backward()
    names = [row.name for row in t.log.nodes]
    for name in ("SinBackward0", "ExpBackward0", "TanhBackward0"):
        assert names.count(name) == 2, names
    assert t["Linear"].grad_output.item() == 1


def test_marks_of_threads_leave_the_graph_with_the_trace() -> None:
    net, x = Scaled(2.0), torch.ones(1, 1, requires_grad=True)
    from torch.autograd.function import _HookMixin

    with ht.trace(net):
        y = in_a_thread(lambda: net(x))
    found: list[Any] = []
    original = vars(_HookMixin)["_register_hook"]

    def read(hooks: Any, hook: Any) -> Any:
        found.append(hooks)
        return original.__func__(hooks, hook)

    _HookMixin._register_hook = staticmethod(read)
    try:
        y.grad_fn.register_prehook(lambda gradients: None)
    finally:
        _HookMixin._register_hook = original
    assert [key for hooks in found for key in hooks or () if not isinstance(key, int)] == []


# ------------------------------------------------------------------ nested


def test_a_backward_inside_a_hook_is_a_run_of_its_own() -> None:
    outer, inner = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    x = torch.ones(1, 1, requires_grad=True)

    def again(gradient: torch.Tensor) -> None:
        with torch.enable_grad():
            (inner(torch.ones(1, 1)) * 7).sum().backward()

    outer.weight.register_hook(again)
    with ht.trace({"outer": outer, "inner": inner}, keep=True) as t:
        outer(x).sum().backward()
    assert (t["outer"].backward, t["inner"].backward) == (0, 1)
    assert t["inner"].grad_output.item() == 7
    filled = {t.log.tensors[one.tensor].name: one for one in t.of(ht.events.GradientAccumulated)}
    assert filled["outer.weight"].backward == 0
    assert filled["inner.weight"].backward == 1
    order = [
        (type(one).__name__, one.backward)
        for one in t.log.of(ht.events.BackwardStarted, ht.events.BackwardFinished)
    ]
    assert order == [
        ("BackwardStarted", 0),
        ("BackwardStarted", 1),
        ("BackwardFinished", 1),
        ("BackwardFinished", 0),
    ]


def test_overlapping_traces_each_count_the_runs_that_they_saw() -> None:
    net, x = Scaled(3.0), torch.ones(1, 1, requires_grad=True)
    early, late = ht.trace({"net": net}, keep=True), ht.trace({"net": net}, keep=True)
    early.__enter__()
    net(x).sum().backward()
    late.__enter__()
    (net(x) * 2).sum().backward()
    early.__exit__(None, None, None)
    (net(x) * 3).sum().backward()
    late.__exit__(None, None, None)
    assert [call.backward for call in early.calls("net")] == [0, 1]
    assert [call.backward for call in late.calls("net")] == [0, 1]
    assert_gradient(early, "net@0", 3, 1)
    assert_gradient(early, "net@1", 3, 2)
    assert_gradient(late, "net@0", 3, 2)
    assert_gradient(late, "net@1", 3, 3)


# ------------------------------------------------------------------ recomputation


class Checkpointed(nn.Module):
    """Calls one layer twice in a checkpointed region."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.shared = nn.Linear(1, 1, bias=False)
        self.last = nn.Tanh()
        nn.init.constant_(self.shared.weight, 3.0)

    def region(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.shared(self.shared(x) * 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.region, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputed_calls_say_which_call_they_repeat(reentrant: bool) -> None:
    net, x = Checkpointed(reentrant), torch.full((1, 1), 0.01, requires_grad=True)
    with ht.trace(net, keep=True) as t:
        net(x * 1).sum().backward()
    repeated = [(str(call), str(call.first)) for call in t.calls() if call.recomputed]
    assert repeated == [("shared@2", "shared@0"), ("shared@3", "shared@1"), ("last@1", "last@0")]
    assert [str(one) for one in t["shared@1"].recomputations] == ["shared@3"]
    assert "recomputed in backward" in str(t)


@pytest.mark.parametrize("reentrant", [True, False])
def test_the_gradients_of_a_region_are_those_without_checkpointing(reentrant: bool) -> None:
    net, x = Checkpointed(reentrant), torch.full((1, 1), 0.01, requires_grad=True)
    with ht.trace(net, keep=True) as t:
        net(x * 1).sum().backward()
    with ht.trace(net, keep=True) as plain:
        net.region(x * 1).sum().backward()
    for name in ("shared@0", "shared@1", "last"):
        assert torch.equal(t[name].grad_output, plain[name].grad_output), name
        assert torch.equal(t[name].grad_input, plain[name].grad_input), name
        # Reentrant: only the recomputation has a graph.  Else: only the first call.
        reached = [str(run.call) for run in t[name].runs]
        bearers = t[name].recomputations if reentrant else [t[name]]
        assert reached == [str(one) for one in bearers]


def test_the_early_stop_of_checkpointing_is_no_exception_of_the_module() -> None:
    net, x = Checkpointed(reentrant=False), torch.full((1, 1), 0.01, requires_grad=True)
    with ht.trace(net) as t:
        net(x * 1).sum().backward()
    (stopped,) = (call for call in t.calls() if call.stopped_early)
    assert str(stopped) == "last@1"
    assert stopped.exception is None
    assert "_StopRecomputationError" not in str(t)
    assert "(stopped early)" in str(t)


def test_an_exception_of_a_recomputed_module_is_still_its_own() -> None:
    class Fails(nn.Module):
        broken = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.broken:
                raise ValueError("not twice")
            return x.sin()

    net = Fails()
    with ht.trace(net) as t:
        y = checkpoint(net, torch.ones(1, requires_grad=True), use_reentrant=False)
        net.broken = True
        with pytest.raises(ValueError, match="not twice"):
            y.backward()
    assert t["Fails@1"].recomputed
    assert t["Fails@1"].exception == "ValueError: not twice"


def test_a_module_that_a_hook_calls_in_backward_is_not_taken_for_a_recomputation() -> None:
    net = nn.Linear(1, 1, bias=False)
    x = torch.ones(1, 1, requires_grad=True)
    net.weight.register_hook(lambda gradient: net(gradient.detach()).detach())
    with ht.trace(net) as t:
        net(x).sum().backward()
    assert [call.recomputed for call in t.calls()] == [False, False]


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputations_belong_to_the_step_of_the_call_that_they_repeat(reentrant: bool) -> None:
    net, x = Checkpointed(reentrant), torch.full((1, 1), 0.01, requires_grad=True)
    with ht.trace(net) as t:
        for _ in range(2):
            net(x * 1).sum().backward()
    assert len(t.steps) == 2
    assert [len(step) for step in t.steps] == [7, 7]


def test_nested_regions_repeat_the_first_calls() -> None:
    net = Scaled(0.5)

    def inner(x: torch.Tensor) -> torch.Tensor:
        return net.second(x.tanh())

    def outer(x: torch.Tensor) -> torch.Tensor:
        return checkpoint(inner, net.first(x).tanh(), use_reentrant=False)

    x = torch.ones(1, 1, requires_grad=True)
    with ht.trace(net) as t:
        checkpoint(outer, x, use_reentrant=False).sum().backward()
    for call in t.calls():
        if call.recomputed:
            assert str(call.first) == f"{call.name}@0"
    assert len(t["first"].recomputations) >= 1
    assert len(t["second"].recomputations) >= 1
