"""What a run did that could not be seen is said, with the place and the reason."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import needs
import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.views.blindspots import BLIND_SPOTS

Program = Callable[[], ht.Trace]


@functools.cache
def traced(program: Program) -> ht.Trace:
    return program()


def names(t: ht.Trace) -> set[str]:
    return {spot.name for spot in t.blind_spots()}


def where(t: ht.Trace, name: str) -> tuple[str, ...]:
    (spot,) = (spot for spot in t.blind_spots() if spot.name == name)
    return spot.where


def a_kept_step() -> ht.Trace:
    """A run that nothing escapes."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    with ht.trace(keep=True) as t:
        net(torch.ones(1, 2)).sum().backward()
    return t


def an_ordinary_step() -> ht.Trace:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    return t


def a_compiled_module() -> ht.Trace:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    net.compile(backend="eager")
    with ht.trace(net, keep=True) as t:
        net(torch.ones(1, 2)).sum().backward()
    torch.compiler.reset()
    return t


def a_scripted_module() -> ht.Trace:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = torch.jit.script(nn.Linear(2, 2))
    with ht.trace(keep=True) as t:
        net(torch.ones(1, 2))
    return t


def a_graph_from_before() -> ht.Trace:
    w = torch.ones(1, requires_grad=True)
    early = (w * 2).exp()
    with ht.trace(keep=True) as t:
        (early * 3).backward()
    return t


def a_pair_from_before() -> ht.Trace:
    with torch.autograd.graph.save_on_cpu(), ht.trace(keep=True) as t:
        nn.Linear(2, 2)(torch.ones(1, 2))
    return t


def a_module_outside_the_model() -> ht.Trace:
    net, other = nn.Linear(2, 2), nn.Tanh()
    with ht.trace(net, keep=True) as t:
        other(net(torch.ones(1, 2)))
    return t


def versions_only() -> ht.Trace:
    net = nn.Linear(2, 2)
    net.weight.register_hook(print)
    with ht.trace(net, keep=True, edits="versions") as t:
        net(torch.ones(1, 2))
    return t


def a_write_among_views() -> ht.Trace:
    net = nn.Identity()
    base = torch.zeros(4)
    halves = base[:2], base[2:]
    with ht.trace(net, keep=True) as t:
        net(halves[0])
        halves[1].add_(1)
        net(halves[0])
    return t


def a_gradient_of_a_module_that_returns_its_input() -> ht.Trace:
    net = nn.Identity()
    x = torch.ones(2, requires_grad=True) * 1
    with ht.trace(net, keep=True) as t:
        y = net(x)
        (y * x).sum().backward()
    return t


def a_node_hook_that_no_run_reaches() -> ht.Trace:
    net = nn.Linear(2, 2)
    with ht.trace(net, keep=True) as t:
        net(torch.ones(1, 2)).grad_fn.register_hook(lambda *gradients: None)
    return t


def plain_code_on_two_threads() -> ht.Trace:
    number = torch.autograd._get_sequence_nr  # which counts on each thread by itself

    def plain(found: list[torch.Tensor], first: int) -> None:
        while number() < first:
            torch.ones(1, requires_grad=True).sin()
        found.append(torch.ones(1, 1, requires_grad=True).sin().exp())

    found: list[torch.Tensor] = []
    net = nn.Linear(1, 1)
    with ht.trace(keep=True) as t:
        first = number()
        plain(found, first)
        thread = threading.Thread(target=plain, args=(found, first))
        thread.start()
        thread.join()
        net(found[0] + found[1]).backward()
    return t


def a_function_that_somebody_replaced() -> ht.Trace:
    original = nn.Module._call_impl

    @functools.wraps(original)
    def theirs(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return original(self, *args, **kwargs)

    net = nn.Linear(2, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "_call_impl", theirs)
        with ht.trace(net, keep=True) as t:
            net(torch.ones(1, 2))
    return t


def a_failed_probe() -> ht.Trace:
    from hooktrace.recorder import Recorder

    original = Recorder.observe_leaves
    net = nn.Linear(2, 2)
    net.register_forward_hook(lambda *arguments: None)

    def broken(*arguments: Any) -> Any:
        raise LookupError("on purpose")

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", ht.errors.ProbeFailedWarning)
        patch.setenv("HOOKTRACE_STRICT", "0")
        patch.setattr(Recorder, "observe_leaves", broken)
        with ht.trace(net, keep=True) as t:
            net(torch.ones(1, 2))
    assert Recorder.observe_leaves is original
    return t


CASES: dict[str, tuple[Program, str]] = {
    "compiled-region": (a_compiled_module, "Sequential"),
    "scripted-module": (a_scripted_module, "RecursiveScriptModule"),
    "replaced-function": (a_function_that_somebody_replaced, "Module._call_impl"),
    "graph-from-before": (
        a_graph_from_before,
        "2 nodes made earlier or on another thread, such as ExpBackward0",
    ),
    "shadowed-saved-tensor-hooks": (a_pair_from_before, "pack_to_cpu"),
    "outside-modules": (a_module_outside_the_model, "Tanh (1x)"),
    "contents-not-copied": (versions_only, "print"),
    "writes-past-the-counter": (an_ordinary_step, "the outputs of 3 of 3 modules"),
    "writes-among-views": (a_write_among_views, "halves[0]"),
    "unknown-thread": (plain_code_on_two_threads, "ExpBackward0"),
    "node-never-reached": (a_node_hook_that_no_run_reaches, "<lambda>"),
    "failed-probe": (a_failed_probe, "the beginning of forward"),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=needs.TOP_PAIR if name == "shadowed-saved-tensor-hooks" else ())
        for name in CASES
    ],
)
def test_a_blind_spot_is_told_where_it_is(name: str) -> None:
    program, place = CASES[name]
    t = traced(program)
    assert place in where(t, name)
    (text,) = (str(spot) for spot in t.blind_spots() if spot.name == name)
    assert text.startswith(f"{name}: ")
    assert " Instead: " in text


def test_a_run_that_is_seen_whole_has_none() -> None:
    assert names(a_kept_step()) == set()


@pytest.mark.parametrize("name", CASES)
def test_a_blind_spot_is_not_told_of_other_runs(name: str) -> None:
    others = [program for other, (program, _) in CASES.items() if other != name]
    found = [program.__name__ for program in others if name in names(traced(program))]
    allowed = {"writes-past-the-counter": {"a_graph_from_before"}}  # nothing there to be kept
    assert set(found) <= allowed.get(name, set())


def test_gradients_that_are_not_known_for_sure_are_told_by_their_notes() -> None:
    t = a_gradient_of_a_module_that_returns_its_input()
    notes = {event.note for event in t.of(ht.events.GradientComputed) if event.note}
    assert notes
    assert set(where(t, "limited-gradients")) == notes


def test_the_documentation_has_every_blind_spot() -> None:
    page = (Path(__file__).parents[2] / "docs" / "blind-spots.md").read_text()
    for spot in BLIND_SPOTS.values():
        assert f"`{spot.name}`" in page
        assert spot.why in page
