"""Each call's grad_output and grad_input, exactly and without a node in the graph.

``register_full_backward_hook`` is no observer: it inserts identity nodes, which raise beside
in-place operations and change results.  Instead, when a call ends, Python hooks are put on
autograd nodes that exist anyway:

* a prehook on the node that produced an output sees its gradient: grad_output;
* a post-hook on every node that was *created inside the call* and has an edge to what produced
  one of its inputs sees this call's own share of the input's gradient: grad_input.  A tensor
  that feeds several modules also gets gradients from the others; those are not counted here.

The nodes of a call are found from its outputs, back along ``next_functions``, down to those that
are older than the call.  Each node is visited once, by the innermost call that reaches it; what
it leads to outside of that call is handed to the call around it.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
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
from hooktrace.identity import SMALL
from hooktrace.opencall import OpenCall
from hooktrace.patches import Patch, active
from hooktrace.recorder import Recorder

__all__ = ["Gradients", "patches"]

SHARED = "the output is the input itself: the gradient of the tensor, other consumers included"


def patches() -> Iterator[Patch]:
    """Yield the process-wide patches of this probe."""
    yield Patch(_torch.NODE_REGISTRAR, "_register_hook", _quiet_register)


def _quiet_register(original: Any) -> Any:
    """Store our own spies without making a handle, so that the user's handles keep their numbers."""
    function = original.__func__

    @staticmethod  # type: ignore[misc]
    def _register_hook(backward_hooks: Any, hook: Any) -> Any:
        if not isinstance(hook, _NodeSpy):
            return function(backward_hooks, hook)
        if backward_hooks is None:
            backward_hooks = OrderedDict()
        backward_hooks[hook] = hook
        hook.places.append(weakref.ref(backward_hooks))
        return backward_hooks, None

    return _register_hook


class _NodeSpy:
    """A hook of ours on one autograd node.  It holds neither the node nor a tensor."""

    __slots__ = ("__weakref__", "gradients", "places", "targets")

    def __init__(self, gradients: Gradients) -> None:
        self.gradients = weakref.ref(gradients)
        self.targets: list[Any] = []
        self.places: list[weakref.ref[Any]] = []

    def remove(self) -> None:
        for ref in self.places:
            hooks = ref()
            if hooks is not None:
                hooks.pop(self, None)


class _OutputSpy(_NodeSpy):
    """Sees the gradients of a node's outputs: targets are (call, role, output number, tensor, note)."""

    __slots__ = ()

    def __call__(self, grad_outputs: tuple[torch.Tensor | None, ...]) -> None:
        gradients = self.gradients()
        if gradients is not None and not _torch.is_compiling():
            for target in self.targets:
                gradients.arrived(grad_outputs, *target)


class _PlainSpy(_NodeSpy):
    """Sees all gradients that a node receives: targets are (node row, output number -> tensor)."""

    __slots__ = ()

    def __call__(self, grad_outputs: tuple[torch.Tensor | None, ...]) -> None:
        gradients = self.gradients()
        if gradients is not None and not _torch.is_compiling():
            for row, owners in self.targets:
                for output, gradient in enumerate(grad_outputs):
                    if gradient is not None:
                        gradients.reached(row, gradient, owners.get(output))


class _Argument:
    """An argument of a call, and how many nodes of the call send it a gradient."""

    __slots__ = ("call", "index", "nodes")

    def __init__(self, call: CallId, index: int) -> None:
        self.call = call
        self.index = index
        self.nodes = 0


class _InputSpy(_NodeSpy):
    """Sees what a node sends on: targets are (argument, edge number)."""

    __slots__ = ()

    def __call__(self, grad_inputs: tuple[torch.Tensor | None, ...], _: Any) -> None:
        gradients = self.gradients()
        if gradients is not None and not _torch.is_compiling():
            for argument, edge in self.targets:
                gradients.contributed(argument, grad_inputs[edge])


class Gradients:
    """The gradients probe of one trace."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.log = recorder.log
        self.spies: weakref.WeakSet[_NodeSpy] = weakref.WeakSet()
        self._outputs: dict[tuple[int, int], _OutputSpy] = {}  # (thread, sequence) -> spy
        self._inputs: dict[tuple[int, int], _InputSpy] = {}
        self._watched: set[NodeId] = set()
        self._pending: dict[tuple[int, _Argument], list[Any]] = {}
        recorder.on_open.append(self.call_opened)
        recorder.on_close.append(self.call_closed)
        recorder.on_backward_end.append(self.backward_ended)

    # -------------------------------------------------------------- at a call

    def call_opened(self, call: OpenCall) -> None:
        """Remember where the gradients of the arguments would go."""
        call.first_sequence = _torch.current_sequence()
        if not torch.is_grad_enabled():
            return
        for index, (_, argument) in enumerate(call.arguments):
            if isinstance(argument, torch.Tensor) and argument.requires_grad:
                node = argument.grad_fn
                if node is None:
                    call.edges.setdefault((id(argument), -1), []).append(
                        _Argument(call.number, index)
                    )
                else:
                    key = (id(node), argument.output_nr)
                    call.edges.setdefault(key, []).append(_Argument(call.number, index))
                    call.frontier[id(node)] = node  # alive, so that its id stays its own

    def call_closed(
        self, call: OpenCall, pairs: list[tuple[str, Any]], outputs: tuple[Observation, ...]
    ) -> None:
        """Put hooks on the nodes of a call that has returned."""
        roots = []
        for index, (_, output) in enumerate(pairs):
            if isinstance(output, torch.Tensor) and output.requires_grad:
                node = output.grad_fn
                if node is not None:
                    roots.append(node)
                    self._watch_output(call, index, output, node, outputs[index])
        if roots or call.frontier:
            self._visit(call, roots)
        if call.parent is None:
            self._outputs.clear()
            self._inputs.clear()

    def _watch_output(
        self, call: OpenCall, index: int, output: torch.Tensor, node: Any, seen: Observation
    ) -> None:
        passed = call.edges.get((id(node), output.output_nr))
        note = SHARED if passed else ""
        spy = self._spy(self._outputs, node, _OutputSpy)
        tensor = weakref.ref(output)
        spy.targets.append((call.number, f"grad_output[{index}]", output.output_nr, tensor, note))
        for argument in passed or ():
            role = f"grad_input[{argument.index}]"
            spy.targets.append((call.number, role, output.output_nr, tensor, note))
        if seen.value is not None:
            self.log.producers[seen.value] = (self.recorder.nodes.row(node), output.output_nr)

    def _spy(self, spies: dict[Any, Any], node: Any, kind: Callable[[Gradients], Any]) -> Any:
        key = (self.recorder.state().number, node._sequence_nr())
        spy = spies.get(key)
        if spy is None:
            spy = spies[key] = kind(self)
            self.spies.add(spy)
            if isinstance(spy, _OutputSpy):
                node.register_prehook(spy)
            else:
                node.register_hook(spy)
        return spy

    def watch_node(self, node: Any, owners: dict[int, torch.Tensor]) -> None:
        """Record the gradients that arrive at a node outside of all calls."""
        row = self.recorder.nodes.row(node)
        if row in self._watched:
            return
        spy = _PlainSpy(self)
        self._watched.add(row)
        weak = {output: weakref.ref(tensor) for output, tensor in owners.items()}
        spy.targets.append((row, weak))
        self.spies.add(spy)
        node.register_prehook(spy)

    # -------------------------------------------------------------- the nodes of a call

    def _visit(self, call: OpenCall, roots: list[Any]) -> None:
        nodes = self.recorder.nodes
        around = []
        one: OpenCall | None = call
        while one is not None:
            if one.edges:
                around.append(one)
            one = one.parent
        beyond: dict[int, Any] = {}
        queue = [*roots, *call.frontier.values()]
        while queue:
            node = queue.pop()
            if nodes.entered(node):
                continue
            if node._sequence_nr() < call.first_sequence:
                beyond[id(node)] = node
                continue
            for number, (following, key) in enumerate(nodes.enter(node, call.number)):
                for outer in around:
                    for argument in outer.edges.get(key, ()):
                        self._watch_edge(argument, node, number)
                if following is not None:
                    queue.append(following)
        if call.parent is not None:
            call.parent.frontier.update(beyond)

    def _watch_edge(self, argument: _Argument, node: Any, edge: int) -> None:
        spy = self._spy(self._inputs, node, _InputSpy)
        spy.targets.append((argument, edge))
        argument.nodes += 1

    # -------------------------------------------------------------- in backward

    def arrived(
        self,
        grad_outputs: tuple[torch.Tensor | None, ...],
        call: CallId,
        role: str,
        output: int,
        tensor: weakref.ref[torch.Tensor],
        note: str,
    ) -> None:
        """Record the gradient of an output, as the node that produced it receives it."""
        recorder = self.recorder
        try:
            gradient = grad_outputs[output]
            if gradient is None or recorder not in active():
                return
            owner = tensor()
            number = None if owner is None else recorder.identities.known(owner)
            self._record(call, role, gradient, number, note)
            self._retained(owner, number)
        except Exception:
            recorder.failed("a grad_output")

    def reached(
        self, node: NodeId, gradient: torch.Tensor, owner: weakref.ref[torch.Tensor] | None
    ) -> None:
        """Record a gradient that arrives at a node outside of all calls."""
        recorder = self.recorder
        try:
            if recorder not in active():
                return
            tensor = owner() if owner is not None else None
            number = None if tensor is None else recorder.identities.known(tensor)
            seen = recorder.observe(gradient, "grad", quiet=True)
            backward = recorder.current_backward()
            recorder.emit(GradientComputed, None, node, seen, number, backward, "")
            self._retained(tensor, number)
        except Exception:
            recorder.failed("the gradient of a tensor")

    def _retained(self, owner: torch.Tensor | None, number: TensorId | None) -> None:
        recorder = self.recorder
        if owner is None or number is None or not owner.retains_grad:
            return
        if owner.grad is not None:
            seen = recorder.observe(owner.grad, "grad", quiet=True)
            recorder.emit(GradientRetained, number, seen, recorder.current_backward())

    def contributed(self, argument: _Argument, gradient: torch.Tensor | None) -> None:
        """Record a node's share of a grad_input; the last one completes it."""
        recorder = self.recorder
        try:
            if recorder not in active():
                return
            role = f"grad_input[{argument.index}]"
            if argument.nodes == 1:
                if gradient is not None:
                    self._record(argument.call, role, gradient, None, "")
                return
            key = (recorder.current_backward(), argument)
            shares = self._pending.setdefault(key, [])
            shares.append(None if gradient is None else self._share(argument.call, role, gradient))
            if len(shares) == argument.nodes:
                self._complete(key)
        except Exception:
            recorder.failed("a grad_input")

    def _share(self, call: CallId, role: str, gradient: torch.Tensor) -> Any:
        """Return what is held of a share until the others have come: numbers only if needed."""
        if call in self.recorder.kept_calls or gradient.numel() <= SMALL:
            return _torch.content_copy(gradient)
        return self.recorder.observe(gradient, role, quiet=True)

    def _complete(self, key: tuple[int, _Argument]) -> None:
        number, argument = key
        shares = [share for share in self._pending.pop(key) if share is not None]
        if not shares:
            return
        first = shares[0]
        if isinstance(first, Observation):
            self.recorder.emit(GradientComputed, argument.call, None, first, None, number, "")
            return
        total = first
        for share in shares[1:]:
            total = _torch.plain_sum(total, share)
        self._record(argument.call, f"grad_input[{argument.index}]", total, None, "")

    def backward_ended(self, number: int) -> None:
        """Complete the grad_inputs to which not every node contributed in this run."""
        for key in [key for key in self._pending if key[0] == number]:
            self._complete(key)

    def _record(
        self, call: CallId, role: str, gradient: torch.Tensor, tensor: TensorId | None, note: str
    ) -> None:
        recorder = self.recorder
        seen = recorder.observe(gradient, role, quiet=True)
        if call in recorder.kept_calls:
            recorder.keep(seen.value, gradient)
        number = recorder.current_backward()
        recorder.emit(GradientComputed, call, None, seen, tensor, number, note)

    # -------------------------------------------------------------- the end

    def close(self) -> None:
        """Take every spy off the graph, which may outlive the trace."""
        for spy in self.spies:
            spy.remove()
        self.spies.clear()
        self._pending.clear()
        self._outputs.clear()
        self._inputs.clear()
