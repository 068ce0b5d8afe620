"""Code without modules: operations from the autograd graph, names from the caller's variables.

The graph is walked when a backward run begins, before anything in it can be freed, and from the
caller's variables when the block ends.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

import torch

from hooktrace import _torch
from hooktrace.recorder import Recorder

__all__ = ["Plain", "variables"]


class Plain:
    """The probe for plain tensors of one trace.

    Args:
        recorder: Whose log it fills.
        watch_node: Puts a hook on a node to record the gradients that arrive there; takes the
            node and its named outputs by number.
        frame: The caller's frame, until `close`.
    """

    def __init__(
        self,
        recorder: Recorder,
        watch_node: Callable[[Any, dict[int, torch.Tensor]], None],
        frame: FrameType | None,
    ) -> None:
        self.recorder = recorder
        self.watch_node = watch_node
        self.frame = frame
        recorder.on_backward_start.append(self.backward_started)

    def backward_started(self, number: int, roots: Any) -> None:
        """Name what the caller calls by a name, and watch the graph that is about to run."""
        named = self._name_variables()
        if self.recorder.scope.everything:
            starts = [_node_of(root) for root in roots]
            self._walk([node for node in starts if node is not None], named, watch=True)
        self.recorder.hooks.rename_owners()

    def close(self) -> None:
        """Enter what the caller's variables still reach, and let the frame go."""
        named = self._name_variables()
        if self.recorder.scope.everything:
            self._walk([node for node, _ in named.values()], named, watch=False)
        self.recorder.hooks.rename_owners()
        self.frame = None

    # -------------------------------------------------------------- names

    def _name_variables(self) -> _Named:
        """Name the tensors of the caller's variables, and note what they hold."""
        named: _Named = {}
        recorder = self.recorder
        for name, tensor in variables(self.frame):
            with _torch.hidden():
                known = recorder.identities.known(tensor) is not None
                if not known and not recorder.scope.everything:
                    continue
                seen = recorder.observe(tensor, name, quiet=not known)
                if seen.value is not None:
                    recorder.log.contents.setdefault(seen.value, seen)
                if tensor.requires_grad and tensor.grad_fn is None:
                    recorder.watch_leaf(tensor, name)
                else:
                    recorder.identities.name(tensor, name)
                if (node := tensor.grad_fn) is not None:
                    outputs = named.setdefault(id(node), (node, {}))[1]
                    outputs.setdefault(tensor.output_nr, tensor)
                    if seen.value is not None:
                        producer = (recorder.nodes.row(node), tensor.output_nr)
                        recorder.log.producers.setdefault(seen.value, producer)
        return named

    # -------------------------------------------------------------- the graph

    def _walk(self, starts: list[Any], named: _Named, *, watch: bool) -> None:
        nodes = self.recorder.nodes
        queue = list(starts)
        seen: dict[int, Any] = {}
        while queue:
            node = queue.pop()
            if id(node) in seen:
                continue
            seen[id(node)] = node
            if watch and nodes.call_of(node) is None:
                self.watch_node(node, named.get(id(node), (node, {}))[1])
            for following, _ in node.next_functions:
                if following is None:
                    continue
                if following._sequence_nr() == _torch.LEAF_SEQUENCE:
                    self.recorder.watch_leaf(following.variable, "")
                else:
                    queue.append(following)
            if not nodes.entered(node):
                nodes.enter(node, None)


_Named = dict[int, tuple[Any, dict[int, torch.Tensor]]]
"""Id of a node -> the node, and by output number the variables that it produced."""


def _node_of(root: Any) -> Any:
    return root.grad_fn if isinstance(root, torch.Tensor) else getattr(root, "node", None)


def variables(frame: FrameType | None) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors among the variables of a frame, also in its lists, tuples and dicts.

    Before Python 3.13, reading ``f_locals`` of a function leaves a dictionary in its frame that
    keeps every variable alive; it is emptied again unless somebody else holds it.
    """
    if frame is None:
        return
    names = frame.f_locals
    try:
        found = [(name, thing) for name, thing in names.items() if not name.startswith("_")]
    finally:
        optimised = frame.f_code.co_flags & inspect.CO_OPTIMIZED
        # held by: the frame, `names`, and the argument of getrefcount
        if optimised and sys.version_info < (3, 13) and sys.getrefcount(names) <= 3:
            names.clear()
    for name, thing in found:
        yield from _tensors(name, thing)


def _tensors(name: str, thing: Any) -> Iterable[tuple[str, torch.Tensor]]:
    if isinstance(thing, torch.Tensor):
        yield name, thing
    elif type(thing) in (list, tuple) and len(thing) <= 64:
        for index, item in enumerate(thing):
            if isinstance(item, torch.Tensor):
                yield f"{name}[{index}]", item
    elif type(thing) is dict and len(thing) <= 64:
        for key, item in thing.items():
            if isinstance(item, torch.Tensor):
                yield f"{name}[{key!r}]", item
