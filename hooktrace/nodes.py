"""Rows for the nodes of the autograd graph."""

from __future__ import annotations

import threading
from typing import Any

from hooktrace import _torch
from hooktrace.events import CallId, NodeId, TracedNode
from hooktrace.identity import Identities
from hooktrace.log import EventLog

__all__ = ["Nodes"]


class Nodes:
    """Gives autograd nodes row numbers, without keeping any of them alive.

    A node is known by its sequence number, which counts per thread; ``AccumulateGrad`` nodes,
    which all have the same one, are known by their leaf.
    """

    def __init__(self, log: EventLog, identities: Identities) -> None:
        self.log = log
        self.identities = identities
        self._rows: dict[tuple[int, int], NodeId] = {}
        self._entered: set[tuple[int, int]] = set()

    def row(self, node: Any) -> NodeId:
        """Return the row of a node, making one without edges if need be."""
        sequence = node._sequence_nr()
        if sequence == _torch.LEAF_SEQUENCE:
            return self._leaf_row(node)
        key = (threading.get_ident(), sequence)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = NodeId(len(self.log.nodes))
            self.log.nodes.append(TracedNode(row, node.name()))
        return row

    def entered(self, node: Any) -> bool:
        """Whether `enter` was called for this node, or need not be: for the leaves."""
        sequence = node._sequence_nr()
        if sequence == _torch.LEAF_SEQUENCE:
            return True
        return (threading.get_ident(), sequence) in self._entered

    def call_of(self, node: Any) -> CallId | None:
        """Return the call that a node was created in; None outside of all, or if unknown."""
        row = self._rows.get((threading.get_ident(), node._sequence_nr()))
        return None if row is None else self.log.nodes[row].call

    def enter(self, node: Any, call: CallId | None) -> list[tuple[Any, tuple[int, int]]]:
        """Write the row of a node with its edges.

        Returns:
            For each edge the node it leads to (None for a leaf or where it ends) and a
            key: ``(id(node), output number)``, or ``(id(leaf tensor), -1)``.
        """
        self._entered.add((threading.get_ident(), node._sequence_nr()))
        edges: list[tuple[NodeId, int]] = []
        found: list[tuple[Any, tuple[int, int]]] = []
        for following, output in node.next_functions:
            if following is None:
                found.append((None, (0, 0)))
                continue
            edges.append((self.row(following), output))
            if following._sequence_nr() == _torch.LEAF_SEQUENCE:
                found.append((None, (id(following.variable), -1)))
            else:
                found.append((following, (id(following), output)))
        row = self.row(node)
        self.log.nodes[row] = TracedNode(row, node.name(), call, tuple(edges))
        return found

    def _leaf_row(self, node: Any) -> NodeId:
        leaf = self.identities.seen(node.variable)[0].id
        key = (-1, leaf)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = NodeId(len(self.log.nodes))
            self.log.nodes.append(TracedNode(row, node.name(), leaf=leaf))
        return row
