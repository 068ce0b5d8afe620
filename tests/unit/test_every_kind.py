"""Every way to register a hook: what is known of the hook, and of each of its firings."""

from __future__ import annotations

import functools
import inspect
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.modules.module as every_module
from every_kind import CASES, Case, World, numbers, remove, tensors_in

import hooktrace as ht
from hooktrace.events import HookFired, HookRegistered, HookRemoved, TracedHook
from hooktrace.kinds import KINDS

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using a non-full backward hook:FutureWarning"),
    pytest.mark.filterwarnings("ignore::hooktrace.errors.NothingTracedWarning"),
]

PACKAGE = str(Path(ht.__file__).parent)
SEVERAL = {"comm", "function_backward", "retain_grad"}  # in files of their own


@pytest.fixture(autouse=True)
def no_hook_on_every_module() -> Iterator[None]:
    """PyTorch remembers for ever that there once was a full backward hook on every module."""
    yield
    every_module._global_is_full_backward_hook = None


class UnwantedError(Exception):
    """What a hook raises."""


class Watched:
    """A hook of the user's that notes by itself what it was given."""

    def __init__(self, case: Case, does: Any = None) -> None:
        self.given: list[list[tuple[float, ...]]] = []
        seen = self.given

        def hook(*arguments: Any, **named: Any) -> Any:
            seen.append([numbers(one) for one in tensors_in((arguments, named))])
            if does is not None:
                return does(*arguments, **named)
            return case.result(*arguments, **named)

        self.hook = hook


def run(case: Case, watched: Watched, before: bool, removed: bool = False) -> ht.Trace:
    """Run the program of a case, with the registration before the block or inside."""
    w = World()
    handle: Any = None
    traced = ht.trace(w.net)

    def register() -> None:
        nonlocal handle
        case.prepare(w)
        handle = case.register(w, watched.hook)

    try:
        if before:
            register()
        with traced as t:
            if not before:
                register()
            if removed:
                remove(handle)
            case.run(w)
    finally:
        if case.removable and not removed:
            remove(handle)
    return t


def row_of(t: ht.Trace) -> TracedHook:
    """Return the row of the watched hook."""
    (row,) = [one for one in t.hooks if one.name == "hook"]
    return row


def firings_of(t: ht.Trace) -> list[HookFired]:
    """Return the firings of the watched hook."""
    return [one for one in t.of(HookFired) if one.hook == row_of(t).id]


def place(function: Any) -> str:
    """Where a function is defined, by Python's own account."""
    return f"{inspect.getsourcefile(function)}:{inspect.getsourcelines(function)[1]}"


def test_the_table_has_every_kind() -> None:
    lacking = set() if hasattr(torch.autograd.graph, "node_creation_hook") else {"node_creation"}
    assert {case.kind for case in CASES.values()} | SEVERAL == set(KINDS) - lacking


BEFORE = [name for name, case in CASES.items() if case.before]
REMOVABLE = [name for name, case in CASES.items() if case.removable]


@pytest.mark.parametrize("name", CASES)
def test_a_hook_registered_inside_the_block_is_known(name: str) -> None:
    case = CASES[name]
    watched = Watched(case)
    t = run(case, watched, before=False)
    row = row_of(t)
    assert (row.kind, row.feature) == (case.kind, "")
    assert row.owner.startswith(case.owner)
    assert row.defined_at == place(watched.hook)
    assert set(row.options) == set(case.options)
    assert [one.hook for one in t.of(HookRegistered)].count(row.id) == 1
    if case.kind != "queue_callback":
        assert row.registered_at == case.line


@pytest.mark.parametrize("name", BEFORE)
def test_a_hook_registered_before_the_block_is_known(name: str) -> None:
    case = CASES[name]
    watched = Watched(case)
    t = run(case, watched, before=True)
    row = row_of(t)
    assert (row.kind, row.registered_at, row.feature) == (case.kind, None, "")
    assert row.owner.startswith(case.owner)
    assert row.defined_at == place(watched.hook)
    assert set(row.options) == set(case.stored)
    assert t.of(HookRegistered) == []


@pytest.mark.parametrize("before", [True, False], ids=["before", "inside"])
@pytest.mark.parametrize("name", CASES)
def test_a_firing_says_what_the_hook_was_given(name: str, before: bool) -> None:
    case = CASES[name]
    if before and not case.before:
        before = False
    watched = Watched(case)
    t = run(case, watched, before)
    firings = firings_of(t)
    assert len(firings) == len(watched.given) >= 1
    for fired, given in zip(firings, watched.given, strict=True):
        known = Counter(one.numbers for one in fired.inputs if one.numbers is not None)
        wanted = Counter(given) if KINDS[case.kind].family != "state_dict" else Counter()
        assert not wanted - known
        assert not fired.edits
        assert fired.exception is None


@pytest.mark.parametrize("name", REMOVABLE)
def test_a_hook_removed_inside_the_block_is_seen_to_go_and_fires_no_more(name: str) -> None:
    case = CASES[name]
    watched = Watched(case)
    t = run(case, watched, before=False, removed=True)
    row = row_of(t)
    assert watched.given == []
    assert firings_of(t) == []
    assert [one.hook for one in t.of(HookRemoved)].count(row.id) == 1


@pytest.mark.parametrize("name", [name for name in REMOVABLE if CASES[name].before])
def test_a_hook_from_before_the_block_is_seen_to_go(name: str) -> None:
    case = CASES[name]
    watched = Watched(case)
    w = World()
    case.prepare(w)
    handle = case.register(w, watched.hook)
    with ht.trace(w.net) as t:
        case.run(w)
        remove(handle)
    assert [one.hook for one in t.of(HookRemoved)].count(row_of(t).id) == 1


@pytest.mark.parametrize("name", CASES)
def test_a_firing_says_how_long_it_took(name: str) -> None:
    case = CASES[name]

    def sleep(*arguments: Any, **named: Any) -> Any:
        time.sleep(0.002)
        return case.result(*arguments, **named)

    t = run(case, Watched(case, sleep), before=False)
    for fired in firings_of(t):
        assert 2_000_000 <= fired.duration_ns < 1_000_000_000


@pytest.mark.parametrize("before", [True, False], ids=["before", "inside"])
@pytest.mark.parametrize("name", CASES)
def test_what_a_hook_raises_is_said_and_reaches_the_user(name: str, before: bool) -> None:
    case = CASES[name]
    if before and not case.before:
        before = False
    error = UnwantedError("not this one")

    def raising(*_: Any, **__: Any) -> None:
        raise error

    watched = Watched(case, raising)
    w = World()
    with pytest.raises(UnwantedError) as raised:
        _run_on(case, watched, before, w)
    assert raised.value is error
    frames = traceback.extract_tb(error.__traceback__)
    assert not [one for one in frames if one.filename.startswith(PACKAGE)]
    (fired,) = firings_of(_last[0])
    assert fired.exception == "UnwantedError: not this one"


_last: list[ht.Trace] = []


def _run_on(case: Case, watched: Watched, before: bool, w: World) -> None:
    handle: Any = None
    try:
        if before:
            case.prepare(w)
            handle = case.register(w, watched.hook)
        with ht.trace(w.net) as t:
            _last[:] = [t]
            if not before:
                case.prepare(w)
                handle = case.register(w, watched.hook)
            case.run(w)
    finally:
        if case.removable and handle is not None:
            remove(handle)


def _place(case: Case) -> int:
    return -1 if case.kind == "forward" else 0  # its output: autograd has saved its input


def tensor_in(case: Case, *given: Any) -> torch.Tensor:
    """Return the tensor that a hook of a kind may write to."""
    return list(tensors_in(given))[_place(case)]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.in_place])
def test_what_a_hook_writes_in_place_is_said(name: str) -> None:
    case = CASES[name]

    def double(*arguments: Any, **named: Any) -> None:
        with torch.no_grad():
            tensor_in(case, arguments, named).mul_(2)

    watched = Watched(case, double)
    t = run(case, watched, before=True)
    (fired,) = firings_of(t)
    (edit,) = fired.edits
    given = watched.given[0][_place(case)]
    assert edit.how == "in_place"
    assert (edit.before.numbers, edit.after.numbers) == (given, tuple(2 * one for one in given))
    assert [one.factor for one in t.edits if one.hook.name == "hook"] == [2.0]


def doubled(thing: Any) -> Any:
    """The same with all tensors doubled."""
    if isinstance(thing, torch.Tensor):
        new = thing * 2
        return torch.nn.Parameter(new.detach()) if isinstance(thing, torch.nn.Parameter) else new
    if isinstance(thing, tuple):
        return tuple(doubled(one) for one in thing)
    return thing


def _last_argument(*arguments: Any, **_: Any) -> Any:
    return doubled(arguments[-1])


_RETURNING = {
    "forward_pre": _last_argument,
    "forward_pre_with_options": lambda m, args, kwargs: (doubled(args), kwargs),
    "forward": _last_argument,
    "full_backward_pre": _last_argument,
    "full_backward": lambda m, grad_input, grad_output: doubled(grad_input),
    "backward": lambda m, grad_input, grad_output: doubled(grad_input),
    "every_forward_pre": _last_argument,
    "every_forward": _last_argument,
    "every_full_backward_pre": _last_argument,
    "every_full_backward": lambda m, grad_input, grad_output: doubled(grad_input),
    "every_backward": lambda m, grad_input, grad_output: doubled(grad_input),
    "on_parameter": doubled,
    "on_result": doubled,
    "on_node": lambda grad_inputs, grad_outputs: doubled(grad_inputs),
    "before_node": doubled,
    "on_python_node": lambda grad_inputs, grad_outputs: doubled(grad_inputs),
    "before_python_node": doubled,
    "before_accumulator": doubled,
    "parameter_registration": _last_argument,
    "buffer_registration": _last_argument,
}


@pytest.mark.parametrize("before", [True, False], ids=["before", "inside"])
@pytest.mark.parametrize("name", _RETURNING)
def test_what_a_hook_returns_instead_is_said(name: str, before: bool) -> None:
    case = CASES[name]
    t = run(case, Watched(case, _RETURNING[name]), before)
    (fired,) = firings_of(t)
    assert fired.edits
    for edit in fired.edits:
        assert edit.role.startswith(KINDS[case.kind].replaces.partition(",")[0])
        assert edit.how == "returned"
        assert edit.before.numbers is not None
        assert edit.after.numbers == tuple(2 * one for one in edit.before.numbers)


@pytest.mark.parametrize("name", CASES)
def test_both_of_two_traces_see_a_hook(name: str) -> None:
    case = CASES[name]
    watched = Watched(case)
    w = World()
    with ht.trace(w.net) as outer, ht.trace() as inner:
        case.prepare(w)
        handle = case.register(w, watched.hook)
        case.run(w)
        if case.removable:
            remove(handle)
    times = len(watched.given)
    assert times >= 1
    assert [len(firings_of(t)) for t in (outer, inner)] == [times, times]
    assert {row_of(t).kind for t in (outer, inner)} == {case.kind}


@pytest.mark.parametrize("name", CASES)
def test_the_programs_results_are_those_without_a_trace(name: str) -> None:
    case = CASES[name]
    found = []
    for traced in (False, True):
        torch.manual_seed(3)
        w = World()
        watched = Watched(case, None)
        case.prepare(w)
        handle = case.register(w, watched.hook)
        if traced:
            with ht.trace(w.net):
                case.run(w)
        else:
            case.run(w)
        if case.removable:
            remove(handle)
        grads = [one.grad for one in (w.x, *w.net.parameters())]
        state = [*w.net.state_dict().values(), w.y.detach()]
        found.append((watched.given, [*map(_plain, grads), *map(_plain, state)]))
    assert found[0] == found[1]


def _plain(tensor: torch.Tensor | None) -> Any:
    return None if tensor is None else numbers(tensor)


def test_a_partial_is_known_by_what_it_wraps_in_every_dictionary() -> None:
    w = World()

    def hook(extra: int, *_: Any) -> None:
        """Change nothing."""

    partial = functools.partial(hook, 1)
    with ht.trace(w.net) as t:
        w.linear.register_load_state_dict_pre_hook(partial)
        w.optimizer.register_step_pre_hook(partial)
        w.run()
        w.optimizer.step()
        w.net.load_state_dict(w.net.state_dict())
    hooks = [one for one in t.hooks if one.name == "partial(hook)"]
    assert {one.defined_at for one in hooks} == {place(hook)}
    assert [t.hooks[one.hook].kind for one in t.of(HookFired) if t.hooks[one.hook] in hooks] == [
        "optimizer_step_pre",
        "load_state_dict_pre",
    ]
