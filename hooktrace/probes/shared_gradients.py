"""Which nodes of a backward run were sent the same memory, and what hooks do to it there.

An addition hands the very gradient that it receives to both of its sides.  A hook that writes to
it at one side changes what the other side gets, although that has no part in it.  When there are
hooks on gradients, nodes that send to several others are watched; where a hook wrote to memory
that others were sent too, those others are watched until the run ends.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch

from hooktrace import _torch, _torch_graph, _torch_hooks
from hooktrace._torch_storage import (
    Place,
    address_of,
    as_it_was,
    overlap,
    place_of,
    seen_at,
)
from hooktrace.events import Edit, GradientOverwritten, HookId, NodeId, Observation
from hooktrace.kinds import KINDS
from hooktrace.nodespies import NodeHook
from hooktrace.patches import active
from hooktrace.recorder import COPY_LIMIT_BYTES, Recorder

__all__ = ["SharedGradients"]


class _Sent(NamedTuple):
    """A gradient that shares memory with another one that the same node sent out.

    Attributes:
        sender: The node's row.
        node: To which it was sent.
        place: Where in the memory it lies.
        ref: Weak reference to it: an address is used again.
    """

    sender: NodeId
    node: Any
    place: Place
    ref: weakref.ref[torch.Tensor]


class _Written(NamedTuple):
    """What a hook wrote to a gradient that is shared.

    Attributes:
        hook, at: As in `GradientOverwritten`.
        address: Of the memory.
        sides: What was sent before, and what it is now.
        refs: Weak references to tensors that lie there.
    """

    hook: HookId
    at: NodeId
    address: int
    sides: tuple[Observation, Observation]
    refs: tuple[weakref.ref[torch.Tensor], ...]


class SharedGradients:
    """The probe of one trace.

    Args:
        recorder: Whose log it fills.
        leaves: Returns the leaves that the latest run may reach.
    """

    def __init__(self, recorder: Recorder, leaves: Callable[[], Iterable[torch.Tensor]]) -> None:
        self.recorder = recorder
        self._leaves = leaves
        self._runs: dict[int, _Run] = {}
        recorder.on_backward_start.append(self.backward_started)
        recorder.on_captured.append(self.captured)
        recorder.on_backward_end.append(self.backward_ended)

    def backward_started(self, number: int, roots: Any, accumulates: bool) -> list[torch.Tensor]:
        """Watch the nodes that send to several others, if there are hooks that could write."""
        if self._hooks_could_write():
            run = self._runs[number] = _Run(self.recorder, accumulates)
            run.watch(filter(None, map(_node_of, roots)))
            self.recorder.on_edit.append(run.written)
        return []

    def _hooks_could_write(self) -> bool:
        return any(
            KINDS[hook.kind].gradient and hook.kind != "retain_grad" and not hook.feature
            for hook in self.recorder.log.hooks
        ) or any(map(_torch_hooks.has_hooks, self._leaves()))

    def captured(self, number: int, pairs: list[tuple[Any, torch.Tensor | None]]) -> None:
        """Look at the gradients that ``autograd.grad`` returns."""
        if number in self._runs:
            self._runs[number].captured(pairs)

    def backward_ended(self, number: int) -> None:
        """Take the spies off."""
        run = self._runs.pop(number, None)
        if run is not None:
            self.recorder.on_edit.remove(run.written)
            run.end()


class _Run:
    """What is known of one backward run.

    Args:
        recorder: Whose log.
        accumulates: Whether the run fills ``.grad``; else it returns gradients, which share memory
            with what is sent on.
    """

    def __init__(self, recorder: Recorder, accumulates: bool) -> None:
        self.recorder = recorder
        self._accumulates = accumulates
        self._leaves: list[torch.Tensor] = []
        self._sent: dict[int, list[_Sent]] = {}  # by address
        self._written: list[_Written] = []
        self._spies: list[NodeHook] = []

    def watch(self, roots: Iterable[Any]) -> None:
        """Put spies on all nodes that send to several others."""
        for node in _torch_graph.reachable(roots):
            if _torch.sequence_of(node) == _torch.LEAF_SEQUENCE:
                self._leaves.append(_torch.leaf_of(node))
            elif sum(following is not None for following, _ in node.next_functions) > 1:
                self._place(node.register_hook, _SenderSpy(self, 0, node))

    def end(self) -> None:
        """Take the spies off."""
        for spy in self._spies:
            if spy.place is not None:
                spy.place.pop(spy, None)
        self._spies.clear()
        self._sent.clear()
        self._written.clear()
        self._leaves.clear()

    def _place(self, register: Any, spy: NodeHook) -> None:
        self._spies.append(spy)
        register(spy)

    # -------------------------------------------------------------- what is sent

    def sent(self, node: Any, gradients: Sequence[torch.Tensor | None]) -> None:
        """Note which of the gradients that a node sends out share memory."""
        shared: dict[int, list[tuple[Any, torch.Tensor]]] = {}
        for number, gradient in enumerate(gradients):
            if gradient is not None and not _torch.is_wrapped(gradient):
                shared.setdefault(address_of(gradient), []).append((number, gradient))
        for address, several in shared.items():
            if len(several) > 1:
                known = self._sent.setdefault(address, [])
                following, sender = node.next_functions, self._row(node)
                for number, gradient in several:
                    if following[number][0] is not None:
                        place, ref = place_of(gradient), weakref.ref(gradient)
                        known.append(_Sent(sender, following[number][0], place, ref))

    # -------------------------------------------------------------- what is written

    def written(
        self, hook: HookId, edit: Edit, gradient: torch.Tensor, copy: torch.Tensor | None
    ) -> None:
        """Note that a hook wrote to a tensor in place, if it is a gradient that is shared.

        Args:
            hook: Which hook.
            edit: What it did.
            gradient: What it wrote to.
            copy: Of what it was before; None if there is none.
        """
        here = _torch_graph.current_node()
        if here is None or _torch.is_wrapped(gradient):
            return
        address = address_of(gradient)
        sent = self._sent.get(address, ())
        if not sent and self._accumulates:
            return
        at = self._row(here)
        alive = [one for one in sent if one.ref() is not None]
        refs = (weakref.ref(gradient), *(one.ref for one in alive))
        written = _Written(hook, at, address, (edit.before, edit.after), refs)
        for one in alive:
            if one.node is not here and overlap(gradient, one.place):
                sides = self._sides(gradient, edit, copy, one.place)
                spy = _ReceiverSpy(self, 0, (one, written._replace(sides=sides)))
                self._place(one.node.register_prehook, spy)
        self._written.append(written)
        for leaf in self._leaves:
            held = _torch.gradient_of(leaf)
            if held is None or held is gradient or _torch.is_wrapped(held):
                continue
            if address_of(held) == address and overlap(gradient, place_of(held)):
                sides = self._sides(gradient, edit, copy, place_of(held))
                self._look_at(leaf, held, written._replace(sides=sides))

    def _look_at(self, leaf: torch.Tensor, held: torch.Tensor, written: _Written) -> None:
        """Tell of a leaf whose ``.grad`` had been filled with the memory that was written to."""
        recorder = self.recorder
        seen, row = recorder.identities.known(held), recorder.identities.seen(leaf).row
        if seen is not None:
            recorder.check(recorder.state(), held, seen)
        if row is not None and row != written.at:
            self._tell(written, None, row, arrived=True)

    def _sides(
        self, gradient: torch.Tensor, edit: Edit, copy: torch.Tensor | None, place: Place
    ) -> tuple[Observation, Observation]:
        """Describe what a place in the memory of a gradient held before, and what it holds now."""
        same = place == place_of(gradient) or gradient.dtype != place.dtype
        if copy is None or same or gradient.untyped_storage().nbytes() > COPY_LIMIT_BYTES:
            return edit.before, edit.after
        recorder = self.recorder
        found = []
        for tensor in (as_it_was(gradient, copy, place), seen_at(gradient, place)):
            one = recorder.identities.unnumbered(recorder.observe(tensor, "grad", quiet=True))
            recorder.keep(one.value, tensor)
            found.append(one)
        return found[0], found[1]

    # -------------------------------------------------------------- what arrives

    def received(self, sent: _Sent, written: _Written, gradients: Sequence[Any]) -> None:
        """Note what a node is given that had been sent memory that a hook wrote to."""
        given = sent.ref()
        arrived = given is not None and any(one is given for one in gradients)
        self._tell(written, sent.sender, self._row(sent.node), arrived=arrived)

    def captured(self, pairs: Iterable[tuple[Any, torch.Tensor | None]]) -> None:
        """Note which gradients lie in memory that a hook wrote to."""
        for wanted, gradient in pairs:
            if gradient is None or _torch.is_wrapped(gradient):
                continue
            node = _node_of(wanted)
            row = self._row(node) if node else self.recorder.identities.seen(wanted).row
            for written in self._written:
                alive = any(ref() is not None for ref in written.refs)
                shared = alive and written.address == address_of(gradient)
                if shared and row not in (None, written.at):
                    self._tell(written, None, row, arrived=True)

    def _tell(self, written: _Written, sender: NodeId | None, node: Any, *, arrived: bool) -> None:
        hook, at, _, (before, after), _ = written
        self.recorder.emit(GradientOverwritten, hook, at, sender, node, before, after, arrived)

    def _row(self, node: Any) -> NodeId:
        graph = self.recorder.graph
        if _torch.sequence_of(node) == _torch.LEAF_SEQUENCE:
            return graph.leaf_row(_torch.leaf_of(node), node)  # type: ignore[no-any-return]
        return graph.row(node, graph.key(node, self.recorder.state()))  # type: ignore[no-any-return]


def _node_of(root: Any) -> Any:
    return root.grad_fn if isinstance(root, torch.Tensor) else getattr(root, "node", None)


# ------------------------------------------------------------------ on the nodes


class _SenderSpy(NodeHook):
    """Sees what a node sends to several others."""

    __slots__ = ()

    def __call__(self, grad_inputs: tuple[torch.Tensor | None, ...], grad_outputs: Any) -> None:
        """Tell what goes out."""
        with _torch.aside():
            recorder = self.run.recorder
            if recorder in active() and not _torch.is_compiling():
                try:
                    self.run.sent(self.targets, grad_inputs)
                except Exception:
                    recorder.failed("gradients that share memory")


class _ReceiverSpy(NodeHook):
    """Sees what a node is given that had been sent memory that a hook wrote to."""

    __slots__ = ()

    def __call__(self, gradients: tuple[torch.Tensor | None, ...]) -> None:
        """Tell what comes in."""
        with _torch.aside():
            recorder = self.run.recorder
            if recorder in active() and not _torch.is_compiling():
                try:
                    self.run.received(*self.targets, gradients)
                except Exception:
                    recorder.failed("a gradient that was overwritten on its way")
