"""The questions of a lesson: one right answer each, checked against the log by other means."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from traced_zoo import LIGHT, trace_of

import hooktrace as ht
from hooktrace.events import (
    BackwardStarted,
    GradientAccumulated,
    GradientComputed,
    GradientRetained,
    HookFired,
    HookId,
    ModuleCalled,
    ModuleExited,
    TensorWritten,
    TracedHook,
)
from hooktrace.report.lessons import lesson_data, stops
from hooktrace.report.lessons.choosing import chosen
from hooktrace.report.lessons.scene import Scene
from hooktrace.report.lessons.stop import QUESTIONS, Moment, Stop, ask
from hooktrace.report.phrases import Phrase, say
from hooktrace.report.words import words
from hooktrace.views.calls import CallIndex

Log = Any


def lesson(trace: Any) -> list[Stop]:
    assert trace.edits is not None  # measures them
    return stops(trace.log, CallIndex(trace.log).refresh())


def said(phrase: Phrase, language: str = "en") -> str:
    """A phrase as the page says it."""
    inner = {
        name: said(value, language) if isinstance(value, Phrase) else value
        for name, value in phrase.values.items()
    }
    return words(language)[phrase.key].format_map(inner)


def asked(trace: Any, name: str) -> list[Stop]:
    return [one for one in lesson(trace) if one.name == name]


def answer(stop: Stop) -> str:
    return said(stop.choices[stop.right])


# ---------------------------------------------------------------- another way to the answers


def is_of(hook: TracedHook, phrase: Phrase) -> bool:
    """Whether a phrase tells of this hook."""
    values = phrase.values
    if phrase.key == "lesson_hook_retain":
        return hook.kind == "retain_grad" and values["owner"] == hook.owner
    if (hook.kind, hook.name) != (values["kind"], values["name"]):
        return False
    return str(values.get("owner", hook.owner)).split(" (")[0] == hook.owner


def first_firing(log: Log, phrase: Phrase, after: int) -> int:
    """When a hook that a phrase tells of fires next; far away if never."""
    fired = [one.seq for one in log.of(HookFired) if one.seq > after]
    seqs = (one for one in fired if is_of(log.hooks[log.at(one).hook], phrase))
    return next(seqs, 10**9)


def check_next_hook(log: Log, stop: Stop) -> None:
    when = [first_firing(log, one, stop.moment.cursor) for one in stop.choices]
    assert min(when) == when[stop.right] == stop.moment.proof
    assert when.count(min(when)) == 1


def check_change(log: Log, stop: Stop) -> None:
    fired = log.at(stop.moment.proof)
    role = stop.question.values["role"]
    before = next(one for one in fired.inputs if one.role == role)
    edits = [one for one in fired.edits if one.role == role]
    after = edits[-1].after if edits else before
    assert log.at(stop.moment.cursor).time_ns < fired.time_ns
    true = [holds(log, one, before, after) for one in stop.choices]
    assert true.index(True) == stop.right
    assert true.count(True) == 1
    if not edits:
        written = [one for one in log.of(TensorWritten) if one.hook == fired.hook]
        assert all(one.before != before.value for one in written)


def holds(log: Log, choice: Phrase, before: Any, after: Any) -> bool:
    """Whether a choice tells what became of a tensor."""
    if choice.key == "lesson_text":
        shape = after.summary.shape
        return numbers(choice.values["text"]) == pytest.approx(after.numbers, rel=1e-4) and (
            (shape == ()) == ("[" not in str(choice.values["text"]))
        )
    if after is before:
        return choice.key == "lesson_unchanged"
    one, other = (log.snapshots[seen.value].double() for seen in (before, after))
    if choice.key == "lesson_scaled":
        return torch.allclose(one * float(str(choice.values["factor"])), other, rtol=1e-5, atol=0)
    return {
        "lesson_unchanged": lambda: torch.equal(one, other),
        "lesson_zeroed": lambda: not other.any(),
        "lesson_clamped": lambda: clamped(one, other, choice, "low", "high"),
        "lesson_clamped_below": lambda: clamped(one, other, choice, "limit", ""),
        "lesson_clamped_above": lambda: clamped(one, other, choice, "", "limit"),
    }[choice.key]()


def clamped(one: Any, other: Any, choice: Phrase, low: str, high: str) -> bool:
    """Whether values below the one limit, and above the other, became it, and all others stayed."""
    least, most = (float(str(choice.values[name])) if name else None for name in (low, high))
    wanted = torch.tensor(
        [
            least
            if least is not None and n < least
            else most
            if most is not None and n > most
            else n
            for n in one.flatten().tolist()
        ],
        dtype=torch.double,
    )
    return torch.allclose(wanted, other.flatten(), rtol=1e-5, atol=1e-9)


def numbers(text: Any) -> list[float]:
    return [float(one) for one in str(text).strip("[]").split(",")]


def check_next_receives(log: Log, stop: Stop) -> None:
    taker = log.at(stop.moment.proof)
    assert isinstance(taker, ModuleCalled)
    firing = next(
        one
        for one in log.of(HookFired)
        if one.seq > stop.moment.cursor and one.hook == stop.moment.hook
    )
    output = next(one for one in firing.inputs if one.role == "output").value
    received = {one.value for one in taker.inputs}
    tensors = {one.tensor for one in received if one is not None}
    right = stop.choices[stop.right].key.removeprefix("lesson_receives_")
    if right == "looked":
        assert not firing.edits
        assert output in received
    elif right == "in_place":
        assert output not in received
        assert output.tensor in tensors
    else:
        assert output.tensor not in tensors


def check_input_intact(log: Log, stop: Stop) -> None:
    proof = log.at(stop.moment.proof)
    if stop.choices[stop.right].key == "lesson_overwritten":
        assert isinstance(proof, TensorWritten)
        assert proof.hook is None
        assert proof.after.version > proof.before.version
        called = next(one for one in log.of(ModuleCalled) if one.call == proof.call)
        module = log.modules[called.module]
        assert str(stop.choices[stop.right].values["writer"]).split("@")[0].startswith(module.label)
        return
    given = next(one for one in proof.inputs if one.role == "args[0]").value
    called = next(one for one in log.of(ModuleCalled) if one.call == proof.call)
    exited = next(one for one in log.of(ModuleExited) if one.call == proof.call)
    assert given not in [one.value for one in exited.outputs]
    during = [one for one in log.of(TensorWritten) if called.seq < one.seq < proof.seq]
    assert all(one.before.tensor != given.tensor for one in during)


def check_accumulate(log: Log, stop: Stop) -> None:
    event = log.at(stop.moment.proof)
    assert isinstance(event, GradientAccumulated)
    assert event.before is not None
    if stop.choices[stop.right].key == "lesson_text":
        old, new = (torch.tensor(one.numbers) for one in (event.before, event.arrived))
        true = [
            numbers(one.values["text"]) == pytest.approx((old + new).tolist(), rel=1e-4, abs=1e-9)
            for one in stop.choices
        ]
        assert true.index(True) == stop.right
        assert true.count(True) == 1
    else:
        assert stop.choices[stop.right].key == "lesson_sum"


def check_grad_filled(log: Log, stop: Stop) -> None:
    (row,) = (one for one in log.tensors if one.name == stop.question.values["name"])
    run = log.at(stop.moment.proof).backward

    def seen(kind: Any) -> bool:
        return any(one.tensor == row.id and one.backward == run for one in log.of(kind))

    right = stop.choices[stop.right].key.removeprefix("lesson_filled_")
    expected = {
        "leaf": (True, False, True),
        "retained": (False, True, False),
        "inner": (False, False, False),
        "asked": (False, False, True),
    }
    assert (seen(GradientAccumulated), seen(GradientRetained), row.leaf) == expected[right]


def check_backward_order(log: Log, stop: Stop) -> None:
    assert isinstance(log.at(stop.moment.cursor), BackwardStarted)
    calls = CallIndex(log).refresh()
    hooks = stop.question.key == "lesson_backward_hooks"
    events: list[Any] = log.of(HookFired if hooks else GradientComputed)
    came = []
    for choice in stop.choices:
        name = str(choice.values["text"]).split(" (")[0]
        its = [one for one in calls if name in (one.name, str(one))]
        came.append(
            min(
                one.seq
                for one in events
                if one.seq > stop.moment.cursor
                and one.call in [call.id for call in its]
                and (hooks or one.gradient.role.startswith("grad_output"))
            )
        )
    assert min(came) == came[stop.right] == stop.moment.proof


def check_will_fire(log: Log, stop: Stop) -> None:
    hook = stop.question.values["hook"]
    assert isinstance(hook, Phrase)
    if stop.choices[stop.right].key == "lesson_fires_yes":
        assert first_firing(log, hook, stop.moment.cursor) == stop.moment.proof
    else:
        assert first_firing(log, hook, -1) == 10**9


CHECKS: dict[str, Callable[[Log, Stop], None]] = {
    "accumulate": check_accumulate,
    "backward-order": check_backward_order,
    "grad-filled": check_grad_filled,
    "gradient-after": check_change,
    "input-intact": check_input_intact,
    "next-hook": check_next_hook,
    "next-receives": check_next_receives,
    "output-after": check_change,
    "will-fire": check_will_fire,
}


def check(log: Log, found: list[Stop]) -> None:
    seqs = {one.seq for one in log.events}
    for stop in found:
        assert {stop.moment.cursor, stop.moment.proof} <= seqs
        assert 2 <= len(stop.choices) <= 4
        for language in ("en", "zh"):
            texts = [said(one, language) for one in stop.choices]
            assert len(set(texts)) == len(texts)
            assert said(stop.question, language)
            assert said(stop.explanation, language)
        CHECKS[stop.name](log, stop)


@pytest.mark.parametrize("name", LIGHT)
def test_the_answers_of_every_program_are_true(name: str) -> None:
    trace = trace_of(name)
    found = lesson(trace)
    check(trace.log, found)
    assert found == lesson(trace)
    assert len(found) <= 12
    places = [(one.moment.cursor, one.moment.proof) for one in found]
    assert places == sorted(places)
    reached = -1
    for cursor, proof in places:
        assert cursor >= reached
        reached = max(reached, proof)


def test_every_kind_of_question_has_its_check() -> None:
    assert sorted(QUESTIONS) == sorted(CHECKS)


# ---------------------------------------------------------------- what is asked of small programs


def double(module: Any, args: Any, output: Any) -> Any:
    return output * 2


def look(module: Any, args: Any, output: Any) -> None:
    pass


def zero(module: Any, args: Any, output: Any) -> None:
    output.zero_()


def traced(net: nn.Module, *hooks: tuple[str, Any], backward: bool = True) -> Any:
    for path, hook in hooks:
        net.get_submodule(path).register_forward_hook(hook)
    with ht.trace(net) as t:
        result = net(torch.ones(1, 2, requires_grad=True)).sum()
        if backward:
            result.backward()
    return t


def test_the_classic_example_asks_what_w_gets() -> None:
    w, x, b = (torch.tensor(one, requires_grad=True) for one in (2.0, 1.0, 3.0))
    w.register_hook(lambda grad: grad * 2)
    with ht.trace() as t:
        a = w + x
        y = a * b
        y.backward()
    (stop,) = asked(t, "gradient-after")
    assert answer(stop) == f"`{w.grad:g}`" == "`6`"
    assert "`3`" in map(said, stop.choices)
    filled = {str(one.question.values["name"]): one for one in asked(t, "grad-filled")}
    assert {name: answer(one)[:3] for name, one in filled.items()} == {"w": "Yes", "y": "No,"}
    assert w.grad is not None
    assert y.is_leaf is False


def test_two_changes_of_one_hook_both_count() -> None:
    w = torch.tensor([1.0], requires_grad=True)

    def twice(grad: Any) -> Any:
        grad *= 2
        return grad * 3

    w.register_hook(twice)
    with ht.trace() as t:
        (w * 5).sum().backward()
    (stop,) = asked(t, "gradient-after")
    check(t.log, [stop])  # it stops before the hook writes
    assert w.grad is not None
    assert answer(stop) == f"`[{w.grad.item():g}]`"
    assert {"`[10]`", "`[15]`"} < set(map(said, stop.choices))


CLAMPS = [
    ({"min": -0.5}, "values below -0.5 become -0.5, all others stay", "小于 -0.5 的值变为 -0.5"),
    ({"max": 0.25}, "values above 0.25 become 0.25, all others stay", "大于 0.25 的值变为 0.25"),
    (
        {"min": -0.5, "max": 0.25},
        "values below -0.5 become -0.5, values above 0.25 become 0.25, those between stay",
        "中间的值不变",
    ),
]


@pytest.mark.parametrize(("limits", "english", "chinese"), CLAMPS)
def test_a_clamp_is_told_with_the_side_that_it_cuts(
    limits: dict[str, float], english: str, chinese: str
) -> None:
    w = torch.linspace(-1, 1, 40, requires_grad=True)
    w.register_hook(lambda grad: grad.clamp(**limits))
    with ht.trace() as t:
        (w * torch.linspace(-1, 1, 40)).sum().backward()
    (stop,) = asked(t, "gradient-after")
    check(t.log, [stop])
    assert answer(stop) == english
    assert chinese in said(stop.choices[stop.right], "zh")
    assert english in said(stop.explanation)
    assert len(stop.choices) == 4


def test_a_prepended_and_a_global_hook_come_first() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    order: list[str] = []

    def early(*_: Any) -> None:
        order.append("early")

    def late(*_: Any) -> None:
        order.append("late")

    def everywhere(module: Any, *_: Any) -> None:
        if module is net[0]:
            order.append("everywhere")

    with ht.trace(net) as t:
        net[0].register_forward_hook(late)
        net[0].register_forward_hook(early, prepend=True)
        handle = nn.modules.module.register_module_forward_hook(everywhere)
        net(torch.ones(1, 2))
        handle.remove()
    first, second = asked(t, "next-hook")
    assert [
        str(one.choices[one.right].values["name"]).split(".")[-1] for one in (first, second)
    ] == [*order[:2]]
    assert {said(first.explanation)[:15], said(second.explanation)[:15]} == {
        "Hooks for every",
        "A hook that is ",
    }


@pytest.mark.parametrize(
    ("hook", "begin"), [(double, "Yes: what"), (zero, "Yes: the hook writes"), (look, "No")]
)
def test_whether_the_next_module_notices_a_hook(hook: Any, begin: str) -> None:
    net = nn.Sequential(nn.Linear(2, 20), nn.Tanh())
    (stop,) = asked(traced(net, ("0", hook), backward=False), "next-receives")
    assert answer(stop).startswith(begin)


@pytest.mark.parametrize(("inplace", "begin"), [(True, "Yes"), (False, "No")])
def test_whether_a_relu_overwrites_its_input(inplace: bool, begin: str) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=inplace))
    found = asked(traced(net, ("1", look), backward=False), "input-intact")
    assert {answer(one).split(":")[0].split(",")[0] for one in found} == {begin}


def test_a_module_that_passes_its_input_on_is_not_said_to_make_a_new_tensor() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval()
    assert asked(traced(net, ("1", look), backward=False), "input-intact") == []


def test_a_second_gradient_is_added() -> None:
    w = torch.tensor(1.0, requires_grad=True)
    with ht.trace() as t:
        (w * 5).backward()
        (w * 3).backward()
    (stop,) = asked(t, "accumulate")
    assert w.grad is not None
    assert answer(stop) == f"`{w.grad.item():g}`" == "`8`"
    assert sorted(map(said, stop.choices)) == ["`3`", "`4`", "`5`", "`8`"]


def test_modules_get_their_gradients_in_reverse() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    for place in (0, 2):
        net[place].register_full_backward_hook(lambda *_: None)
    (by_hooks,) = (
        one for one in asked(traced(net), "backward-order") if "hook" in said(one.question)
    )
    assert answer(by_hooks) == "`2 (Linear)`"


@pytest.mark.parametrize(
    ("why", "inside"),
    [
        ("lesson_never_late", lambda net: net(torch.ones(1, 2)).sum().backward()),
        ("lesson_never_no_grad", None),
    ],
)
def test_a_hook_that_never_fires_is_asked_for_with_the_reason(why: str, inside: Any) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    fired: list[Any] = []
    with ht.trace(net) as t:
        if inside:
            loss = net(torch.ones(1, 2, requires_grad=True)).sum()
            net[0].register_full_backward_hook(lambda *_: fired.append(1))
            loss.backward()
        else:
            net[0].register_full_backward_hook(lambda *_: fired.append(1))
            with torch.no_grad():
                net(torch.ones(1, 2))
            torch.ones(1, requires_grad=True).sum().backward()
    (stop,) = (one for one in asked(t, "will-fire") if one.explanation.key == why)
    assert not fired
    assert answer(stop).startswith("No")


def test_a_value_so_near_that_it_reads_alike_is_no_choice() -> None:
    w = torch.tensor(1.0, requires_grad=True)
    w.register_hook(lambda grad: grad * 1.0001)
    with ht.trace() as t:
        (w * 5).backward()
    (stop,) = asked(t, "gradient-after")
    assert answer(stop) == "`5.0005`"
    assert "`5`" not in map(said, stop.choices)


def test_where_nothing_is_compared_no_hook_is_said_to_leave_a_gradient_as_it_is() -> None:
    def run(edits: str) -> list[Stop]:
        w = torch.tensor(1.0, requires_grad=True)
        w.register_hook(lambda grad: None)
        with ht.trace(edits=edits) as t:
            (w * 5).backward()
        return asked(t, "gradient-after")

    assert len(run("values")) == 1
    assert run("versions") == []


def test_what_comes_next_is_not_what_passed_the_value_on() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Identity(), nn.Tanh())
    (stop,) = asked(traced(net, ("1", look), backward=False), "next-receives")
    assert stop.question.values["next"] == "2 (Tanh)"


def test_what_a_hook_wrote_is_not_said_of_the_module() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval()
    trace = traced(net, ("1", zero), ("1", look), backward=False)
    assert [one.hook for one in trace.of(TensorWritten)] != [None]
    assert asked(trace, "input-intact") == []


def test_retain_grad_fills_the_grad_of_a_tensor_that_is_no_leaf() -> None:
    w = torch.tensor(1.0, requires_grad=True)
    with ht.trace() as t:
        a = w * 2
        a.retain_grad()
        (a * 3).backward()
    (stop,) = (one for one in asked(t, "grad-filled") if one.question.values["name"] == "a")
    assert a.grad is not None
    assert answer(stop) == "Yes, because `retain_grad()` was called on `a`"


def test_a_lesson_is_no_longer_than_one_can_take() -> None:
    def made(name: str, place: int) -> Stop | None:
        text = say("lesson_text", text=f"{name} {place}")
        moment = Moment(place, place, HookId(place))
        return ask(moment, text, text, [say("lesson_kept")], text)

    names = "abcdefgh"
    found = chosen(
        {name: [made(name, n) for n in range(at, 800, 8)] for at, name in enumerate(names)}
    )
    assert len(found) == 12
    assert {sum(one.name == name for one in found) for name in names} <= {1, 2, 3}
    only = chosen({"a": [made("a", n) for n in range(9)]})
    assert len(only) == 3


def test_what_several_threads_did_is_not_one_story() -> None:
    log = trace_of("two_threads").log
    scene = Scene(log, CallIndex(log).refresh())
    threads = [one.thread for one in log.events]
    change = next(n for n in range(1, len(threads)) if threads[n] != threads[n - 1])
    assert not scene.alone(log.events[change - 1].seq, log.events[change].seq)
    assert scene.alone(log.events[0].seq, log.events[change - 1].seq)


def test_autograd_grad_fills_no_grad() -> None:
    w = torch.tensor(1.0, requires_grad=True)
    with ht.trace() as t:
        loss = w * 5
        torch.autograd.grad(loss, w)
    answers = {str(one.question.values["name"]): answer(one) for one in asked(t, "grad-filled")}
    assert w.grad is None
    assert answers["w"] == "No, because `autograd.grad()` fills no `.grad`"


def test_a_tensor_that_two_threads_may_have_touched_is_not_asked_for() -> None:
    trace = trace_of("backward_nested_so_deep_that_another_thread_takes_over")
    threads = {one.seq: one.thread for one in trace.log.events}
    for stop in lesson(trace):
        around = range(stop.moment.cursor, stop.moment.proof + 1)
        assert len({threads[one] for one in around}) <= 1


def test_a_trace_without_anything_to_ask_has_no_stops() -> None:
    with ht.trace() as t:
        pass
    assert lesson_data(t.log, CallIndex(t.log).refresh())["stops"] == []


def test_a_lesson_of_another_run_has_another_name() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    one, other = traced(net, ("0", double)), None
    started = one.log.surroundings.started
    while other is None or other.log.surroundings.started == started:
        other = traced(copy.deepcopy(net))
    first = lesson_data(one.log, CallIndex(one.log).refresh())
    again = lesson_data(one.log, CallIndex(one.log).refresh())
    assert first == again
    assert first["id"] != lesson_data(other.log, CallIndex(other.log).refresh())["id"]


@pytest.mark.parametrize("name", ["hooks_of_every_kind", "global_hooks_of_every_kind"])
def test_a_program_with_hooks_has_a_varied_lesson(name: str) -> None:
    assert len({one.name for one in lesson(trace_of(name))}) >= 4
