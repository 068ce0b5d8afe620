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

from hooktrace import _torch
from hooktrace.events import (
    CallId,
    GradientComputed,
    GradientRetained,
    NodeId,
    Observation,
    TensorId,
)
from hooktrace.identity import SMALL, Seen
from hooktrace.opencall import Leaf, OpenCall
from hooktrace.patches import Patch, active
from hooktrace.recorder import Recorder, ThreadState
from hooktrace.spans import Output, Span
from hooktrace.walk import source_of, walk

__all__ = ["Gradients", "patches"]

SHARED = "the output is the input itself: the gradient of the tensor, other consumers included"


def patches() -> Iterator[Patch]:
    """Yield the process-wide patches of this probe."""
    yield Patch(_torch.NODE_REGISTRAR, "_register_hook", _quiet_register)


def _quiet_register(original: Any) -> Any:
    """Store our spies without making a handle, so that the user's handles keep their numbers."""
    function = original.__func__

    @staticmethod  # type: ignore[misc]
    def _register_hook(backward_hooks: Any, hook: Any) -> Any:
        if not isinstance(hook, _Spy):
            return function(backward_hooks, hook)
        if backward_hooks is None:
            backward_hooks = OrderedDict()
        backward_hooks[hook] = hook
        hook.place = backward_hooks
        return backward_hooks, None

    return _register_hook


# ------------------------------------------------------------------ spies


class _Spy:
    """A hook of ours on one autograd node, for the time of one backward run."""

    __slots__ = ("place", "run", "targets")

    def __init__(self, run: _Run, targets: Any) -> None:
        self.run = run
        self.targets = targets
        self.place: Any = None


class _OutputSpy(_Spy):
    """Sees the gradients that a node receives for outputs of module calls."""

    __slots__ = ()

    @_torch.unseen
    def __call__(self, gradients: tuple[torch.Tensor | None, ...]) -> None:
        run = self.run
        if run.listens():
            for call, role, output, seen, note in self.targets:
                gradient = gradients[output]
                if gradient is not None:
                    run.arrived(call, role, gradient, seen, note)


class _PlainSpy(_Spy):
    """Sees all gradients that a node outside of all calls receives."""

    __slots__ = ()

    @_torch.unseen
    def __call__(self, gradients: tuple[torch.Tensor | None, ...]) -> None:
        run = self.run
        if run.listens():
            row, owners = self.targets
            for output, gradient in enumerate(gradients):
                if gradient is not None:
                    run.reached(row, gradient, owners.get(output))


class _NodeSpy(_Spy):
    """Sees what a node receives and what it sends to arguments of module calls.

    One post-hook instead of a prehook and a post-hook costs half.  It sees the same gradients:
    PyTorch's own nodes do not write to what they receive.
    """

    __slots__ = ()

    @_torch.unseen
    def __call__(
        self,
        grad_inputs: tuple[torch.Tensor | None, ...],
        grad_outputs: tuple[torch.Tensor | None, ...],
    ) -> None:
        run = self.run
        if run.listens():
            outputs, shares = self.targets
            for call, role, output, seen, note in outputs:
                gradient = grad_outputs[output]
                if gradient is not None:
                    run.arrived(call, role, gradient, seen, note)
            for call, argument, edge in shares:
                run.contributed(call, argument, grad_inputs[edge])


class _Run:
    """One backward run of one trace."""

    def __init__(self, recorder: Recorder, number: int) -> None:
        self.recorder = recorder
        self.number = number
        self.spies: list[_Spy] = []
        self.shares: dict[tuple[CallId, int], int] = {}  # how many nodes contribute
        self.pending: dict[tuple[CallId, int], list[Any]] = {}

    def listens(self) -> bool:
        return self.recorder in active() and not _torch.is_compiling()

    def watch(self, node: Any, outputs: list[Output] | None, shares: list[Any]) -> None:
        """Put spies on a node."""
        spy: _Spy
        if outputs and (not shares or _torch.is_python_node(node)):
            spy = _OutputSpy(self, outputs)
            self.spies.append(spy)
            node.register_prehook(spy)
            outputs = None
        if shares:
            for call, argument, _ in shares:
                key = (call, argument)
                self.shares[key] = self.shares.get(key, 0) + 1
            spy = _NodeSpy(self, (outputs or (), shares))
            self.spies.append(spy)
            node.register_hook(spy)

    def watch_plain(self, node: Any, row: NodeId, owners: dict[int, Seen]) -> None:
        """Put a spy on a node outside of all calls."""
        spy = _PlainSpy(self, (row, owners))
        self.spies.append(spy)
        node.register_prehook(spy)

    def end(self) -> None:
        """Complete what not every node contributed to, and take the spies off."""
        for key in tuple(self.pending):
            self._complete(key)
        for spy in self.spies:
            if spy.place is not None:
                spy.place.pop(spy, None)
        self.spies.clear()

    # -------------------------------------------------------------- what the spies saw

    def arrived(
        self, call: CallId, role: str, gradient: torch.Tensor, owner: Seen, note: str
    ) -> None:
        recorder = self.recorder
        try:
            self._record(call, role, gradient, owner.id, note)
            self._retained(owner)
        except Exception:
            recorder.failed("a grad_output")

    def reached(self, node: NodeId, gradient: torch.Tensor, owner: Seen | None) -> None:
        recorder = self.recorder
        try:
            seen = recorder.observe(gradient, "grad", quiet=True)
            number = None if owner is None else owner.id
            recorder.emit(GradientComputed, None, node, seen, number, self.number, "")
            if owner is not None:
                self._retained(owner)
        except Exception:
            recorder.failed("the gradient of a tensor")

    def _retained(self, owner: Seen) -> None:
        tensor = owner.ref()
        if tensor is None or not tensor.retains_grad or tensor.grad is None:
            return
        seen = self.recorder.observe(tensor.grad, "grad", quiet=True)
        self.recorder.emit(GradientRetained, owner.id, seen, self.number)

    def contributed(self, call: CallId, argument: int, gradient: torch.Tensor | None) -> None:
        recorder = self.recorder
        try:
            key = (call, argument)
            if self.shares[key] == 1:
                if gradient is not None:
                    self._record(call, f"grad_input[{argument}]", gradient, None, "")
                return
            shares = self.pending.setdefault(key, [])
            shares.append(None if gradient is None else self._share(call, argument, gradient))
            if len(shares) == self.shares[key]:
                self._complete(key)
        except Exception:
            recorder.failed("a grad_input")

    def _share(self, call: CallId, argument: int, gradient: torch.Tensor) -> Any:
        """Return what is held of a share until the others have come: numbers only if needed."""
        if call in self.recorder.kept_calls or gradient.numel() <= SMALL:
            return _torch.content_copy(gradient)
        return self.recorder.observe(gradient, f"grad_input[{argument}]", quiet=True)

    def _complete(self, key: tuple[CallId, int]) -> None:
        call, argument = key
        shares = [share for share in self.pending.pop(key) if share is not None]
        if not shares:
            return
        first = shares[0]
        if isinstance(first, Observation):
            self.recorder.emit(GradientComputed, call, None, first, None, self.number, "")
            return
        total = first
        for share in shares[1:]:
            total = _torch.plain_sum(total, share)
        self._record(call, f"grad_input[{argument}]", total, None, "")

    def _record(
        self, call: CallId, role: str, gradient: torch.Tensor, tensor: TensorId | None, note: str
    ) -> None:
        recorder = self.recorder
        state = recorder.state()
        seen, _ = recorder.sight(state, gradient, role, True)
        if call in recorder.kept_calls:
            recorder.keep(seen.value, gradient)
        now = recorder.clock()
        row = (GradientComputed, now, state.number, call, None, seen, tensor, self.number, note)
        recorder.write(row)


# ------------------------------------------------------------------ the probe


class Gradients:
    """The gradients probe of one trace.

    Args:
        recorder: Whose log it fills.

    Attributes:
        variables: By sequence number of a node and output number: tensors that have a name.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.variables: dict[int, dict[int, Seen]] = {}
        self._runs: dict[int, _Run] = {}
        self._structure_known = False
        recorder.on_open.append(self.call_opened)
        recorder.on_close.append(self.call_closed)
        recorder.on_backward_start.append(self.backward_started)
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
            target = (span.call, f"grad_output[{place}]", edge[1], seen, SHARED if passed else "")
            if edge[0] in outputs:
                outputs[edge[0]].append(target)
            else:
                outputs[edge[0]] = [target]
            for argument in passed:
                role = f"grad_input[{argument}]"
                outputs[edge[0]].append((span.call, role, edge[1], seen, SHARED))
        if call.parent is None and not self._structure_known:
            nodes = [one.grad_fn for one, seen in found if seen is not None and one.grad_fn]
            self._structure_known = bool(nodes)
            walk(self.recorder, nodes, None)

    # -------------------------------------------------------------- in backward

    def backward_started(self, number: int, roots: Any) -> list[torch.Tensor]:
        """Put spies on the nodes that are about to run; return the leaves they lead to."""
        run = self._runs[number] = _Run(self.recorder, number)
        plain = self.recorder.scope.everything
        targets = source_of(self.recorder).spans.outputs

        def found(
            node: Any, sequence: int, row: NodeId, span: Span | None, shares: list[Any]
        ) -> None:
            wanted = targets.get(sequence)
            if wanted or shares:
                run.watch(node, wanted, shares)
            if plain and span is None:
                run.watch_plain(node, row, self.variables.get(sequence, {}))

        leaves = walk(self.recorder, [node for node in map(_node_of, roots) if node], found)
        return list(leaves.values())

    def backward_ended(self, number: int) -> None:
        """Take the spies off."""
        run = self._runs.pop(number, None)
        if run is not None:
            run.end()

    def enter(self, nodes: list[Any]) -> None:
        """Enter what can be reached from `nodes` in the log."""
        walk(self.recorder, nodes, None)


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
