"""One backward run of one trace: hooks of ours on autograd nodes, and what they see."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from hooktrace import _torch
from hooktrace.events import (
    CallId,
    GradientComputed,
    GradientRetained,
    HookFired,
    NodeId,
    Observation,
    TensorId,
)
from hooktrace.identity import SMALL, Seen
from hooktrace.leaves import BareLeaves
from hooktrace.nodespies import IncomingSpy, NodeHook, NodeSpy, OutputSpy, PlainSpy
from hooktrace.patches import active
from hooktrace.recorder import Recorder
from hooktrace.spans import Output
from hooktrace.threadstate import ThreadState

__all__ = ["BackwardRun", "Share"]

Share = tuple[CallId, int, int, Any]
"""A share of a gradient: call, slot, edge or output number of the node, and for
`_torch.seen_as` how it is a gradient of the argument or output; None if it is as it comes.

The slot is the place of an argument, or the complement (``~place``) of that of an output."""

PARTIAL = "not all nodes that share in it ran: this is the sum of those that did"


class BackwardRun:
    """One backward run of one trace.

    Attributes:
        number: Of the run.
        in_order: Whether the keys tell the order in which the nodes run.
        told: Of a run that captures gradients: those that it recorded, by call and role.
        notes: What limits the meaning of a gradient, by call and slot.
        owners: Of an output that is told by shares: its tensor, by call and slot.
    """

    def __init__(
        self, recorder: Recorder, number: int, *, accumulates: bool, in_order: bool
    ) -> None:
        self.recorder = recorder
        self.number = number
        self.in_order = in_order
        self.told: set[tuple[CallId, str]] | None = None if accumulates else set()
        self.retained: set[TensorId] = set()  # tensors whose .grad was noted; several calls may
        # return the same tensor
        self.spies: list[NodeHook] = []
        self.shares: dict[tuple[CallId, int], int] = {}  # how many nodes contribute
        self.pending: dict[tuple[CallId, int], list[Any]] = {}
        self.notes: dict[tuple[CallId, int], str] = {}
        self.owners: dict[tuple[CallId, int], Seen] = {}
        self.leaves = BareLeaves(recorder, number, [])

    def catch_up(self, key: int) -> ThreadState | None:
        """Note the leaves that were filled before the node of this key ran.

        Returns:
            What is open on the calling thread; None if the trace is closed or if this code does
            not run for real.
        """
        if self.recorder not in active() or _torch.is_compiling():
            return None
        if self.in_order:
            self.leaves.ask_before(key)
        else:
            self.leaves.ask()
        return self.recorder.state()

    def watch(
        self, node: Any, key: int, outputs: list[Output] | None, shares: list[Share] | None
    ) -> None:
        """Put spies on a node."""
        if outputs and (not shares or _torch.is_python_node(node)):
            self._place(node.register_prehook, OutputSpy(self, key, outputs))
            outputs = None
        if shares:
            self._count(shares)
            self._place(node.register_hook, NodeSpy(self, key, (outputs or (), shares)))

    def watch_incoming(self, node: Any, key: int, shares: list[Share]) -> None:
        """Put a spy on a node: what it receives are shares."""
        self._count(shares)
        self._place(node.register_prehook, IncomingSpy(self, key, shares))

    def watch_plain(self, node: Any, key: int, row: NodeId, owners: dict[int, Seen]) -> None:
        """Put a spy on a node outside of all calls."""
        self._place(node.register_prehook, PlainSpy(self, key, (row, owners)))

    def _place(self, register: Callable[[NodeHook], Any], spy: NodeHook) -> None:
        self.spies.append(spy)
        register(spy)

    def _count(self, shares: list[Share]) -> None:
        counts = self.shares
        for call, slot, _, _ in shares:
            key = call, slot
            counts[key] = counts.get(key, 0) + 1

    def end(self) -> None:
        """Complete what not every node contributed to, and take the spies off."""
        for key in tuple(self.pending):
            self._complete(key, PARTIAL)
        self.leaves.end()
        for spy in self.spies:
            if spy.place is not None:
                spy.place.pop(spy, None)
        self.spies.clear()

    # -------------------------------------------------------------- what the spies saw

    def arrived(
        self, state: ThreadState, targets: Iterable[Output], gradients: Sequence[Any]
    ) -> None:
        """Record the gradients of outputs of calls."""
        for call, role, output, owner, _, note in targets:
            gradient = gradients[output]
            if gradient is None:
                continue
            try:
                self._record(state, call, role, gradient, owner.id, note)
                tensor = owner.ref()
                if tensor is not None and tensor.retains_grad:
                    self._retained(owner)
            except Exception:
                self.recorder.failed("a grad_output")

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
        if tensor is None or not tensor.retains_grad or owner.id in self.retained:
            return
        gradient = _torch.gradient_of(tensor)
        if gradient is None:
            return
        self.retained.add(owner.id)
        recorder = self.recorder
        seen = recorder.observe(gradient, "grad", quiet=True)
        recorder.emit(GradientRetained, owner.id, seen, self.number)
        hook = recorder.hooks.add("retain_grad", owner.id, torch.Tensor.retain_grad, tensor)
        recorder.emit(HookFired, hook, None, (seen,), (), 0, None)

    def contributed(
        self, state: ThreadState, shares: list[Share], gradients: Sequence[Any]
    ) -> None:
        """Record a node's shares of gradients; the last node's completes them."""
        for call, slot, edge, shape in shares:
            gradient = gradients[edge]
            try:
                key = call, slot
                if gradient is not None and shape is not None:
                    gradient = _torch.seen_as(gradient, shape)
                if self.shares[key] > 1:
                    self._gather(key, gradient)
                elif gradient is None:
                    continue
                elif slot >= 0 and key not in self.notes:
                    self._record(state, call, _role(slot), gradient, None, "")
                else:
                    self._tell(key, gradient, "")
            except Exception:
                self.recorder.failed("a share of a gradient")

    def _gather(self, key: tuple[CallId, int], gradient: torch.Tensor | None) -> None:
        """Hold a share until the others have come."""
        shares = self.pending.setdefault(key, [])
        shares.append(None if gradient is None else self._share(key, gradient))
        if len(shares) == self.shares[key]:
            self._complete(key, "")

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
        if isinstance(total, Observation):  # of a share, whose statistics are not those of the sum
            total = Observation(total.role, total.value, total.summary, total.storage)
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
        if self.told is not None:
            self.told.add((key[0], seen.role))
        notes = "; ".join(one for one in (self.notes.get(key, ""), note) if one)
        owner = self.owners.get(key)
        tensor = None if owner is None else owner.id
        self.recorder.emit(GradientComputed, key[0], None, seen, tensor, self.number, notes)
        if owner is not None:
            self._retained(owner)

    def _record(
        self,
        state: ThreadState,
        call: CallId,
        role: str,
        gradient: torch.Tensor,
        tensor: TensorId | None,
        note: str,
    ) -> None:
        recorder = self.recorder
        seen, _ = recorder.sight(state, gradient, role, True)
        if call in recorder.kept_calls:
            recorder.keep(seen.value, gradient)
        if self.told is not None:
            self.told.add((call, role))
        now = recorder.clock()
        fields = now, state.number, call, None, seen, tensor, self.number, note
        recorder.write((GradientComputed, fields))


@functools.cache
def _role(slot: int) -> str:
    return f"grad_input[{slot}]" if slot >= 0 else f"grad_output[{~slot}]"
