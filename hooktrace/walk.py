"""Walking the autograd graph: rows for its nodes, and where to look out for gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hooktrace._torch import LEAF_SEQUENCE, leaf_of, node_name, sequence_of
from hooktrace.events import CallId, NodeId
from hooktrace.recorder import Recorder, ThreadState
from hooktrace.spans import Output, Span, Spans

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
        The leaves whose ``AccumulateGrad`` nodes were reached, by their ids.
    """
    spans = source_of(recorder).spans
    rows = spans.rows
    nodes = recorder.log.nodes
    leaves: dict[int, Any] = {}
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
                leaves[id(leaf)] = leaf
                edge: tuple[int, int] = (-1, id(leaf))
                row = rows.get((-1, identities.seen(leaf).id))
                if row is None:
                    row = _leaf_row(recorder, spans, following)
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
        nodes.edges[row] = tuple(edges)
        nodes.calls[row] = None if span is None else span.call
        wanted = outputs.get(sequence)
        if wanted is not None:
            for _, _, output, _, value, _ in wanted:
                producers[value] = (row, output)
        if found is not None:
            found(node, wanted, row, span, shares)
    return leaves


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
    if sequence == LEAF_SEQUENCE:
        return _leaf_row(recorder, spans, node)
    return _row(recorder, spans, sequence, node)


def _row(recorder: Recorder, spans: Spans, sequence: int, node: Any) -> NodeId:
    row = spans.rows.get(sequence)
    if row is None:
        row = spans.rows[sequence] = recorder.log.nodes.add(node_name(node))
    return row


def _leaf_row(recorder: Recorder, spans: Spans, node: Any) -> NodeId:
    """Return the row of a leaf's node, which is known by its leaf."""
    leaf = node.variable
    number = recorder.identities.seen(leaf).id
    row = spans.rows.get((-1, number))
    if row is None:
        row = spans.rows[-1, number] = recorder.log.nodes.add(node_name(node))
        recorder.log.nodes.leaves[row] = number
    return row
