"""Walking the autograd graph: rows for its nodes, and where to look out for gradients."""

from __future__ import annotations

from typing import Any

from hooktrace._torch import LEAF_SEQUENCE, leaf_of, node_name, sequence_of
from hooktrace.backwardrun import Share
from hooktrace.events import CallId, NodeId
from hooktrace.nodes import KnownGraph
from hooktrace.recorder import Recorder
from hooktrace.spans import NOBODYS, THREAD_BITS, Edge, Output, Span

__all__ = ["Hit", "Survey", "node_row", "walk"]

CAST = "ToCopyBackward0"  # what a change of the dtype makes, and autocast does once for a leaf

Hit = tuple[Any, int, NodeId, Span | None, list[Output] | None, list[Share] | None]
"""A node: itself, key, row, the span it belongs to, outputs to look out for, shares."""


class Survey:
    """What a walk found.

    Attributes:
        leaves: Those whose ``AccumulateGrad`` nodes were reached, by their ids, in the order in
            which the engine will reach them: it runs younger nodes first.
        youth: For each of them, the key of the oldest node that sends it a gradient.
        hits: The nodes where there is something to look out for.
        consumers: For edges that outputs share with others, the nodes that have such an edge,
            with their keys, spans and the number of the edge.
        nodes: For those edges, the node that they lead to.
        roots: The edges that gradients come in by.
        counts: How many consumers an edge had, after `let_go`.
        notes: What limits the meaning of a gradient, by call and slot.
    """

    def __init__(self) -> None:
        self.leaves: dict[int, Any] = {}
        self.youth: dict[int, int] = {}
        self.hits: list[Hit] = []
        self.consumers: dict[Edge, list[tuple[Any, int, Span | None, int]]] = {}
        self.nodes: dict[Edge, Any] = {}
        self.roots: set[Edge] = set()
        self.counts: dict[Edge, int] = {}
        self.notes: dict[tuple[CallId, int], str] = {}

    def let_go(self) -> None:
        """Keep no node."""
        self.hits = []
        self.nodes = {}
        self.counts = {edge: len(users) for edge, users in self.consumers.items()}
        self.consumers = {}


TWICE = "the same tensor was passed {} times: the sum over all of them"


def walk(graph: KnownGraph, roots: list[tuple[int, int, Any]], plain: bool) -> Survey:
    """Visit every node that can be reached, and enter it in the log.

    Args:
        graph: What is known so far.
        roots: Keys, output numbers, and nodes.
        plain: Whether nodes outside of all calls count as hits.
    """
    survey = Survey()
    leaves, consumers = survey.leaves, survey.consumers
    youth: dict[int, int] = {}  # the oldest node that sends a leaf its gradient
    visited: dict[int, Any] = {}
    queue: list[tuple[int, Any]] = []
    for key, output, root in roots:
        if sequence_of(root) == LEAF_SEQUENCE:
            leaves[id(root.variable)] = root.variable
            survey.roots.add((-1, id(root.variable)))
        else:
            queue.append((key, root))
            survey.roots.add((key, output))
    recorder = graph.recorder
    nodes, tensors, passed = recorder.log.nodes, recorder.identities.table, graph.leaves
    parts, producers = nodes.parts, recorder.log.producers
    rows, outputs, aliases, casts = graph.rows, graph.outputs, graph.aliases, graph.casts
    thread, base, owner = -2, 0, NOBODYS.owner
    while queue:
        key, node = queue.pop()
        known = visited.get(key)
        if known is not None:
            if known is node:
                continue
            key = graph.apart(node)
            if visited.get(key) is node:
                continue
        visited[key] = node
        if key >> THREAD_BITS != thread:
            thread = key >> THREAD_BITS
            base = thread << THREAD_BITS
            owner = graph.spans.get(thread, NOBODYS).owner
        span = owner(key)
        several = len(graph.spans) > 1 or key < 0
        edges: list[tuple[NodeId, int]] = []
        shares: list[Share] | None = None
        for number, (following, output) in enumerate(node.next_functions):
            if following is None:
                continue
            there = sequence_of(following)
            if there == LEAF_SEQUENCE:
                leaf = leaf_of(following)
                name = id(leaf)
                oldest = youth.get(name)
                if oldest is None:
                    leaves[name] = leaf
                    youth[name] = key
                elif key < oldest:
                    youth[name] = key
                edge: Edge = (-1, name)
                seen = tensors.get(name)
                row = seen.row if seen is not None and seen.ref() is leaf else None
                if row is None or row not in parts:
                    row = graph.leaf_row(leaf, following)
                there = -1 if edge in passed else key  # older than any call that took it
            else:
                place = there + base
                if several or place >= key:
                    place = graph.follow(following, there, key, span, base)
                    there = place if place >> THREAD_BITS == thread else -1
                else:
                    there = place
                edge = (place, output)
                row = rows.get(place)
                if row is None:
                    row = rows[place] = nodes.add(node_name(following))
                    if parts[row][0] == CAST:
                        _note_cast(casts, edge, following)
                if visited.get(place) is not following:
                    queue.append((place, following))
            edges.append((row, output))
            if span is not None and there < span.first:
                shares = _enters(span, there, edge, number, shares, survey)
            if (aliases or casts) and (edge in aliases or edge in casts):
                consumers.setdefault(edge, []).append((node, key, span, number))
                survey.nodes[edge] = following
        row = rows.get(key)
        if row is None:
            row = rows[key] = nodes.add(node_name(node))
        kind, call, _ = parts[row]
        kind = kind or node_name(node)  # it may have been forgotten with an earlier step
        parts[row] = kind, call if span is None else span.call, tuple(edges)
        wanted = outputs.get(key)
        if wanted is not None:
            for _, _, output, _, value, _ in wanted:
                producers[value] = (row, output)
        if wanted or shares or (plain and span is None):
            survey.hits.append((node, key, row, span, wanted, shares))
    for edge in (*consumers, *survey.roots):
        for alias in aliases.get(edge, ()) if edge[0] in rows else ():
            if alias.geometry is None:
                producers.setdefault(alias.value, (rows[edge[0]], edge[1]))
    survey.leaves = {one: leaves[one] for one in sorted(leaves, key=lambda o: -youth.get(o, 0))}
    survey.youth = youth
    return survey


def node_row(recorder: Recorder, node: Any) -> NodeId:
    """Return the row of a node, making one without edges if need be."""
    graph: KnownGraph = recorder.graph
    return graph.row(node, graph.key(node, recorder.state()))


def _enters(
    span: Span | None,
    there: int,
    edge: Edge,
    number: int,
    shares: list[Share] | None,
    survey: Survey,
) -> list[Share] | None:
    """Note for which calls an edge leads to what one of their arguments came from."""
    while span is not None and there < span.first:
        if span.inputs is not None and edge in span.inputs:
            shares = [] if shares is None else shares
            places = span.inputs[edge]
            for argument in places:
                shares.append((span.call, argument, number, None))
                if len(places) > 1:
                    survey.notes[span.call, argument] = TWICE.format(len(places))
        if span.bases is not None and edge in span.bases:
            shares = [] if shares is None else shares
            for argument, geometry in span.bases[edge]:
                shares.append((span.call, argument, number, geometry))
        span = span.parent
    return shares


def _note_cast(casts: dict[Edge, Edge], edge: Edge, node: Any) -> None:
    """Note a cast of a leaf, which autocast makes once for all calls that take the leaf."""
    (following, _), *_ = node.next_functions
    if following is not None and sequence_of(following) == LEAF_SEQUENCE:
        casts[edge] = (-1, id(leaf_of(following)))
