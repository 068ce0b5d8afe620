"""Programs with many kinds of hooks: the table, the picture and the graph stay readable."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch
import torch.nn.modules.module as every_module
from every_kind import CASES, World
from torch import nn
from torch.nn.utils import prune
from torch.optim import SGD, lr_scheduler

import hooktrace as ht
from hooktrace.events import HookFired
from hooktrace.kinds import KINDS


def look(*_: Any) -> None:
    """Change nothing."""


@pytest.fixture(autouse=True)
def no_hook_on_every_module() -> Iterator[None]:
    """PyTorch remembers for ever that there once was a full backward hook on every module."""
    yield
    every_module._global_is_full_backward_hook = None


@pytest.fixture(scope="module")
def many() -> ht.Trace:
    """A training step with hooks of many kinds, one of each fired."""
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    optimizer = SGD(net.parameters(), lr=0.1)
    schedule = lr_scheduler.StepLR(optimizer, 1)
    net[0].register_state_dict_post_hook(lambda m, state, *_: state.clear())
    net[1].register_state_dict_pre_hook(look)
    net[2].register_load_state_dict_pre_hook(look)
    net[0].register_forward_pre_hook(lambda m, args: args[0] * 2)
    optimizer.register_step_pre_hook(look)
    with ht.trace(net) as t:
        for _ in range(3):
            y = net(torch.ones(1, 2))
            y.grad_fn.register_prehook(lambda grads: (grads[0] * 3,))
            y.sum().backward()
            optimizer.step()
            schedule.step()
        net[0].state_dict(prefix="0.")
    return t


def test_a_step_is_one_line_and_its_writes_are_not_listed(many: ht.Trace) -> None:
    text = str(many)
    assert "\nSGD: 3 steps, wrote 4 parameters\n" in text + "\n"
    assert "\nStepLR of SGD: 3 steps, lr 0.1 -> 0.0001\n" in text + "\n"
    assert "Written in place" not in text
    assert {one.by for one in many.writes()} == {"a step of SGD"}


def test_a_write_between_steps_is_not_the_optimizers() -> None:
    net = nn.Linear(2, 1)
    optimizer = SGD(net.parameters(), lr=0.1)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        with torch.no_grad():
            net.bias.zero_()
        optimizer.step()
    by_whom = [one.by for one in t.writes() if one.what == "tensor bias"]
    assert by_whom == ["a step of SGD", "code outside of every traced call", "a step of SGD"]
    assert "tensor bias was overwritten by code outside" in str(t)


def test_a_step_that_raised_is_told_in_the_table() -> None:
    class Raising(SGD):
        def step(self, closure: Any = None) -> Any:
            raise ValueError("no step")

    net = nn.Linear(2, 1)
    optimizer = Raising(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="no step"), ht.trace(net) as t:
        optimizer.step()
    assert "Raising: 1 step, no write seen, 1 raised (ValueError: no step)" in str(t)


def picture(t: ht.Trace) -> str:
    """Return the words of a picture."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", t.digraph().source))


def test_a_picture_shows_no_hook_that_waits_for_another_time(many: ht.Trace) -> None:
    words = picture(many)
    assert "state_dict_post hook" in words  # it fired
    assert "load_state_dict_pre" not in words
    assert "state_dict_pre" not in words


def test_a_hook_on_a_node_is_shown_at_the_call_that_made_it(many: ht.Trace) -> None:
    found = re.findall(r"node_pre hook &lt;lambda&gt; on AddmmBackward0", many.digraph().source)
    assert len(found) >= 1
    assert "every module" not in picture(many)


def test_a_features_hook_is_called_so_in_a_picture() -> None:
    net = nn.Sequential(prune.identity(nn.Linear(2, 2), "weight"))
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
    assert "forward_pre hook Identity of prune observed" in picture(t)


@pytest.mark.filterwarnings("ignore:Using a non-full backward hook:FutureWarning")
@pytest.mark.parametrize("name", CASES)
def test_every_kind_is_in_the_graph_the_table_and_the_picture(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    w = World()
    case.prepare(w)

    def hook(*arguments: Any) -> Any:
        return case.result(*arguments)

    if "with_kwargs" in case.options:
        kept = hook

        def hook(*arguments: Any, **named: Any) -> Any:
            return kept(*arguments)

    with ht.trace(w.net) as t:
        w.net(w.x)
        handle = case.register(w, hook)
        case.run(w)
        if case.removable:
            handle.remove() if hasattr(handle, "remove") else handle.__exit__(None, None, None)
    (row,) = [one for one in t.hooks if one.kind == case.kind and "hook" in one.name]
    graph = t.graph()
    (node,) = [n for n, d in graph.nodes(data=True) if n == f"hook:{row.id}"]
    fired = [one for one in t.of(HookFired) if one.hook == row.id]
    assert graph.nodes[node]["hook_kind"] == case.kind
    assert graph.nodes[node]["fired"] == len(fired) >= 1
    for event in fired:
        kind = graph.nodes[f"event:{event.seq}"]["kind"]
        words = {"forward_pre": "pre_hook", "forward": "forward_hook"}
        other = "backward_hook" if KINDS[case.kind].gradient else "other_hook"
        assert kind == words.get(case.kind, other)
    nx.write_graphml(graph, tmp_path / "x.graphml")
    read = nx.read_graphml(tmp_path / "x.graphml", force_multigraph=True)
    assert dict(read.nodes(data=True)) == dict(graph.nodes(data=True))
    assert f"\n{case.kind} " in str(t)
    assert "digraph" in t.digraph().source
