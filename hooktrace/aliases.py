"""Gradients that do not simply arrive at a node which their call made.

* An argument that is returned as it is: its node belongs to whoever made it, and others may use it
  too.  The nodes that took it after the call tell what came through the call.
* A leaf that is returned, such as a parameter: likewise.
* An output that the call went on to use itself, such as the weights of an attention: what its own
  nodes send back is not what comes from outside.
* A view that was written to after it was returned, or whose base was: autograd then goes on with
  another node.  What the write sends back to the base, seen as the view, takes its place.
* A leaf that autocast casts once for several calls: the cast belongs to the first of them.  The
  nodes that took it tell the share of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hooktrace._torch import (
    LEAF_SEQUENCE,
    base_of,
    geometry_of,
    is_view,
    leaf_of,
    node_name,
    sequence_of,
)
from hooktrace.backwardrun import BackwardRun, Share
from hooktrace.events import CallId
from hooktrace.identity import Seen
from hooktrace.nodes import KnownGraph
from hooktrace.opencall import OpenCall
from hooktrace.spans import THREAD_BITS, Alias, Edge, Output, Span, chain
from hooktrace.threadstate import ThreadState
from hooktrace.walk import Survey

__all__ = ["captured_targets", "note_view", "settle", "written_views"]

SHARED = "the output is the input itself: what {} users after the call send back"
LEAF = "the output is a leaf: what {} users after the call send back"
INSIDE = "the call uses this output itself: what it sends back is included"
MAYBE = "the call may use this output itself: what it sends back would be included"
WRITE = "CopySlices"  # the node of a write to a view

User = tuple[Any, int, Span | None, int]


def settle(graph: KnownGraph, survey: Survey, run: BackwardRun) -> None:
    """Put the spies of a run on the nodes that a walk found."""
    dropped: set[tuple[Any, Any]] = set()  # what is told otherwise: (call, role) or (key, call)
    if survey.consumers or survey.roots & graph.aliases.keys():
        for edge in (*survey.consumers, *survey.roots - survey.consumers.keys()):
            for alias in graph.aliases.get(edge, ()):
                _settle_alias(survey, run, edge, alias, dropped)
            if edge in graph.casts and edge in survey.consumers:
                _settle_cast(survey, run, edge, graph.casts[edge], dropped)
    run.notes.update(survey.notes)
    for node, key, _, _, wanted, shares in survey.hits:
        if dropped:
            wanted, shares = _kept(key, wanted, shares, dropped)
        if wanted or shares:
            run.watch(node, key, wanted, shares)


def _kept(
    key: int,
    wanted: list[Output] | None,
    shares: list[Share] | None,
    dropped: set[tuple[Any, Any]],
) -> tuple[list[Output], list[Share]]:
    return (
        [one for one in wanted or () if (one[0], one[1]) not in dropped],
        [one for one in shares or () if (key, one[0]) not in dropped],
    )


def _settle_alias(
    survey: Survey, run: BackwardRun, edge: Edge, alias: Alias, dropped: set[tuple[Any, Any]]
) -> None:
    users = survey.consumers.get(edge, [])
    slot = ~alias.place
    run.owners[alias.call, slot] = alias.seen
    if alias.used:
        _settle_used(survey, run, edge, alias, users, dropped)
    elif alias.geometry is None:
        _settle_passed(survey, run, edge, alias, users)
    elif alias.written:
        dropped.add((alias.call, f"grad_output[{alias.place}]"))
        whole = (alias.call, slot, edge[1], alias.geometry)
        run.watch_incoming(survey.nodes[edge], edge[0], [whole])
    else:
        writes = [one for one in users if node_name(one[0]) == WRITE and not _before(one, alias)]
        if writes:
            _settle_overwritten(survey, run, alias, writes, dropped)


def _settle_passed(
    survey: Survey, run: BackwardRun, edge: Edge, alias: Alias, users: list[User]
) -> None:
    """Tell the gradient of an argument or a leaf that was returned as it is."""
    slots = (~alias.place, *alias.passed)
    leaf = edge[0] == -1
    after = [one for one in users if not _before(one, alias)]
    count = len(after) + (edge in survey.roots)
    note = "" if count <= 1 else (SHARED if alias.passed else LEAF).format(count)
    for slot in slots:
        if note:
            run.notes[alias.call, slot] = note
    node = survey.nodes.get(edge)
    if not leaf and node is not None and (len(after) == len(users) or edge in survey.roots):
        shares = [(alias.call, slot, edge[1], None) for slot in slots]
        run.watch_incoming(node, edge[0], shares)
        return
    for user, key, _, number in after:
        run.watch(user, key, None, [(alias.call, slot, number, None) for slot in slots])


def _settle_used(
    survey: Survey,
    run: BackwardRun,
    edge: Edge,
    alias: Alias,
    users: list[User],
    dropped: set[tuple[Any, Any]],
) -> None:
    """Tell the gradient of an output from outside of the call, which uses it itself."""
    after = [one for one in users if not _before(one, alias)]
    if len(after) == len(users):
        return
    slot = ~alias.place
    dropped.add((alias.call, f"grad_output[{alias.place}]"))
    if edge in survey.roots:
        run.notes[alias.call, slot] = INSIDE
        run.watch_incoming(survey.nodes[edge], edge[0], [(alias.call, slot, edge[1], None)])
        return
    for user, key, _, number in after:
        run.watch(user, key, None, [(alias.call, slot, number, None)])


def _settle_overwritten(
    survey: Survey,
    run: BackwardRun,
    alias: Alias,
    writes: list[User],
    dropped: set[tuple[Any, Any]],
) -> None:
    """Tell the gradient of a view that was written to after it was returned."""
    dropped.add((alias.call, f"grad_output[{alias.place}]"))
    slot = ~alias.place
    for node, key, _, number in writes:
        run.watch(node, key, None, [(alias.call, slot, number, alias.geometry)])
    assert alias.own is not None
    for node, key, *_ in survey.hits:
        if key == alias.own[0]:  # there were readers before the write
            run.watch_incoming(node, key, [(alias.call, slot, alias.own[1], None)])


def _settle_cast(
    survey: Survey,
    run: BackwardRun,
    edge: Edge,
    leaf_edge: Edge,
    dropped: set[tuple[Any, Any]],
) -> None:
    """Tell each call's share of a leaf that is cast once for several calls."""
    users = survey.consumers[edge]
    (following, _), *_ = survey.nodes[edge].next_functions
    dtype = leaf_of(following).dtype
    places: dict[Span, list[User]] = {}
    for user in users:
        for span in chain(user[2]):
            if span.inputs is not None and leaf_edge in span.inputs:
                places.setdefault(span, []).append(user)
    for span, inside in places.items():
        if span.first <= edge[0] and len(inside) == len(users):
            continue  # nobody else uses the cast, which is the call's own
        if span.first <= edge[0]:
            dropped.add((edge[0], span.call))
        for node, key, _, number in inside:
            shares: list[Share] = [
                (span.call, slot, number, dtype)
                for slot in span.inputs[leaf_edge]  # type: ignore[index]
            ]
            run.watch(node, key, None, shares)


def _before(user: User, alias: Alias) -> bool:
    """Whether a node was made before a call ended, as far as their threads' numbers tell."""
    key = user[1]
    return key >> THREAD_BITS == alias.last >> THREAD_BITS and key < alias.last


# ------------------------------------------------------------------ in forward


def written_views(
    graph: KnownGraph, call: OpenCall, span: Span, state: ThreadState
) -> dict[int, Any]:
    """Note which arguments of a call are views that it wrote to; return them by id."""
    written = {}
    for place, (argument, seen) in enumerate(call.arguments):
        if seen is None or seen.value is call.inputs[place].value:
            continue
        if not is_view(argument):
            continue
        base, geometry = base_of(argument), geometry_of(argument)
        node = None if base is None else base.grad_fn
        if base is None or node is None or geometry is None:
            continue
        written[id(argument)] = argument
        key, output = graph.key(node, state), base.output_nr
        while key >= span.first and node_name(node) == WRITE:  # as many as there were writes
            node, output = node.next_functions[0]
            if node is None or sequence_of(node) == LEAF_SEQUENCE:
                break
            key = graph.key(node, state)
        else:
            span.bases = {} if span.bases is None else span.bases
            span.bases.setdefault((key, output), []).append((place, geometry))
    return written


def note_view(
    graph: KnownGraph,
    alias: Alias,
    output: Any,
    state: ThreadState,
    own: Edge,
    written: bool,
) -> None:
    """Note how an output that is a view lies in its base, in case that it is written to."""
    base, geometry = base_of(output), geometry_of(output)
    node = None if base is None else base.grad_fn
    if base is not None and node is not None and geometry is not None:
        edge = graph.key(node, state), base.output_nr
        alias = alias._replace(geometry=geometry, own=own, written=written)
        graph.aliases.setdefault(edge, []).append(alias)


# ------------------------------------------------------------------ what autograd.grad returned


def captured_targets(
    graph: KnownGraph, survey: Survey, edge: Edge
) -> Iterator[tuple[CallId, str, Seen, str]]:
    """Yield call, role, tensor and note of what a captured gradient is the gradient of."""
    for call, role, output, seen, _, note in graph.outputs.get(edge[0], ()):
        if output == edge[1]:
            yield call, role, seen, MAYBE if role in _used(graph, edge, call) else note
    for alias in graph.aliases.get(edge, ()):
        if alias.geometry is None and not alias.used:
            count = survey.counts.get(edge, 0)
            note = "" if count <= 1 else SHARED.format(count)
            yield alias.call, f"grad_output[{alias.place}]", alias.seen, note
            for place in alias.passed:
                yield alias.call, f"grad_input[{place}]", alias.seen, note


def _used(graph: KnownGraph, edge: Edge, call: CallId) -> set[str]:
    """Return the roles of the outputs with this edge that a call may have used itself."""
    aliases = graph.aliases.get(edge, ())
    return {f"grad_output[{one.place}]" for one in aliases if one.used and one.call == call}
