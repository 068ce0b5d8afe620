"""Which sentence is said of an event: the same whatever the page holds, and only what is true."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.events import (
    BackwardStarted,
    Event,
    ForwardStarted,
    HookFired,
    ModuleCalled,
    SchedulerStepped,
    StepFinished,
)
from hooktrace.report.bands import LANES, bands_data
from hooktrace.report.happened import Detail, events_data
from hooktrace.report.owners import hooks_data
from hooktrace.report.static import static_context
from hooktrace.report.words import words


def told(t: Any, event: Event, detail: Detail = Detail.CHANGES) -> str:
    """The key of the sentence of an event, as the page takes it."""
    assert isinstance(t.edits, list)  # measured when they are first asked for
    found = events_data(t.log, t.index, detail)[event.seq]
    key = str(found.get("case", found["kind"].replace(" ", "_")))
    assert f"what_{key}" in words("en"), key
    return key


def look(module: Any, *given: Any) -> None:
    """See, and change nothing."""


def test_the_sentences_are_the_same_whatever_the_page_holds() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    rates = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    net[0].register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    net[1].register_full_backward_hook(look)
    with ht.trace(net) as t:
        for _ in range(2):
            net(torch.ones(1, 2, requires_grad=True)).sum().backward()
        (torch.ones(1, requires_grad=True) * 2).backward()
        optimizer.step()
        rates.step()
    keys = {detail: [told(t, one, detail) for one in t.events] for detail in Detail}
    assert keys[Detail.CHANGES] == keys[Detail.HOOKS] == keys[Detail.ALL]
    assert {
        "forward_changed",
        "forward_views",
        "accumulate_filled",
        "accumulate_added",
        "grad_input",
        "grad_output",
    } <= set(keys[Detail.CHANGES])
    roles = [[one.get("role") for one in events_data(t.log, t.index, detail)] for detail in Detail]
    assert roles[0] == roles[1] == roles[2]
    assert {"grad_input[0]", "grad_output[0]"} <= set(roles[0])


@pytest.mark.parametrize(
    ("register", "key"),
    [
        (lambda net: None, "forward"),
        (lambda net: net.register_forward_pre_hook(look), "forward"),
        (lambda net: net.register_full_backward_hook(look), "forward_views"),
        (lambda net: net.register_full_backward_pre_hook(look), "forward_views"),
        (lambda net: net.register_full_backward_hook(look).remove(), "forward"),
        (lambda net: net.register_forward_pre_hook(lambda m, args: args[0] + 1), "forward_changed"),
        (lambda net: net.register_forward_pre_hook(lambda m, args: args[0] + 0), "forward_other"),
    ],
)
def test_only_hooks_that_changed_arguments_are_said_to_have(register: Any, key: str) -> None:
    net = nn.Linear(2, 1)
    register(net)
    with ht.trace(net) as t:
        net(torch.ones(1, 2, requires_grad=True))
    assert told(t, t.of(ForwardStarted)[0]) == key


def test_hooks_that_come_next_are_only_told_where_there_are_some() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    net[0].register_forward_pre_hook(look)
    net[1].register_forward_hook(look)
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    calls = [t["0"], t["1"]]
    assert [told(t, one.called) for one in calls] == ["call", "call_plain"]
    assert [told(t, one.forward_finished) for one in calls] == [
        "forward_done_plain",
        "forward_done",
    ]
    assert [told(t, one.exited) for one in calls] == ["exit_plain", "exit"]


def test_a_forward_that_never_began_is_not_told_to_come_next() -> None:
    def fails(module: Any, args: Any) -> None:
        raise ValueError("no")

    net = nn.Linear(1, 1)
    net.register_forward_pre_hook(fails)
    with pytest.raises(ValueError, match="no"), ht.trace(net) as t:
        net(torch.ones(1, 1))
    assert told(t, t.of(ModuleCalled)[0]) == "call_unbegun"


def test_equal_values_that_a_hook_returned_are_no_change() -> None:
    net = nn.Linear(2, 3)
    net.register_forward_hook(lambda module, args, output: output.clone())
    with ht.trace(net) as t:
        net(torch.ones(2, 2))
    (fired,) = t.of(HookFired)
    assert [one.equal for one in t.edits] == [True]
    assert told(t, fired) == "hook_same"
    assert hooks_data(t.log)[0]["changed"] == 0
    extras, options = ht.report.extras.Extras(), ht.report.extras.Options()
    context, _ = static_context(t.log, t.index, extras, options)
    assert context["hooks"][0]["changed"] == 0
    lanes = [lane for _, lane, _ in bands_data(t.log, t.index)["bands"]]
    assert "changes" in LANES
    assert "changes" not in lanes


def test_steps_and_rates_tell_what_they_did() -> None:
    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    rates = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    with ht.trace(net) as t:
        optimizer.step()
        rates.step()
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        rates.step()
    assert [told(t, one) for one in t.of(StepFinished)] == ["step_done_same", "step_done"]
    stepped = t.of(SchedulerStepped)
    assert [told(t, one) for one in stepped] == ["schedule_same", "schedule"]
    found = events_data(t.log, t.index)[stepped[1].seq]
    assert (found["scheduler"], found["optimizer"]) == ("StepLR", "SGD")
    assert [list(one) for one in found["rates"]] == [pytest.approx([0.1]), pytest.approx([0.01])]


def test_hooks_on_tensors_and_nodes_say_in_which_run_they_fired() -> None:
    w = torch.ones(2, requires_grad=True)
    w.register_hook(lambda grad: None)
    with ht.trace() as t:
        loss = (w * 2).sum()
        loss.grad_fn.register_hook(lambda *given: None)
        loss.backward(retain_graph=True)
        loss.backward()
    found = events_data(t.log, t.index, Detail.CHANGES)
    assert [found[one.seq]["backward"] for one in t.of(HookFired)] == [0, 0, 1, 1]


def test_runs_on_two_threads_are_kept_apart() -> None:
    w, v = (torch.ones(1, requires_grad=True) for _ in range(2))
    begun, over = threading.Event(), threading.Event()

    def wait(grad: Any) -> None:
        begun.set()
        over.wait(10)

    def let_go(grad: Any) -> None:
        over.set()
        other.join(10)

    w.register_hook(wait)
    v.register_hook(let_go)
    with ht.trace() as t:
        other = threading.Thread(target=lambda: (w * 2).sum().backward())
        other.start()
        assert begun.wait(10)
        (v * 2).sum().backward()
    threads = {one.thread: one.backward for one in t.of(BackwardStarted)}
    assert len(threads) == 2
    found = events_data(t.log, t.index, Detail.CHANGES)
    for fired in t.of(HookFired):
        assert found[fired.seq]["backward"] == threads[fired.thread]
