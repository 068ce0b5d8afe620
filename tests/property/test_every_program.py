"""What must hold of the trace of every program of the zoo."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import pytest
import torch
from observed import run_with_trace
from traced_zoo import LIGHT, trace_of
from zoo import PROGRAMS

import hooktrace as ht
from hooktrace.events import (
    BackwardFinished,
    BackwardStarted,
    Edit,
    Event,
    ForwardFinished,
    ForwardStarted,
    GradientRetained,
    HookFired,
    HookRegistered,
    HookRemoved,
    ModuleCalled,
    ModuleExited,
    Observation,
    ProbeFailed,
    TensorWritten,
    Value,
)


@pytest.fixture
def t(request: pytest.FixtureRequest) -> ht.Trace:
    return trace_of(request.param)


every_program = pytest.mark.parametrize("t", LIGHT, indirect=True)


@every_program
def test_the_timeline_is_numbered_and_nothing_failed(t: ht.Trace) -> None:
    assert [event.seq for event in t.events] == list(range(len(t.events)))
    assert t.of(ProbeFailed) == []
    assert t.log.sealed


@every_program
def test_every_call_that_began_has_ended_and_they_nest_on_each_thread(t: ht.Trace) -> None:
    stacks: dict[int, list[int]] = {}
    for event in t.events:
        stack = stacks.setdefault(event.thread, [])
        if isinstance(event, ModuleCalled):
            assert event.parent == (stack[-1] if stack else None)
            stack.append(event.call)
        elif isinstance(event, (ForwardStarted, ForwardFinished)):
            assert event.call == stack[-1]
        elif isinstance(event, ModuleExited):
            assert event.call == stack.pop()
    assert [stack for stack in stacks.values() if stack] == []
    assert len(t.of(ModuleCalled)) == len(t.of(ModuleExited)) == len(t.calls())


@every_program
def test_every_backward_that_began_has_ended(t: ht.Trace) -> None:
    began = Counter(event.backward for event in t.of(BackwardStarted))
    assert began == Counter(event.backward for event in t.of(BackwardFinished))
    assert set(began.values()) <= {1}


@every_program
def test_every_number_in_an_event_is_a_row_of_its_table(t: ht.Trace) -> None:
    calls = {event.call for event in t.of(ModuleCalled)}
    tables = {"module": t.log.modules, "hook": t.log.hooks}
    for event in t.events:
        for field, table in tables.items():
            number = getattr(event, field, None)
            assert number is None or 0 <= number < len(table), event
        call = getattr(event, "call", None)
        assert call is None or call in calls, event
        for value in values_of(event):
            assert t.log.tensors[value.tensor].id == value.tensor
    for node in t.log.nodes:
        assert all(0 <= following < len(t.log.nodes) for following, _ in node.next)
    for table in (*tables.values(), t.log.nodes):
        assert [row.id for row in table] == list(range(len(table)))


@every_program
def test_no_record_holds_anything_alive(t: ht.Trace) -> None:
    def plain(thing: Any) -> bool:
        if isinstance(thing, (tuple, list)):
            return all(map(plain, thing))
        if hasattr(thing, "__struct_fields__"):
            return all(plain(getattr(thing, field)) for field in thing.__struct_fields__)
        return thing is None or type(thing) in (int, float, str, bool)

    log = t.log
    for record in (*t.events, *log.modules, *log.hooks, *log.tensors, *log.nodes):
        assert plain(record), record


@every_program
def test_versions_of_a_tensor_never_go_back(t: ht.Trace) -> None:
    for write in t.of(TensorWritten):
        assert write.before.tensor == write.after.tensor
        if write.after.version is not None:  # a write past the counter has none
            assert write.before.version < write.after.version


@every_program
def test_every_hook_that_fired_or_was_removed_has_an_owner_and_a_name(t: ht.Trace) -> None:
    for event in t.log.of(HookFired, HookRemoved, HookRegistered):
        hook = t.hooks[event.hook]
        assert hook.kind
        assert hook.owner
        assert hook.name
    registered = [t.hooks[event.hook] for event in t.of(HookRegistered)]
    assert all(hook.registered_at is not None for hook in registered)
    once = [hook.id for hook in registered if hook.kind not in ANEW_IN_EACH_STEP]
    assert len(once) == len(set(once))


ANEW_IN_EACH_STEP = {"pack", "unpack", "node_creation", "queue_callback", "comm"}
"""What is registered again and again from the same line is one hook."""


@every_program
def test_everything_the_facade_offers_can_be_asked_for(t: ht.Trace) -> None:
    text = str(t)
    assert 1 <= len(text.splitlines()) <= 60
    assert repr(t)
    assert all(str(edit) and repr(edit) for edit in t.edits)
    assert all(str(write) and repr(write) for write in t.writes())
    assert sum(map(len, t.steps)) == len(t.calls())
    for call in t.calls():
        assert t[str(call)] is call
        assert len(call.inputs) == len(call.seen_inputs)
        assert len(call.outputs) == len(call.seen_outputs)
        if t.of(BackwardStarted):
            assert len(call.grad_inputs) == len(call.inputs)
            for gradient, output in zip(call.grad_outputs, call.seen_outputs, strict=True):
                if isinstance(gradient, torch.Tensor):
                    assert tuple(gradient.shape) == output.summary.shape
        assert repr(call)


@every_program
def test_the_graph_has_every_firing_in_order(t: ht.Trace) -> None:
    graph = t.graph()
    shown = {data["seq"] for _, data in graph.nodes(data=True) if "seq" in data}
    assert {event.seq for event in t.of(HookFired)} <= shown
    assert all(value is not None for _, data in graph.nodes(data=True) for value in data.values())


def values_of(record: Any) -> list[Value]:
    """All values in an event, however deep."""
    if isinstance(record, Value):
        return [record]
    if isinstance(record, (tuple, list)):
        return [value for item in record for value in values_of(item)]
    if isinstance(record, (Event, Observation, Edit)):
        fields = record.__struct_fields__
        return [value for field in fields for value in values_of(getattr(record, field))]
    return []


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        (
            "hooks_of_every_kind",
            {
                "pre": "forward_pre",
                "forward": "forward",
                "bpre": "full_backward_pre",
                "full": "full_backward",
                "legacy": "backward",
                "weight": "tensor",
                "input": "tensor",
                "output": "tensor",
                "post": "post_accumulate_grad",
                "node pre": "node_pre",
                "node post": "node",
                "multi": "multi_grad",
            },
        ),
        (
            "global_hooks_of_every_kind",
            {
                "pre": "forward_pre",
                "forward": "forward",
                "always": "forward",
                "bpre": "full_backward_pre",
                "full": "full_backward",
            },
        ),
    ],
)
def test_every_firing_that_the_user_saw_is_in_the_trace(name: str, kinds: dict[str, str]) -> None:
    _, t = run_with_trace(PROGRAMS[name], lambda models: ht.trace(keep=True))
    _, step = PROGRAMS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log = step()[-1]
    names = [entry[0] if entry[0] in kinds else entry[0].split()[0] for entry in log]
    seen = Counter(kinds[one] for one in names if one in kinds)
    seen["full_backward"] += sum(entry[0] == "root full" for entry in log)
    recorded = Counter(t.hooks[event.hook].kind for event in t.of(HookFired))
    assert recorded.pop("retain_grad", 0) == len(t.of(GradientRetained))  # which notes nothing
    assert recorded == +seen
    from torch.nn.modules import module

    for one in vars(module).values():
        if isinstance(one, dict) and one and all(isinstance(key, int) for key in one):
            one.clear()
    module._global_is_full_backward_hook = None
