"""Firings of a hook beyond the first for one occasion, each with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from hooktrace.doctor.case import Case, Run
from hooktrace.events import HookFired, NodeId, TracedHook
from hooktrace.views.call import Call

__all__ = ["Repeat", "repeats", "same_graph"]


class Repeat(NamedTuple):
    """A firing that came on top of another one.

    Attributes:
        firing: The firing.
        name: Of the reason: ``recomputed``, ``shared``, ``second-backward``, ``create-graph`` or
            ``inner-backward``.
        text: The reason, in words.
    """

    firing: HookFired
    name: str
    text: str


def repeats(case: Case, hook: TracedHook, graphs: dict[int, Run]) -> list[Repeat]:
    """Return the firings of a hook that are repetitions; those of a loop's steps are none.

    Args:
        case: The log.
        hook: The hook.
        graphs: What `same_graph` found.
    """
    firings = case.firings.get(hook.id, ())
    if len(firings) < 2:
        return []
    if case.family(hook) != "module":
        return list(_in_runs(case, firings, graphs)) if case.family(hook) in _GRAPH else []
    if hook.module is None:
        return []
    forward = hook.kind in ("forward", "forward_pre")
    return list(_in_calls(case, firings) if forward else _in_backwards(case, firings, graphs))


_GRAPH = ("tensor", "node")


def same_graph(case: Case) -> dict[int, Run]:
    """Return for each backward run that goes through nodes of an earlier one, which that is."""
    leaves = set(case.log.nodes.leaves)
    first: dict[NodeId, Run] = {}
    found: dict[int, Run] = {}
    for run in case.runs:
        inner = case.reached(run) - leaves
        known = next((first[node] for node in sorted(inner) if node in first), None)
        if known is not None:
            found[run.number] = known
        for node in inner:
            first.setdefault(node, run)
    return found


# ------------------------------------------------------------------ hooks that fire in forward


def _in_calls(case: Case, firings: list[HookFired]) -> Iterator[Repeat]:
    calls: Counter[int] = Counter()
    for firing in firings:
        call = _call(case, firing)
        if call is None:
            continue
        if call.recomputed:
            yield Repeat(firing, "recomputed", _recomputed(case, call))
            continue
        calls[call.root.id] += 1
        if call.parent is not None and calls[call.root.id] > 1:
            number = calls[call.root.id]
            text = f"call {number} of {call.module.title} in {call.root}"
            yield Repeat(firing, "shared", text)


def _recomputed(case: Case, call: Call) -> str:
    _, run = case.log.recomputed[call.id]
    what = f" of {call.first}" if call.first is not None else ""
    return f"{call} is the recomputation{what} by checkpointing, in backward run {run}"


# ------------------------------------------------------------------ hooks that fire in backward


def _in_backwards(case: Case, firings: list[HookFired], graphs: dict[int, Run]) -> Iterator[Repeat]:
    runs_of: dict[int, set[int]] = {}
    calls_in: dict[int, set[int]] = {}
    for firing in firings:
        call, run = _call(case, firing), case.run_at(firing)
        if call is None or run is None:
            continue
        original = (call.first or call).id
        earlier = runs_of.setdefault(original, set())
        if earlier and run.number not in earlier:
            yield _again(firing, run, graphs)
        earlier.add(run.number)
        others = calls_in.setdefault(run.number, set())
        if others - {original}:
            text = (
                f"{call} is another call of {call.module.title} in the graph of backward run "
                f"{run.number}"
            )
            yield Repeat(firing, "shared", text)
        others.add(original)


def _in_runs(case: Case, firings: list[HookFired], graphs: dict[int, Run]) -> Iterator[Repeat]:
    fired_in: set[int] = set()
    outer: set[int] = set()
    for firing in firings:
        run = case.run_at(firing)
        if run is None:
            continue
        around = _outermost(case, run)
        if run.number in fired_in:
            pass  # of several places that share a hook, such as those of a multi-grad hook
        elif run.number in graphs and graphs[run.number].number in fired_in:
            yield _again(firing, run, graphs)
        elif around.number in outer:
            inner = run if run.number != around.number else around
            text = f"backward run {inner.number} is one of several in backward run {around.number}"
            yield Repeat(firing, "inner-backward", text)
        fired_in.add(run.number)
        outer.add(around.number)


def _again(firing: HookFired, run: Run, graphs: dict[int, Run]) -> Repeat:
    earlier = graphs.get(run.number)
    if earlier is not None and "create_graph" in earlier.started.options:
        text = (
            f"backward run {run.number} differentiates what run {earlier.number} computed "
            f"(create_graph=True), and so goes through the same graph"
        )
        return Repeat(firing, "create-graph", text)
    before = "" if earlier is None else f", after run {earlier.number} (retain_graph=True)"
    text = f"backward run {run.number} goes through the same graph again{before}"
    return Repeat(firing, "second-backward", text)


def _outermost(case: Case, run: Run) -> Run:
    """Return the backward run around others in which this one ran."""
    around = case.run_at(run.started)
    while around is not None and around is not run:
        run = around
        around = case.run_at(run.started)
    return run


def _call(case: Case, firing: HookFired) -> Call | None:
    return None if firing.call is None else case.calls.calls.get(firing.call)
