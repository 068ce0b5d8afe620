"""Steps whose gradients go back into the step before, as in the training of two models."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht


class Pair:
    """A generator and its critic: one step of the trace begins in the middle of a round."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.generator = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
        self.critic = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        self.generator[2].register_full_backward_hook(lambda module, gave, got: None)
        self.offset = torch.zeros(3, requires_grad=True)

    def run(self, rounds: int) -> None:
        for _ in range(rounds):
            made = self.generator(torch.rand(2, 2)) + self.offset
            real = self.critic(torch.rand(2, 3)) - self.critic(made.detach())
            real.mean().backward()
            loss = self.critic(made).mean()
            loss.backward()


@pytest.fixture
def t(tmp_path: Path) -> ht.Trace:
    pair = Pair()
    path = tmp_path / "pair.hooktrace"
    with ht.trace(to=path, limit=2, stats=True, keep="*"):
        pair.run(4)
    t = ht.load(path)
    there = {call.id for call in t.calls()}
    gone = [one for one in t.log.of(ht.events.GradientComputed) if one.call not in there]
    assert any(one.call is not None for one in gone), "no gradient of a call in an earlier step"
    return t


def test_every_node_that_a_gradient_passed_has_its_name(t: ht.Trace) -> None:
    names = {node.name for node in t.log.nodes}
    assert "" not in names
    rows = {node.id for node in t.log.nodes}
    assert {row for node in t.log.nodes for row, _ in node.next} <= rows
    assert {row for row, _ in t.log.producers.values()} <= rows


@pytest.mark.parametrize("view", ["modules", "tensors", "autograd", "hooks", "timeline"])
def test_it_is_drawn(t: ht.Trace, view: str, tmp_path: Path) -> None:
    t.draw(tmp_path / "a.svg", view=view)
    assert "<svg" in (tmp_path / "a.svg").read_text()
    t.draw(tmp_path / "a.dot", view=view)
    text = (tmp_path / "a.dot").read_text()
    boxes = set(re.findall(r'^\s*"([^"]+)" \[', text, re.MULTILINE))
    ends = re.findall(r'^\s*"([^"]+)" -> "([^"]+)"', text, re.MULTILINE)
    assert {one for pair in ends for one in pair} <= boxes


def test_it_is_exported_for_perfetto(t: ht.Trace, tmp_path: Path) -> None:
    t.export(tmp_path / "a.trace.json")
    items = json.loads((tmp_path / "a.trace.json").read_text())["traceEvents"]
    counted = {one["name"] for one in items if one["ph"] == "C"}
    assert "norm of grad_output of Sequential-2.2" in counted


def test_its_report_is_written(t: ht.Trace, tmp_path: Path) -> None:
    t.report(tmp_path / "a.html")
    assert (tmp_path / "a.html").stat().st_size > 10_000


def test_a_leaf_that_is_no_parameter_is_in_every_step(tmp_path: Path) -> None:
    pair = Pair()
    with ht.trace(to=tmp_path / "a.hooktrace", limit=1, skip=5):
        pair.run(4)
    t = ht.load(tmp_path / "a.hooktrace")
    named = {t.log.tensors[node.leaf].name for node in t.log.nodes if node.leaf is not None}
    filled = {t.log.tensors[one.tensor].name for one in t.log.of(ht.events.GradientAccumulated)}
    assert filled <= named


def test_what_several_threads_do_at_once_is_counted_as_one_step(tmp_path: Path) -> None:
    models = [nn.Linear(2, 2) for _ in range(2)]
    begun = threading.Barrier(2)

    def outer(module: nn.Module, args: Any) -> None:
        begun.wait(20)

    handle = models[0].register_forward_pre_hook(outer)

    def repeat() -> None:
        for _ in range(3):
            models[1](torch.rand(1, 2))
        begun.wait(20)

    with ht.trace(to=tmp_path / "a.hooktrace", limit=(3, 3)):
        thread = threading.Thread(target=models[0], args=(torch.rand(1, 2),))
        thread.start()
        while not models[0]._forward_pre_hooks or not begun.n_waiting:
            pass
        repeat()
        thread.join()
        handle.remove()
        for _ in range(4):
            models[0](torch.rand(1, 2))
    origin = ht.load(tmp_path / "a.hooktrace").log.origin
    assert origin is not None
    assert list(origin.steps) == sorted(set(origin.steps))
    assert origin.left_out == 0
