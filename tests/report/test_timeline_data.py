"""The timeline's data: what took time has a slice in its lane, and none hides another."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from long_log import long_log
from torch import nn
from traced_zoo import LIGHT, trace_of

import hooktrace as ht
from hooktrace.events import (
    BackwardStarted,
    GradientAccumulated,
    GradientComputed,
    GradientRetained,
    HookFired,
    HookRegistered,
    HookRemoved,
    ModuleCalled,
    SchedulerStepped,
    StepStarted,
    TensorWritten,
)
from hooktrace.kinds import KINDS
from hooktrace.log import EventLog
from hooktrace.report.bands import LANES, band_forms, bands_data, lane_of_hook
from hooktrace.report.eventforms import Kept
from hooktrace.report.parts import Part, fit, packed
from hooktrace.report.phrases import say
from hooktrace.report.words import all_words
from hooktrace.views.calls import CallIndex

LANE_OF_KIND = {
    "forward_pre": "pre_hooks",
    "forward": "forward_hooks",
    "full_backward_pre": "backward_hooks",
    "full_backward": "backward_hooks",
    "backward": "backward_hooks",
    "tensor": "tensor_hooks",
    "retain_grad": "tensor_hooks",
    "multi_grad": "tensor_hooks",
    "post_accumulate_grad": "tensor_hooks",
    "node": "tensor_hooks",
    "node_pre": "tensor_hooks",
    "function_backward": "tensor_hooks",
    "queue_callback": "tensor_hooks",
    "comm": "tensor_hooks",
    "pack": "saved",
    "unpack": "saved",
    "node_creation": "saved",
    "optimizer_step_pre": "optimizer",
    "optimizer_step_post": "optimizer",
    "parameter_registration": "other_hooks",
    "buffer_registration": "other_hooks",
    "module_registration": "other_hooks",
    "state_dict_pre": "other_hooks",
    "state_dict_post": "other_hooks",
    "load_state_dict_pre": "other_hooks",
    "load_state_dict_post": "other_hooks",
    "optimizer_state_dict_pre": "other_hooks",
    "optimizer_state_dict_post": "other_hooks",
    "optimizer_load_state_dict_pre": "other_hooks",
    "optimizer_load_state_dict_post": "other_hooks",
}


@dataclass
class Piece:
    """A slice as the page reads it; `first`, `last` and `at` are places among the events."""

    first: int
    last: int
    at: int
    ns: int
    band: int
    row: int
    lane: str
    thread: int
    name: str
    event: Any

    @property
    def start_ns(self) -> int:
        return int(self.event.time_ns)


def data_of(log: EventLog, **options: Any) -> dict[str, Any]:
    return bands_data(log, CallIndex(log).refresh(), **options)


def pieces(log: EventLog, data: dict[str, Any]) -> list[Piece]:
    columns = data["slices"]
    found = []
    for first, span, at, ns, band, row, name in zip(
        accumulate(columns["first"]), columns["span"], columns["at"], columns["ns"],
        columns["band"], columns["row"], columns["name"], strict=True,
    ):  # fmt: skip
        thread, lane, rows = data["bands"][band]
        assert 0 <= row < rows
        event = log.events[first + at]
        found.append(
            Piece(first, first + span, first + at, ns, band, row, lane, thread,
                  data["names"][name], event)
        )  # fmt: skip
    return found


def marks(log: EventLog, data: dict[str, Any]) -> list[tuple[str, Any]]:
    columns = data["marks"]
    return [
        (data["bands"][band][1], log.events[at])
        for at, band in zip(accumulate(columns["at"]), columns["band"], strict=True)
    ]


every_program = pytest.mark.parametrize("name", LIGHT)


@every_program
def test_every_call_firing_run_and_step_has_one_slice_on_its_thread(name: str) -> None:
    log = trace_of(name).log
    found = pieces(log, data_of(log))
    assert all(one.thread == one.event.thread for one in found)
    drawn = Counter(
        one.event.seq for one in found if not isinstance(one.event, (GradientComputed,))
    )
    kinds = (ModuleCalled, HookFired, BackwardStarted, StepStarted)
    for event in log.of(*kinds):
        assert drawn[event.seq] == 1, event
    lanes = {one.event.seq: one.lane for one in found}
    for event in log.of(HookFired):
        assert lanes[event.seq] == LANE_OF_KIND[log.hooks[event.hook].kind]
    assert {lanes[one.seq] for one in log.of(ModuleCalled)} <= {"forward"}
    assert {lanes[one.seq] for one in log.of(BackwardStarted)} <= {"backward"}
    assert {lanes[one.seq] for one in log.of(StepStarted)} <= {"optimizer"}


@every_program
def test_nothing_overlaps_in_a_row_neither_by_order_nor_by_time(name: str) -> None:
    log = trace_of(name).log
    rows = defaultdict(list)
    for one in pieces(log, data_of(log)):
        rows[one.band, one.row].append(one)
    for its in rows.values():
        its.sort(key=lambda one: one.first)
        for before, after in pairwise(its):
            assert before.last < after.first
            assert before.start_ns + before.ns <= after.start_ns


@every_program
def test_what_is_inside_of_another_in_its_lane_stands_below_it(name: str) -> None:
    log = trace_of(name).log
    found = pieces(log, data_of(log))
    for outer in found:
        for inner in found:
            if inner.band == outer.band and outer.first <= inner.first < inner.last < outer.last:
                assert inner.row > outer.row


def test_every_kind_of_hook_has_a_lane_and_every_lane_a_name_in_each_language() -> None:
    assert {kind: lane_of_hook(kind) for kind in KINDS} == LANE_OF_KIND
    assert set(LANE_OF_KIND.values()) < set(LANES)
    for words in all_words().values():
        assert all(words[f"lane_{lane}"] for lane in LANES)


def double(*given: Any) -> Any:
    return given[-1] * 2


def look(*given: Any) -> None:
    pass


@pytest.fixture(scope="module")
def trained() -> ht.Trace:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    net[0].register_forward_hook(double)
    net[2].register_forward_pre_hook(look)
    net[2].register_full_backward_hook(look)
    net[0].weight.register_hook(double)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    optimizer.register_step_post_hook(look)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with ht.trace(net) as t:
        for _ in range(2):
            net(torch.ones(2, 3)).sum().backward()
            optimizer.step()
            scheduler.step()
        net[1].register_forward_hook(look).remove()
    return t


def test_slices_last_from_the_first_to_the_last_event_and_as_long_as_measured(
    trained: ht.Trace,
) -> None:
    log, calls = trained.log, trained.calls()
    found = {one.at: one for one in pieces(log, data_of(log)) if one.lane != "backward"}
    for call in calls:
        one = found[call.called.seq]
        assert (one.first, one.last) == (call.called.seq, call.exited.seq)
        assert one.ns == call.duration_ns
    for event in log.of(HookFired):
        assert found[event.seq].ns == event.duration_ns


def test_what_happens_inside_of_a_hook_is_inside_of_its_slice() -> None:
    inner = nn.Linear(4, 4)

    def calls_another(module: Any, inputs: Any, output: Any) -> None:
        inner(output.detach())

    net = nn.Sequential(nn.Linear(3, 4))
    net[0].register_forward_hook(calls_another)
    with ht.trace() as t:
        net(torch.ones(2, 3))
    found = pieces(t.log, data_of(t.log))
    [firing] = [one for one in found if one.lane == "forward_hooks"]
    [call] = t.calls()[-1:]
    assert (call.module.type, len(t.calls())) == ("Linear", 3)
    assert firing.first <= call.called.seq < call.exited.seq < firing.last == firing.at


def test_marks_are_what_took_no_time_and_every_change_by_a_hook(trained: ht.Trace) -> None:
    log = trained.log
    wanted = {
        "gradients": [
            *log.of(GradientComputed),
            *log.of(GradientAccumulated),
            *log.of(GradientRetained),
        ],
        "changes": [*log.of(TensorWritten), *(one for one in log.of(HookFired) if one.edits)],
        "optimizer": log.of(SchedulerStepped),
        "registrations": [*log.of(HookRegistered), *log.of(HookRemoved)],
    }
    found = defaultdict(set)
    for lane, event in marks(log, data_of(log)):
        found[lane].add(event.seq)
    assert found == {lane: {one.seq for one in its} for lane, its in wanted.items()}
    assert min(map(len, found.values())) > 0


def test_only_lanes_that_have_something_are_there_in_their_order(trained: ht.Trace) -> None:
    lanes = [lane for _, lane, _ in data_of(trained.log)["bands"]]
    assert lanes == [lane for lane in LANES if lane not in ("saved", "other_hooks")]


def test_each_thread_has_bands_of_its_own() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())

    def run() -> None:
        net(torch.ones(2, 3)).sum().backward()

    with ht.trace(net) as t:
        workers = [threading.Thread(target=run) for _ in range(2)]
        for one in workers:
            one.start()
            one.join()
    bands = data_of(t.log)["bands"]
    lanes = defaultdict(list)
    for thread, lane, _ in bands:
        lanes[thread].append(lane)
    assert len(lanes) == 2
    assert all({"forward", "backward"} <= set(its) for its in lanes.values())


def test_what_did_not_return_lasts_to_the_end() -> None:
    net = nn.Sequential(nn.Linear(3, 4))
    with ht.trace(net) as t:
        net[0].register_forward_hook(look)
        seen = []

        def reads(module: Any, inputs: Any, output: Any) -> None:
            seen.append((data_of(t.log), len(t.events)))

        net[0].register_forward_hook(reads)
        net(torch.ones(2, 3))
    [(data, count)] = seen
    outermost = pieces(t.log, data)[0]
    assert outermost.last == count - 1


def test_a_file_that_holds_some_steps_is_drawn_by_the_places_of_its_events(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    with ht.trace(net, to=tmp_path / "a.hooktrace", every=3):
        for _ in range(7):
            net(torch.ones(2, 3)).sum().backward()
    log = ht.load(tmp_path / "a.hooktrace").log
    assert log.events[-1].seq >= len(log.events)
    found = pieces(log, data_of(log))
    assert [one.event.seq for one in found if one.lane == "forward"] == [
        one.seq for one in log.of(ModuleCalled)
    ]
    assert max(one.last for one in found) < len(log.events)


def test_a_poorer_form_has_no_marks_and_fewer_rows(trained: ht.Trace) -> None:
    log = trained.log
    whole, poor = data_of(log), data_of(log, marks=False, rows=1)
    assert poor["marks"] == {"at": [], "band": []}
    assert all(one.row == 0 for one in pieces(log, poor))
    kept = [one.event.seq for one in pieces(log, poor)]
    assert kept == [one.event.seq for one in pieces(log, whole) if one.row == 0]
    assert {lane for _, lane, _ in poor["bands"]} == {one.lane for one in pieces(log, poor)}


def test_what_the_timeline_leaves_out_for_its_size_is_told() -> None:
    net = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(8)))
    with ht.trace(net) as t:
        for _ in range(25):
            net(torch.ones(1, 2)).sum().backward()
    told = say("left_marks")
    forms = band_forms(t.log, t.index, Kept(len(t.events)))
    whole, poorer = (len(packed("bands", form.make()).text) for form in forms[:2])
    assert poorer < whole
    assert fit([Part("bands", forms)], whole)[1] == []
    assert fit([Part("bands", forms)], whole - 1)[1] == [told]
    assert fit([Part("bands", forms)], poorer - 1)[1] == [say("left_marks_and_deep", rows="2")]


def test_a_hundred_thousand_slices_stay_well_below_a_megabyte() -> None:
    data = data_of(long_log(100_000))
    assert len(data["slices"]["ns"]) == 100_000
    assert len(packed("bands", data).text) < 600_000
