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
from hooktrace.backwardrun import BackwardRun, NodeHook
from hooktrace.events import NodeId
from hooktrace.identity import Seen
from hooktrace.leaves import BareLeaves
from hooktrace.opencall import Leaf, OpenCall
from hooktrace.patches import Patch
from hooktrace.recorder import Recorder
from hooktrace.spans import Output, Span
from hooktrace.threadstate import ThreadState
from hooktrace.walk import Share, source_of, walk

__all__ = ["Gradients", "patches"]

_FIRST_OUTPUT = "grad_output[0]"
SHARED = "the output is the input itself: the gradient of the tensor, other consumers included"


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
        reached: For each node outside of all calls that the latest backward run reaches, by
            sequence number: output number -> named tensor, for the plain probe to fill in.
        leaves: The leaves that it reaches, by id.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.reached: dict[int, dict[int, Seen]] = {}
        self.leaves: dict[int, torch.Tensor] = {}
        self._runs: dict[int, BackwardRun] = {}
        self._structure_known = False
        recorder.on_open.append(self.call_opened)
        recorder.on_close.append(self.call_closed)
        recorder.on_backward_start.append(self.backward_started)
        recorder.on_captured.append(self.captured)
        recorder.on_backward_end.append(self.backward_ended)

    # -------------------------------------------------------------- in forward

    def call_opened(self, call: OpenCall, state: ThreadState) -> None:
        """Note with which edges the arguments came."""
        first = _torch.current_sequence()
        parent = None if call.parent is None else call.parent.span
        span = call.span = Span(call.number, parent, first)
        state.spans.switch(first, span)
        if not torch.is_grad_enabled():
            return
        for place, (argument, seen) in enumerate(call.arguments):
            if seen is not None and seen.summary.requires_grad:
                key = _edge(argument, seen) or (-1, id(argument))
                if span.inputs is None:
                    span.inputs = {key: (place,)}
                else:
                    span.inputs[key] = (*span.inputs.get(key, ()), place)

    def call_closed(self, call: OpenCall, state: ThreadState, found: list[Leaf]) -> None:
        """Note which nodes the outputs come from."""
        span = call.span
        if span is None:
            return
        state.spans.switch(_torch.current_sequence(), span.parent)
        outputs = state.spans.outputs
        for place, (output, seen) in enumerate(found):
            if seen is None or not seen.summary.requires_grad:
                continue
            edge = _edge(output, seen)
            if edge is None:
                continue
            passed = () if span.inputs is None else span.inputs.get(edge, ())
            role = _FIRST_OUTPUT if place == 0 else f"grad_output[{place}]"
            note = SHARED if passed else ""
            target = (span.call, role, edge[1], seen, seen.value, note)
            if edge[0] in outputs:
                outputs[edge[0]].append(target)
            else:
                outputs[edge[0]] = [target]
            for argument in passed:
                role = f"grad_input[{argument}]"
                outputs[edge[0]].append((span.call, role, edge[1], seen, seen.value, note))
        if call.parent is None and not self._structure_known:
            nodes = [one.grad_fn for one, seen in found if seen is not None and one.grad_fn]
            self._structure_known = bool(nodes)
            walk(self.recorder, nodes, None)

    # -------------------------------------------------------------- in backward

    def backward_started(self, number: int, roots: Any, accumulates: bool) -> list[torch.Tensor]:
        """Put spies on the nodes that are about to run; return the leaves that need spies too."""
        run = self._runs[number] = BackwardRun(self.recorder, number)
        plain = self.recorder.scope.everything

        def found(
            node: Any,
            wanted: list[Output] | None,
            row: NodeId,
            span: Span | None,
            shares: list[Share] | None,
        ) -> None:
            if wanted or shares:
                run.watch(node, wanted, shares)
            if plain and span is None:
                owners = self.reached[_torch.sequence_of(node)] = {}
                run.watch_plain(node, row, owners)

        self.reached = {}
        nodes = [node for node in map(_node_of, roots) if node]
        self.leaves = walk(self.recorder, nodes, found)
        bare: list[torch.Tensor] = []
        others: list[torch.Tensor] = []
        for leaf in self.leaves.values():
            (bare if _torch_hooks.is_bare(leaf) else others).append(leaf)
        if accumulates:
            run.leaves = BareLeaves(self.recorder, number, bare)
            self.recorder.on_firing.append(run.leaves.ask)
        return others

    def captured(self, number: int, pairs: list[tuple[Any, torch.Tensor | None]]) -> None:
        """Record gradients that were captured before their node would have run."""
        run = self._runs[number]
        outputs = source_of(self.recorder).spans.outputs
        for wanted, gradient in pairs:
            node = _node_of(wanted)
            if gradient is not None and node is None and isinstance(wanted, torch.Tensor):
                leaf = self.recorder.identities.seen(wanted)
                if leaf.row is not None:
                    run.reached(leaf.row, gradient, leaf)
            if node is None or gradient is None:
                continue
            there = wanted.output_nr
            for call, role, output, seen, _, note in outputs.get(_torch.sequence_of(node), ()):
                if output == there and not run.has_recorded(call, role):
                    run.arrived(call, role, gradient, seen, note)

    def backward_ended(self, number: int) -> None:
        """Take the spies off."""
        self.reached, self.leaves = {}, {}
        run = self._runs.pop(number, None)
        if run is not None:
            run.end()
            if run.leaves.ask in self.recorder.on_firing:
                self.recorder.on_firing.remove(run.leaves.ask)

    def enter(self, nodes: list[Any]) -> dict[int, torch.Tensor]:
        """Enter what can be reached from `nodes` in the log; return the leaves, by id."""
        return walk(self.recorder, nodes, None)


def _edge(tensor: torch.Tensor, seen: Seen) -> tuple[int, int] | None:
    """Return sequence number and output number of the node that made a tensor."""
    edge = seen.edge
    if edge is not None and edge[0] == seen.value:
        return edge[1], edge[2]
    node = tensor.grad_fn
    if node is None:
        return None
    sequence, output = _torch.sequence_of(node), tensor.output_nr
    seen.edge = (seen.value, sequence, output)
    return sequence, output


def _node_of(root: Any) -> Any:
    return root.grad_fn if isinstance(root, torch.Tensor) else getattr(root, "node", None)
