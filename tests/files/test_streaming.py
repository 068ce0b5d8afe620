"""Traces that are written while the program runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.events import ModuleCalled, ProbeFailed
from hooktrace.storage.archive import Reader


class Loop:
    """A training loop with a hook that changes something, a loss, and an optimizer."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        self.net[0].register_forward_hook(lambda module, args, output: output * 1.5)
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.net.parameters(), 0.1)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.optimizer.zero_grad()
            self.loss(self.net(torch.rand(3, 4)), torch.tensor([0, 1, 0])).backward()
            self.optimizer.step()


def untimed(events: Any) -> list[str]:
    return [
        repr(msgspec.structs.replace(one, time_ns=0, **_DURATION.get(type(one).__name__, {})))
        for one in events
    ]


_DURATION = {"HookFired": {"duration_ns": 0}}


@pytest.mark.parametrize("everything", [True, False])
def test_what_is_streamed_is_what_a_trace_in_memory_holds(tmp_path: Path, everything: bool) -> None:
    loop = Loop()
    model = None if everything else loop.net
    with (
        ht.trace(model, stats=True, keep="*0") as whole,
        ht.trace(model, stats=True, keep="*0", to=tmp_path / "a.hooktrace") as t,
    ):
        loop.run(4)
    assert untimed(t.events) == untimed(whole.events)
    assert [str(one) for one in t.calls()] == [str(one) for one in whole.calls()]
    assert [str(one) for one in t.edits] == [str(one) for one in whole.edits]
    assert str(t.findings()) == str(whole.findings())
    assert repr(list(t.log.stats.items())) == repr(list(whole.log.stats.items()))
    assert list(t.log.nodes) == list(whole.log.nodes)
    assert t.log.producers == whole.log.producers
    assert set(t.log.snapshots) == set(whole.log.snapshots)
    for value, kept in whole.log.snapshots.items():
        assert torch.equal(t.log.snapshots[value], kept)
    again = ht.load(tmp_path / "a.hooktrace")
    assert str(again) == str(t)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, range(20)),
        ({"every": 5}, [0, 5, 10, 15]),
        ({"limit": 2}, [18, 19]),
        ({"limit": (2, 1)}, [0, 1, 19]),
        ({"limit": (30, 30)}, range(20)),
        ({"every": 3, "limit": (1, 2)}, [0, 15, 18]),
        ({"every": 4, "skip": 3, "limit": 2}, [15, 19]),
        ({"limit": (2, 0), "skip": 4}, [4, 5]),
        ({"every": 2, "limit": (2, 0), "skip": 1}, [1, 3]),
    ],
)
@pytest.mark.parametrize("everything", [True, False])
def test_the_chosen_steps_are_kept(
    tmp_path: Path, options: dict[str, Any], kept: Any, everything: bool
) -> None:
    loop = Loop()
    with ht.trace(None if everything else loop.net, to=tmp_path / "a.hooktrace", **options) as t:
        loop.run(20)
    assert t.log.origin is not None
    assert t.log.origin.steps == tuple(kept)
    roots = [one for one in t.of(ModuleCalled) if one.parent is None]
    assert len(roots) == len(kept) * (2 if everything else 1)
    entries = set(Reader(tmp_path / "a.hooktrace", 1 << 30))
    assert sum(one.endswith("tables.msgpack") for one in entries) == len(kept)
    assert len(t.findings()) >= 0
    assert str(t)


def test_a_step_of_plain_tensors_ends_with_its_backward_run(tmp_path: Path) -> None:
    w = torch.tensor([2.0], requires_grad=True)
    w.register_hook(lambda grad: grad * 2)
    with ht.trace(to=tmp_path / "a.hooktrace", limit=2) as t:
        for number in range(6):
            (w * number).sum().backward()
    assert t.log.origin is not None
    assert t.log.origin.steps == (4, 5)
    assert [one.text for one in (edit.change for edit in t.edits)] == ["x2", "x2"]


def test_inside_the_block_the_current_step_can_be_read(tmp_path: Path) -> None:
    loop = Loop()
    with ht.trace(loop.net, to=tmp_path / "a.hooktrace") as t:
        loop.run(3)
        assert len(t.calls()) == 4
        assert len(t.edits) == 1
    assert len(t.calls()) == 12


def test_memory_stays_bounded_and_the_file_small(tmp_path: Path) -> None:
    """Of many steps no more is held than of few: rows, tables and what the recorder knows."""
    loop = Loop()
    sizes = []
    with ht.trace(loop.net, to=tmp_path / "a.hooktrace", limit=(1, 2), keep=True, stats=True) as t:
        for _ in range(3):
            loop.run(30)
            log = t._log
            sizes.append(
                [
                    len(one)
                    for one in (
                        log.events,
                        log.rows,
                        log.nodes,
                        log.producers,
                        log.contents,
                        log.snapshots,
                        log.edges,
                        log.results,
                        log.changes,
                        log.stats,
                        log.hooks,
                    )
                ]
            )
    assert sizes[0] == sizes[1] == sizes[2]
    step = tmp_path / "one.hooktrace"
    with ht.trace(loop.net, to=step, keep=True, stats=True):
        loop.run(1)
    assert (tmp_path / "a.hooktrace").stat().st_size < 4 * step.stat().st_size


def test_what_the_recorder_knows_of_the_graph_stays_bounded(tmp_path: Path) -> None:
    loop = Loop()
    sizes = []
    with ht.trace(loop.net, to=tmp_path / "a.hooktrace", limit=1) as t:
        for _ in range(3):
            loop.run(64)
            graph, table = t._recorder.graph, t._recorder.identities.table
            spans = graph.spans[0]
            known = len(graph.rows), len(graph.outputs), len(spans.bounds), len(spans.owners)
            sizes.append((*known, sum(one.ref() is None for one in table.values()) < 100))
    assert sizes[0] == sizes[1] == sizes[2]
    assert sizes[0][-1]
    last = t.of(ht.events.GradientComputed)
    assert {one.call for one in last} == {call.id for call in t.calls()}


def test_a_long_run_is_made_small_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hooktrace.streaming._SLACK", 0)
    loop, path = Loop(), tmp_path / "a.hooktrace"
    largest = 0
    with ht.trace(loop.net, to=path, limit=1) as t:
        for _ in range(60):
            loop.run(1)
            largest = max(largest, path.stat().st_size)
    assert t.log.origin is not None
    assert t.log.origin.steps == (59,)
    assert largest < 5 * path.stat().st_size
    assert os.listdir(tmp_path) == ["a.hooktrace"]


def test_an_earlier_file_is_there_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path, loop = tmp_path / "a.hooktrace", Loop()
    path.write_bytes(b"earlier")
    with ht.trace(loop.net, to=path) as t:
        loop.run(2)
        assert path.read_bytes() == b"earlier"
    assert len(t.steps) == 2
    assert os.listdir(tmp_path) == ["a.hooktrace"]


def test_an_exception_leaves_a_whole_file(tmp_path: Path) -> None:
    loop = Loop()

    def traced() -> None:
        with ht.trace(loop.net, to=tmp_path / "a.hooktrace"):
            loop.run(2)
            loop.net(torch.rand(1, 5))

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        traced()
    t = ht.load(tmp_path / "a.hooktrace")
    assert t.log.error is not None
    assert "mat1 and mat2" in t.log.error
    assert len(t.steps) == 3


def test_a_step_that_was_cut_off_as_it_began_takes_no_place(tmp_path: Path) -> None:
    loop = Loop()
    with ht.trace(loop.net, to=tmp_path / "a.hooktrace", limit=2) as t:
        loop.run(4)
        assert t._stream is not None
        t._stream.begins(
            next(iter(t._stream._ran))
        )  # and an interrupt comes before its first event
    assert t.log.origin is not None
    assert t.log.origin.steps == (2, 3)


def test_a_killed_process_leaves_what_was_written(tmp_path: Path) -> None:
    code = """
        import sys, time, torch, hooktrace as ht
        net = torch.nn.Linear(2, 2)
        with ht.trace(net, to=sys.argv[1]):
            for _ in range(5):
                net(torch.rand(1, 2)).sum().backward()
            print("five", flush=True)
            time.sleep(60)
    """
    path = tmp_path / "a.hooktrace"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"five\n"
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    process.stdout.close()
    t = ht.load(path)
    assert t.log.origin is not None
    assert not t.log.origin.ended
    assert len(t.steps) == 4  # the fifth was not over
    assert "breaks off" in shown(path)


def shown(path: Path) -> str:
    command = [sys.executable, "-m", "hooktrace", "show", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_process_writes_nothing_into_the_file(tmp_path: Path) -> None:
    loop = Loop()
    with ht.trace(loop.net, to=tmp_path / "a.hooktrace") as t:
        loop.run(2)
        before = (tmp_path / "a.hooktrace").read_bytes()
        child = os.fork()
        if not child:
            try:
                loop.net(torch.rand(3, 4))
                t.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert (tmp_path / "a.hooktrace").read_bytes() == before
        loop.run(2)
    assert len(t.steps) == 4
    assert not t.of(ProbeFailed)


def test_threads_that_run_at_once_are_one_step(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    inside, go = threading.Barrier(3), threading.Event()

    def waits(module: nn.Module, args: Any) -> None:
        inside.wait(20)
        go.wait(20)

    handle = net.register_forward_pre_hook(waits)
    with ht.trace(net, to=tmp_path / "a.hooktrace") as t:
        threads = [threading.Thread(target=net, args=(torch.rand(1, 2),)) for _ in range(2)]
        for one in threads:
            one.start()
        inside.wait(20)
        go.set()
        for one in threads:
            one.join()
        handle.remove()
        net(torch.rand(1, 2))
    assert len(t.calls()) == 3
    assert t.log.origin is not None
    entries = [one for one in Reader(tmp_path / "a.hooktrace", 1 << 30) if "tables" in one]
    assert len(entries) == 2


def test_a_file_that_cannot_be_made_is_an_error_at_the_beginning(tmp_path: Path) -> None:
    loop = Loop()
    with pytest.raises(FileNotFoundError), ht.trace(loop.net, to=tmp_path / "no" / "a.hooktrace"):
        pytest.fail("the block was entered")
    loop.run(1)


def test_a_disk_that_fails_does_not_disturb_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOKTRACE_STRICT", "0")
    loop = Loop()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    def traced() -> ht.Trace:
        with ht.trace(loop.net, to=tmp_path / "a.hooktrace") as t:
            loop.run(2)
            monkeypatch.setattr("hooktrace.storage.archive.Writer.add", full)
            loop.run(3)
            monkeypatch.undo()
        return t

    with pytest.warns(ht.errors.ProbeFailedWarning, match="No space left"):
        t = traced()
    assert 1 <= len(t.steps) <= 2


@pytest.mark.parametrize(
    "options",
    [{"every": 0}, {"limit": -1}, {"skip": -1}, {"limit": (1, -1)}, {"every": 1.5}],
)
def test_steps_that_cannot_be_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="of the steps is a number"):
        ht.trace(to=tmp_path / "a.hooktrace", **options)


@pytest.mark.parametrize("limit", ["3", (1, 2, 3), [1, 2]])
def test_a_limit_that_is_none_is_told_what_it_takes(tmp_path: Path, limit: Any) -> None:
    with pytest.raises(ValueError, match=r"limit= is how many.*or a pair"):
        ht.trace(to=tmp_path / "a.hooktrace", limit=limit)


def test_steps_are_chosen_for_a_file_only() -> None:
    with pytest.raises(ValueError, match="give to= as well"):
        ht.trace(every=10)


def test_the_program_computes_the_same(tmp_path: Path) -> None:
    plain, traced = Loop(), Loop()
    torch.manual_seed(1)
    plain.run(3)
    torch.manual_seed(1)
    with ht.trace(to=tmp_path / "a.hooktrace", limit=1, stats=True):
        traced.run(3)
    for one, other in zip(plain.net.parameters(), traced.net.parameters(), strict=True):
        assert torch.equal(one, other)
