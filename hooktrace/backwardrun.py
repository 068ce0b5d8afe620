"""One backward run of one trace: hooks of ours on autograd nodes, and what they see."""

from __future__ import annotations

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
from hooktrace.leaves import BareLeaves
from hooktrace.patches import active
from hooktrace.recorder import Recorder
from hooktrace.spans import Output

__all__ = ["BackwardRun", "NodeHook", "Share"]

Share = tuple[CallId, int, int, Any]
"""A share of a gradient: call, slot, edge or output number of the node, and for
`_torch.seen_as` how it is a gradient of the argument or output; None if it is as it comes.

The slot is the place of an argument, or the complement (``~place``) of that of an output."""

PARTIAL = "not all nodes that share in it ran: this is the sum of those that did"


class NodeHook:
    """A hook of ours on one autograd node, for the time of one backward run."""

    __slots__ = ("place", "run", "targets")

    def __init__(self, run: BackwardRun, targets: Any) -> None:
        self.run = run
        self.targets = targets
        self.place: Any = None


class _OutputSpy(NodeHook):
    """Sees the gradients that a node receives for outputs of module calls."""

    __slots__ = ()

    @_torch.unseen
    def __call__(self, gradients: tuple[torch.Tensor | None, ...]) -> None:
        run = self.run
        if run.listens():
            for call, role, output, seen, _, note in self.targets:
                gradient = gradients[output]
                if gradient is not None:
                    run.arrived(call, role, gradient, seen, note)


class _IncomingSpy(NodeHook):
    """Sees the gradients that a node receives, as shares of gradients of module calls."""

    __slots__ = ()

    @_torch.unseen
    def __call__(self, gradients: tuple[torch.Tensor | None, ...]) -> None:
        run = self.run
        if run.listens():
            for call, slot, output, shape in self.targets:
                run.contributed(call, slot, gradients[output], shape)


class _PlainSpy(NodeHook):
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


class _NodeSpy(NodeHook):
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
            for call, role, output, seen, _, note in outputs:
                gradient = grad_outputs[output]
                if gradient is not None:
                    run.arrived(call, role, gradient, seen, note)
            for call, slot, edge, shape in shares:
                run.contributed(call, slot, grad_inputs[edge], shape)


class BackwardRun:
    """One backward run of one trace.

    Attributes:
        number: Of the run.
        notes: What limits the meaning of a gradient, by call and slot.
        owners: Of an output that is told by shares: its tensor, by call and slot.
    """

    def __init__(self, recorder: Recorder, number: int) -> None:
        self.recorder = recorder
        self.number = number
        self.spies: list[NodeHook] = []
        self.shares: dict[tuple[CallId, int], int] = {}  # how many nodes contribute
        self.pending: dict[tuple[CallId, int], list[Any]] = {}
        self.notes: dict[tuple[CallId, int], str] = {}
        self.owners: dict[tuple[CallId, int], Seen] = {}
        self.leaves = BareLeaves(recorder, number, [])

    def listens(self) -> bool:
        """Whether the trace is open and this code runs for real; then catch up with the leaves."""
        if self.recorder not in active() or _torch.is_compiling():
            return False
        self.leaves.ask()
        return True

    def watch(self, node: Any, outputs: list[Output] | None, shares: list[Share] | None) -> None:
        """Put spies on a node."""
        spy: NodeHook
        if outputs and (not shares or _torch.is_python_node(node)):
            spy = _OutputSpy(self, outputs)
            self.spies.append(spy)
            node.register_prehook(spy)
            outputs = None
        if shares:
            for call, slot, _, _ in shares:
                key = (call, slot)
                self.shares[key] = self.shares.get(key, 0) + 1
            spy = _NodeSpy(self, (outputs or (), shares))
            self.spies.append(spy)
            node.register_hook(spy)

    def watch_incoming(self, node: Any, shares: list[Share]) -> None:
        """Put a spy on a node: what it receives are shares."""
        for call, slot, _, _ in shares:
            key = (call, slot)
            self.shares[key] = self.shares.get(key, 0) + 1
        spy = _IncomingSpy(self, shares)
        self.spies.append(spy)
        node.register_prehook(spy)

    def watch_plain(self, node: Any, row: NodeId, owners: dict[int, Seen]) -> None:
        """Put a spy on a node outside of all calls."""
        spy = _PlainSpy(self, (row, owners))
        self.spies.append(spy)
        node.register_prehook(spy)

    def end(self) -> None:
        """Complete what not every node contributed to, and take the spies off."""
        for key in tuple(self.pending):
            self._complete(key, PARTIAL)
        self.leaves.end()
        for spy in self.spies:
            if spy.place is not None:
                spy.place.pop(spy, None)
        self.spies.clear()

    def has_recorded(self, call: CallId, role: str) -> bool:
        """Whether this run has recorded a gradient of this role of a call."""
        return any(
            (event.backward, event.call, event.gradient.role) == (self.number, call, role)
            for event in self.recorder.log.of(GradientComputed)
        )

    # -------------------------------------------------------------- what the spies saw

    def arrived(
        self, call: CallId, role: str, gradient: torch.Tensor, owner: Seen, note: str
    ) -> None:
        """Record the gradient of an output of a call."""
        recorder = self.recorder
        try:
            self._record(call, role, gradient, owner.id, note)
            tensor = owner.ref()
            if tensor is not None and tensor.retains_grad:
                self._retained(owner)
        except Exception:
            recorder.failed("a grad_output")

    def reached(self, node: NodeId, gradient: torch.Tensor, owner: Seen | None) -> None:
        """Record the gradient that arrives at a node outside of all calls."""
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
        if tensor is None or not tensor.retains_grad:
            return
        gradient = _torch.gradient_of(tensor)
        if gradient is None:
            return
        seen = self.recorder.observe(gradient, "grad", quiet=True)
        self.recorder.emit(GradientRetained, owner.id, seen, self.number)

    def contributed(
        self, call: CallId, slot: int, gradient: torch.Tensor | None, shape: Any
    ) -> None:
        """Record a node's share of a gradient; the last one completes it."""
        recorder = self.recorder
        try:
            key = (call, slot)
            if gradient is not None and shape is not None:
                gradient = _torch.seen_as(gradient, shape)
            if self.shares[key] == 1:
                if gradient is None:
                    return
                if slot >= 0 and key not in self.notes:
                    self._record(call, _role(slot), gradient, None, "")
                else:
                    self._tell(key, gradient, "")
                return
            shares = self.pending.setdefault(key, [])
            shares.append(None if gradient is None else self._share(key, gradient))
            if len(shares) == self.shares[key]:
                self._complete(key, "")
        except Exception:
            recorder.failed("a share of a gradient")

    def _share(self, key: tuple[CallId, int], gradient: torch.Tensor) -> Any:
        """Return what is held of a share until the others have come: numbers only if needed."""
        wanted = key[0] in self.recorder.kept_calls or gradient.numel() <= SMALL
        if wanted and not _torch.is_wrapped(gradient):
            return _torch.content_copy(gradient)
        return self.recorder.observe(gradient, _role(key[1]), quiet=True)

    def _complete(self, key: tuple[CallId, int], note: str) -> None:
        shares = [share for share in self.pending.pop(key) if share is not None]
        if not shares:
            return
        total = shares[0]
        if isinstance(total, Observation):
            self._write(key, total, note)
            return
        for share in shares[1:]:
            total = _torch.plain_sum(total, share)
        self._tell(key, total, note)

    def _tell(self, key: tuple[CallId, int], gradient: torch.Tensor, note: str) -> None:
        """Record a gradient that was told by shares, in full."""
        recorder = self.recorder
        seen, _ = recorder.sight(recorder.state(), gradient, _role(key[1]), True)
        if key[0] in recorder.kept_calls:
            recorder.keep(seen.value, gradient)
        self._write(key, seen, note)

    def _write(self, key: tuple[CallId, int], seen: Observation, note: str) -> None:
        notes = "; ".join(one for one in (self.notes.get(key, ""), note) if one)
        owner = self.owners.get(key)
        tensor = None if owner is None else owner.id
        self.recorder.emit(GradientComputed, key[0], None, seen, tensor, self.number, notes)
        if owner is not None:
            self._retained(owner)

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


def _role(slot: int) -> str:
    return f"grad_input[{slot}]" if slot >= 0 else f"grad_output[{~slot}]"
