"""Who is who among autograd nodes, also where several threads make them."""

from __future__ import annotations

import contextlib
import itertools
import threading
from bisect import bisect_left
from typing import Any
from weakref import ref

import torch

from hooktrace._torch import LEAF_SEQUENCE, current_sequence, node_name, sequence_of, shape_from
from hooktrace.events import NodeId
from hooktrace.identity import Seen
from hooktrace.nodespies import NodeHook
from hooktrace.recorder import Recorder
from hooktrace.spans import NOBODYS, THREAD_BITS, Alias, Edge, Output, Span, Spans, chain
from hooktrace.threadstate import ThreadState

__all__ = ["KnownGraph", "Reader"]

_MANY_VIEWS = 64  # that one operation takes
_RUNS = 16  # backward runs in a generation of nodes, at most
_STEPS = 1000  # steps in one
_NOT_FAR = 200  # how many nodes are looked at for one that is marked


class Mark(NodeHook):
    """Tells the key of the node that it hangs on; only where several threads make nodes."""

    __slots__ = ("graph", "key")

    def __init__(self, graph: KnownGraph, key: int) -> None:
        self.graph = graph
        self.key = key

    @property
    def place(self) -> Any:
        """Not kept: that would be a cycle."""
        return None

    @place.setter
    def place(self, hooks: Any) -> None:
        self.graph.marks.append(ref(hooks))

    def __call__(self, *gradients: Any) -> None:
        """See nothing."""


class Reader(NodeHook):
    """Registered on a node, it is not stored, but finds what is."""

    __slots__ = ("found",)

    class RefusedError(Exception):
        """Keeps the node from storing the reader."""

    def __init__(self) -> None:
        self.found: Any = None


class KnownGraph:
    """What one trace knows of the autograd graph.

    Sequence numbers count per thread, and nothing in a node tells its thread.  As long as one
    thread calls modules and no numbers contradict each other, all nodes are taken for that
    thread's.  From the moment when a second one does, the nodes of all outputs are marked, and
    the thread of the others follows from theirs.

    Attributes:
        recorder: Of the trace.
        spans: Of each thread that called modules, by its number.
        outputs: What to look out for at the node of a key.
        aliases: Outputs whose gradient is told from several nodes, by edge.
        leaves: Edges of the leaves that were passed to a call.
        rows: Rows of the nodes that are in the log, by key.
        casts: Casts of a leaf to another dtype: their edge -> that of the leaf.
        lock: Held by a thread that walks the graph.
        marks: The dictionaries of hooks that have a mark of ours in them.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.spans: dict[int, Spans] = {}
        self.outputs: dict[int, list[Output]] = {}
        self.aliases: dict[Edge, list[Alias]] = {}
        self.casts: dict[Edge, Edge] = {}
        self.leaves: set[Edge] = set()
        self.rows: dict[int, NodeId] = {}
        self.marks: list[Any] = []
        self.lock = threading.RLock()
        self._marked_since: dict[int, int] = {}  # by thread, the key from which on
        self._old: dict[int, int] = {}  # by thread, the first key of the present generation
        self._age = self._since = 0  # of it: how many steps, and its first backward run
        self._strangers = itertools.count(2)  # counts the nodes of unknown threads

    # -------------------------------------------------------------- which node is which

    def begin_thread(self, state: ThreadState) -> None:
        """Note that a thread calls modules."""
        self.spans[state.number] = state.spans
        if len(self.spans) > 1:
            for number, spans in self.spans.items():
                self._marked_since.setdefault(number, spans.latest)

    def edge(
        self, tensor: torch.Tensor, seen: Seen, state: ThreadState, following: int
    ) -> Edge | None:
        """Return key and output number of the node that made a tensor.

        Args:
            tensor: A tensor, `seen` its entry, and `state` that of the calling thread.
            following: The sequence number that the thread's next node will get.
        """
        known = seen.edge
        if known is not None and known[0] is seen.value:
            return known[1]
        node = tensor.grad_fn
        if node is None:
            return None
        sequence = sequence_of(node)
        if sequence < following and len(self.spans) == 1 and state.number in self.spans:
            edge = state.base + sequence, tensor.output_nr
        else:
            edge = self.key(node, state), tensor.output_nr
        seen.edge = seen.value, edge
        return edge

    def key(self, node: Any, state: ThreadState) -> int:
        """Return the key of a node that was met on this thread."""
        sequence = sequence_of(node)
        if len(self.spans) == 1:
            if state.number in self.spans:
                return state.base + sequence
            if sequence >= current_sequence():  # not of this thread
                return (next(iter(self.spans)) << THREAD_BITS) + sequence
            self.begin_thread(state)
        marked = self.marked(node)
        if marked is not None:
            return marked
        key = state.base + sequence
        if sequence < current_sequence() and (state.stack or state.spans.owner(key) is None):
            return key
        return self._among_threads(node, sequence)

    def follow(self, node: Any, sequence: int, key: int, span: Span | None, base: int) -> int:
        """Return the key of a node that follows another one, if it may be of another thread.

        Args:
            node: The node, and `sequence` its number.
            key: Of the node before it, and `span` the one that that belongs to.
            base: Of the keys of that node's thread.
        """
        marked = self.marked(node) if self.marks else None
        if marked is None:
            marked = self._unmarked_output(node, sequence, base)
        if marked is not None:
            return marked
        if key >= 0 and (base + sequence < key or _made_anew(node, base + sequence - key)):
            spans = self.spans.get(key >> THREAD_BITS, NOBODYS)
            owner = spans.owner(base + sequence)
            since = self._marked_since.get(key >> THREAD_BITS, base + sequence + 1)
            if owner is None or owner in chain(span) or owner.first < since:
                return base + sequence
        return self._among_threads(node, sequence)

    def _unmarked_output(self, node: Any, sequence: int, base: int) -> int | None:
        """Return the key of a node of another thread, from before several threads made nodes."""
        for number, since in self._marked_since.items():
            key = (number << THREAD_BITS) + sequence
            if number << THREAD_BITS == base or key >= since:
                continue
            for _, _, output, seen, _, _ in self.outputs.get(key, ()):
                tensor = seen.ref()
                if tensor is None:
                    if shape_from(node, output) == seen.shape:
                        return key
                elif tensor.grad_fn is node:
                    return key
        return None

    def mark(self, node: Any, key: int) -> int:
        """Let a node tell its key."""
        if self.marked(node) is None:
            with contextlib.suppress(RuntimeError):
                node.register_prehook(Mark(self, key))
        return key

    def marked(self, node: Any) -> int | None:
        """Return the key that a node tells."""
        reader = Reader()
        # RuntimeError: a custom function's context before its forward has returned.
        with contextlib.suppress(Reader.RefusedError, RuntimeError):
            node.register_prehook(reader)
        for hook in tuple(reader.found or ()):
            if type(hook) is Mark and hook.graph is self:
                return hook.key
        return None

    def stranger(self, node: Any) -> int:
        """Give a node of an unknown thread a key of its own."""
        key = -next(self._strangers)
        self.recorder.log.strangers.add(self.row(node, key))
        return self.mark(node, key)

    def apart(self, node: Any) -> int:
        """Return the key of a node whose number another node has."""
        marked = self.marked(node)
        return self.stranger(node) if marked is None else marked

    def _among_threads(self, node: Any, sequence: int) -> int:
        """Tell the thread of a node from the nearest node behind it that is marked."""
        queue, met = [node], {node}
        for behind in itertools.islice(queue, _NOT_FAR):
            for following, _ in behind.next_functions:
                if following is None or following in met:
                    continue
                if sequence_of(following) == LEAF_SEQUENCE:
                    continue
                marked = self.marked(following)
                if marked is None:
                    met.add(following)
                    queue.append(following)
                elif marked >= 0 and marked & ((1 << THREAD_BITS) - 1) < sequence:
                    return (marked >> THREAD_BITS << THREAD_BITS) + sequence
        for number, since in self._marked_since.items():
            if (number << THREAD_BITS) + sequence < since:  # from before there were several
                return (number << THREAD_BITS) + sequence
        return self.stranger(node)

    def forget(self) -> None:
        """Take all marks off."""
        for hooks in (one() for one in self.marks):
            for hook in tuple(hooks or ()):
                if type(hook) is Mark and hook.graph is self:
                    del hooks[hook]
        self.marks.clear()

    def step_ended(self, backwards: int) -> None:
        """Forget, now and then, the nodes from before the present generation.

        A gradient that still comes to one, more than 16 backward runs or 1,000 steps after it was
        made, is told as of code outside of all calls.
        """
        self._age += 1
        if backwards - self._since < _RUNS and self._age < _STEPS:
            return
        with self.lock:
            for number, limit in self._old.items():
                self._drop(number, limit)
        self._old = {number: spans.latest for number, spans in self.spans.items()}
        self._since, self._age = backwards, 0

    def _drop(self, number: int, limit: int) -> None:
        """Forget what a thread made before the node of this key."""
        spans, first = self.spans[number], number << THREAD_BITS
        before = bisect_left(spans.bounds, limit)
        del spans.bounds[:before], spans.owners[:before]
        tables: tuple[dict[Any, Any], ...] = self.outputs, self.rows, self.aliases, self.casts
        for table in tables:
            keys = [(one[0] if isinstance(one, tuple) else one, one) for one in table]
            for place in [one for key, one in keys if first <= key < limit]:
                del table[place]

    # -------------------------------------------------------------- rows

    def row(self, node: Any, key: int) -> NodeId:
        """Return the row of a node, making one without edges if need be."""
        row, nodes = self.rows.get(key), self.recorder.log.nodes
        if row is None:
            row = self.rows[key] = nodes.add(node_name(node))
        elif row not in nodes.parts:  # forgotten with an earlier step
            nodes.put(row, node_name(node), None, ())
        return row

    def leaf_row(self, leaf: Any, node: Any) -> NodeId:
        """Return the row of a leaf's node."""
        seen = self.recorder.identities.seen(leaf)
        nodes = self.recorder.log.nodes
        if seen.row is None:
            seen.row = nodes.add(node_name(node))
        elif seen.row not in nodes.parts:  # forgotten with an earlier step
            nodes.put(seen.row, node_name(node), None, ())
        nodes.leaves[seen.row] = seen.id
        return seen.row


def _made_anew(node: Any, later: int) -> bool:
    """Whether a node was made when the one before it was already numbered.

    That is so of the node of a view whose base was written to.
    """
    if later > _MANY_VIEWS:
        return False
    return node_name(node) == "AsStridedBackward0" or any(
        following is not None and node_name(following) == "CopySlices"
        for following, _ in node.next_functions
    )
