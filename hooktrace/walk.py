"""Walking the autograd graph: rows for its nodes, and where to look out for gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hooktrace._torch import LEAF_SEQUENCE, leaf_of, node_name, sequence_of
from hooktrace.events import CallId, NodeId
from hooktrace.identity import Seen
from hooktrace.recorder import Recorder
from hooktrace.spans import Output, Span
from hooktrace.threadstate import ThreadState

__all__ = ["Found", "node_row", "source_of", "walk"]

Share = tuple[CallId, int, int]
"""A share of a grad_input: call, place of the argument, edge number of the node."""

Found = Callable[[Any, list[Output] | None, NodeId, Span | None, list[Share] | None], None]
"""Called with each node: node, outputs to look out for, row, the span it belongs to, shares."""


def walk(recorder: Recorder, roots: list[Any], found: Found | None) -> dict[int, Any]:
    """Visit every node that can be reached, and enter it in the log.

    Args:
        recorder: Whose log.
        roots: Autograd nodes.
        found: What to call with each node, if anything.

    Returns:
        The leaves whose ``AccumulateGrad`` nodes were reached, by their ids, in the order in
        which the engine will reach them: it runs younger nodes first.
    """
    spans = source_of(recorder).spans
    rows = spans.rows
    nodes = recorder.log.nodes
    parts = nodes.parts
    leaves: dict[int, Any] = {}
    youth: dict[int, int] = {}  # the oldest node that sends a leaf its gradient
    visited: set[int] = set()
    queue: list[tuple[int, Any]] = []
    for root in roots:
        sequence = sequence_of(root)
        if sequence == LEAF_SEQUENCE:
            leaves[id(root.variable)] = root.variable
        else:
            queue.append((sequence, root))
    identities = recorder.identities
    owner, outputs, producers = spans.owner, spans.outputs, recorder.log.producers
    while queue:
        sequence, node = queue.pop()
        if sequence in visited:
            continue
        visited.add(sequence)
        span = owner(sequence)
        edges: list[tuple[NodeId, int]] = []
        shares: list[Share] | None = None
        for number, (following, output) in enumerate(node.next_functions):
            if following is None:
                continue
            there = sequence_of(following)
            if there == LEAF_SEQUENCE:
                leaf = leaf_of(following)
                key = id(leaf)
                oldest = youth.get(key)
                if oldest is None:
                    leaves[key] = leaf
                    youth[key] = sequence
                elif sequence < oldest:
                    youth[key] = sequence
                edge: tuple[int, int] = (-1, key)
                seen = identities.seen(leaf)
                row = seen.row
                if row is None:
                    row = seen.row = _leaf_row(recorder, seen, following)
                there = -1  # older than any call
            else:
                edge = (there, output)
                row = rows.get(there)
                if row is None:
                    row = rows[there] = nodes.add(node_name(following))
                if there not in visited:
                    queue.append((there, following))
            edges.append((row, output))
            if span is not None and there < span.first:
                shares = _enters(span, there, edge, number, shares)
        row = rows.get(sequence)
        if row is None:
            row = rows[sequence] = nodes.add(node_name(node))
        part = parts[row]
        part[2] = edges
        if span is not None:
            part[1] = span.call
        wanted = outputs.get(sequence)
        if wanted is not None:
            for _, _, output, _, value, _ in wanted:
                producers[value] = (row, output)
        if found is not None:
            found(node, wanted, row, span, shares)
    return {key: leaves[key] for key in sorted(leaves, key=lambda one: -youth.get(one, 0))}


def _enters(
    span: Span | None, there: int, edge: tuple[int, int], number: int, shares: list[Share] | None
) -> list[Share] | None:
    """Note for which calls an edge leads to what one of their arguments came from."""
    while span is not None and there < span.first:
        if span.inputs is not None and edge in span.inputs:
            shares = [] if shares is None else shares
            shares.extend((span.call, argument, number) for argument in span.inputs[edge])
        span = span.parent
    return shares


def source_of(recorder: Recorder) -> ThreadState:
    """Return the thread whose counter gave the nodes their numbers.

    That is the calling thread; or, if no module was called on it, the first one that has calls.
    """
    states = recorder.states()
    return next((state for state in states if state.spans), states[0])


def node_row(recorder: Recorder, node: Any) -> NodeId:
    """Return the row of a node, making one without edges if need be."""
    spans = source_of(recorder).spans
    sequence = sequence_of(node)
    row = spans.rows.get(sequence)
    if row is None:
        row = spans.rows[sequence] = recorder.log.nodes.add(node_name(node))
    return row


def _leaf_row(recorder: Recorder, seen: Seen, node: Any) -> NodeId:
    """Make the row of a leaf's node."""
    row: NodeId = recorder.log.nodes.add(node_name(node))
    recorder.log.nodes.leaves[row] = seen.id
    return row
