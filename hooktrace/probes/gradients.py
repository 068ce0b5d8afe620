"""Each call's grad_output and grad_input, exactly and without a node in the graph.

``register_full_backward_hook`` is no observer: it inserts identity nodes, which raise beside
in-place operations and change results.  Instead, when a backward run begins, Python hooks are put
on autograd nodes that exist anyway, and taken off when it ends:

* a prehook on the node that produced an output sees its gradient: grad_output;
* a post-hook on every node that was *created inside the call* and has an edge to what produced
  one of its inputs sees this call's own share of the input's gradient: grad_input.  A tensor
  that feeds several modules also gets gradients from the others; those are not counted here.

During forward only numbers are noted: which sequence numbers the nodes of a call have, and
which edges its arguments and outputs came with.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch

from hooktrace import _torch, _torch_hooks
from hooktrace.aliases import captured_targets, note_view, settle, written_views
from hooktrace.backwardrun import BackwardRun
from hooktrace.events import NodeId
from hooktrace.identity import Seen
from hooktrace.leaves import BareLeaves
from hooktrace.nodes import KnownGraph, Reader
from hooktrace.nodespies import NodeHook
from hooktrace.opencall import Leaf, OpenCall
from hooktrace.patches import Patch
from hooktrace.recorder import Recorder
from hooktrace.spans import Alias, Span
from hooktrace.threadstate import ThreadState
from hooktrace.walk import Survey, walk

__all__ = ["Gradients", "patches"]

_FIRST_OUTPUT = "grad_output[0]"
RETURNED_TWICE = "the same tensor was returned several times: the sum over all of them"
_NONE: dict[int, Any] = {}


def patches() -> Iterator[Patch]:
    """Yield the process-wide patches of this probe."""
    yield Patch(_torch.NODE_REGISTRAR, "_register_hook", _quiet_register)


def _quiet_register(original: Any) -> Any:
    """Store our spies without making a handle, so that the user's handles keep their numbers."""
    function = original.__func__

    @staticmethod  # type: ignore[misc]
    def _register_hook(backward_hooks: Any, hook: Any) -> Any:
        if not isinstance(hook, NodeHook):
            return function(backward_hooks, hook)
        if isinstance(hook, Reader):
            hook.found = backward_hooks
            raise Reader.RefusedError
        if backward_hooks is None:
            backward_hooks = OrderedDict()
        backward_hooks[hook] = hook
        hook.place = backward_hooks
        return backward_hooks, None

    return _register_hook


class Gradients:
    """The gradients probe of one trace.

    Args:
        recorder: Whose log it fills.

    Attributes:
        graph: What is known of the autograd graph.
        reached: For each node outside of all calls that the latest backward run reaches, by
            its key: output number -> named tensor, for the plain probe to fill in.
        leaves: The leaves that it reaches, by id.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.graph = recorder.graph = KnownGraph(recorder)
        self.graph.begin_thread(recorder.state())
        self.reached: dict[int, dict[int, Seen]] = {}
        self.leaves: dict[int, torch.Tensor] = {}
        self._runs: dict[int, tuple[BackwardRun, Survey]] = {}
        self._structure_known = recorder.maps_only
        recorder.on_open.append(self.call_opened)
        recorder.on_close.append(self.call_closed)
        recorder.on_backward_start.append(self.backward_started)
        recorder.on_captured.append(self.captured)
        recorder.on_backward_end.append(self.backward_ended)

    # -------------------------------------------------------------- in forward

    def call_opened(self, call: OpenCall, state: ThreadState) -> None:
        """Note with which edges the arguments came."""
        spans = state.spans
        if not spans.bounds:
            self.graph.begin_thread(state)
        following = _torch.current_sequence()
        first = state.base + following
        parent = call.parent
        span = call.span = Span(call.number, None if parent is None else parent.span, first)
        spans.bounds.append(first)
        spans.owners.append(span)
        for place, (argument, seen) in enumerate(call.arguments):
            if seen is None or not seen.summary.requires_grad or not torch.is_grad_enabled():
                continue
            edge = self.graph.edge(argument, seen, state, following)
            if edge is None:
                edge = -1, id(argument)
                self.graph.leaves.add(edge)
            if span.inputs is None:
                span.inputs = {edge: (place,)}
            else:
                span.inputs[edge] = (*span.inputs.get(edge, ()), place)

    def call_closed(self, call: OpenCall, state: ThreadState, found: list[Leaf]) -> None:
        """Note which nodes the outputs come from."""
        span = call.span
        if span is None:
            return
        following = _torch.current_sequence()
        last = state.base + following
        state.spans.bounds.append(last)
        state.spans.owners.append(span.parent)
        graph, inputs = self.graph, span.inputs
        written = written_views(graph, call, span, state) if inputs is not None else _NONE
        for place, (output, seen) in enumerate(found):
            if seen is None or not seen.summary.requires_grad:
                continue
            edge = graph.edge(output, seen, state, following) or (-1, id(output))
            passed = inputs.get(edge, ()) if inputs is not None else ()
            if passed or edge[0] == -1:
                alias = Alias(span.call, place, seen, seen.value, last, passed)
                graph.aliases.setdefault(edge, []).append(alias)
                continue
            role = _FIRST_OUTPUT if place == 0 else f"grad_output[{place}]"
            note = RETURNED_TWICE if len(found) > 1 and _returned_again(found, place) else ""
            target = (span.call, role, edge[1], seen, seen.value, note)
            if edge[0] in graph.outputs:
                graph.outputs[edge[0]].append(target)
            else:
                graph.outputs[edge[0]] = [target]
            if len(graph.spans) > 1:
                graph.mark(output.grad_fn, edge[0])
            if span.first <= edge[0] < last - 1:
                alias = Alias(span.call, place, seen, seen.value, last, used=True)
                graph.aliases.setdefault(edge, []).append(alias)
            if seen.is_view:
                alias = Alias(span.call, place, seen, seen.value, last)
                note_view(graph, alias, output, state, edge, id(output) in written)
        if call.parent is None and not self._structure_known:
            self.enter([one for one, seen in found if seen is not None and one.grad_fn])
            self._structure_known = bool(graph.rows)

    # -------------------------------------------------------------- in backward

    def backward_started(self, number: int, roots: Any, accumulates: bool) -> list[torch.Tensor]:
        """Put spies on the nodes that are about to run; return the leaves that need spies too."""
        in_order = len(self.graph.spans) < 2  # else keys of several threads tell no order
        run = BackwardRun(self.recorder, number, accumulates=accumulates, in_order=in_order)
        plain = self.recorder.scope.everything
        survey = self._walk(roots, plain)
        self.recorder.log.entrances[number] = tuple(self._entrances(roots))
        self._runs[number] = run, survey
        settle(self.graph, survey, run)
        self.leaves, self.reached = survey.leaves, {}
        if plain:
            for node, key, row, span, _, _ in survey.hits:
                if span is None:
                    owners = self.reached[key] = {}
                    run.watch_plain(node, key, row, owners)
        survey.let_go()
        bare: list[tuple[int, torch.Tensor]] = []
        others: list[torch.Tensor] = []
        for name, leaf in self.leaves.items():
            if _torch_hooks.is_bare(leaf):
                bare.append((survey.youth.get(name, 0), leaf))
            else:
                others.append(leaf)
        if accumulates:
            run.leaves = BareLeaves(self.recorder, number, bare)
            self.recorder.on_firing.append(run.leaves.ask)
        return others

    def captured(self, number: int, pairs: list[tuple[Any, torch.Tensor | None]]) -> None:
        """Record gradients that were captured before their node would have run."""
        if number not in self._runs:
            return
        run, survey = self._runs[number]
        state = self.recorder.state()
        for wanted, gradient in pairs:
            node = _node_of(wanted)
            if gradient is not None and node is None and isinstance(wanted, torch.Tensor):
                leaf = self.recorder.identities.seen(wanted)
                if leaf.row is not None:
                    run.reached(leaf.row, gradient, leaf)
            if node is None or gradient is None:
                continue
            edge = self.graph.key(node, state), wanted.output_nr
            for call, role, seen, note in captured_targets(self.graph, survey, edge):
                if run.told is None or (call, role) not in run.told:
                    run.arrived(state, [(call, role, 0, seen, seen.value, note)], [gradient])

    def backward_ended(self, number: int) -> None:
        """Take the spies off."""
        self.reached, self.leaves = {}, {}
        run, _ = self._runs.pop(number, (None, None))
        if run is not None:
            run.end()
            if run.leaves.ask in self.recorder.on_firing:
                self.recorder.on_firing.remove(run.leaves.ask)

    def enter(self, tensors: list[torch.Tensor]) -> dict[int, torch.Tensor]:
        """Enter what can be reached from `tensors` in the log; return the leaves, by id."""
        return self._walk(tensors, plain=False).leaves

    def _entrances(self, roots: Any) -> Iterator[NodeId]:
        """Yield the rows of the nodes that a backward run begins at."""
        state = self.recorder.state()
        for node in filter(None, map(_node_of, roots)):
            if _torch.sequence_of(node) == _torch.LEAF_SEQUENCE:
                yield self.graph.leaf_row(_torch.leaf_of(node), node)
            else:
                yield self.graph.row(node, self.graph.key(node, state))

    def _walk(self, roots: Any, plain: bool) -> Survey:
        state = self.recorder.state()
        nodes = []
        for root in roots:
            node = _node_of(root)
            if node is not None:
                nodes.append((self.graph.key(node, state), root.output_nr, node))
        with self.graph.lock:
            return walk(self.graph, nodes, plain)

    def finish(self) -> None:
        """Take the marks off the graph."""
        self.graph.forget()


def _node_of(root: Any) -> Any:
    return root.grad_fn if isinstance(root, torch.Tensor) else getattr(root, "node", None)


def _returned_again(found: list[Leaf], place: int) -> bool:
    """Whether an output is returned at another place too."""
    output = found[place][0]
    return any(one is output for other, (one, _) in enumerate(found) if other != place)
