"""Code without modules: operations from the autograd graph, names from the caller's variables.

The graph is walked when a backward run begins, before anything in it can be freed, and from the
caller's variables when the block ends.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Protocol

import torch

from hooktrace import _torch
from hooktrace.identity import Seen
from hooktrace.recorder import Recorder
from hooktrace.walk import node_row

__all__ = ["Plain", "variables"]


class Plain:
    """The probe for plain tensors of one trace.

    Args:
        recorder: Whose log it fills.
        gradients: The gradients probe of the trace, which walks the graph: it is told the
            variables, and at the end the nodes to start from.
        frame: The caller's frame, until `close`.
    """

    def __init__(self, recorder: Recorder, gradients: GraphWalker, frame: FrameType | None) -> None:
        self.recorder = recorder
        self.gradients = gradients
        self.frame = frame
        recorder.on_backward_start.insert(0, self.backward_started)

    def backward_started(self, number: int, roots: Any) -> list[torch.Tensor]:
        """Name what the caller calls by a name, before the graph is walked."""
        self._name_variables()
        self.recorder.hooks.rename_owners()
        return []

    def close(self) -> None:
        """Enter what the caller's variables still reach, and let the frame go."""
        self.gradients.enter(self._name_variables())
        self.recorder.hooks.rename_owners()
        self.frame = None

    def _name_variables(self) -> list[Any]:
        """Name the tensors of the caller's variables, note what they hold; return their nodes."""
        recorder = self.recorder
        named: dict[int, dict[int, Seen]] = {}
        nodes = []
        for name, tensor in variables(self.frame):
            with _torch.hidden():
                known = recorder.identities.known(tensor) is not None
                if not known and not recorder.scope.everything:
                    continue
                state = recorder.state()
                observation, seen = recorder.sight(state, tensor, name, not known)
                recorder.log.contents.setdefault(seen.value, observation)
                node = tensor.grad_fn
                if tensor.requires_grad and node is None:
                    recorder.watch_leaf(tensor, name)
                else:
                    recorder.identities.name(tensor, name)
                    recorder.watch_hooks(tensor)
                if node is not None:
                    nodes.append(node)
                    row = node_row(recorder, node)
                    recorder.log.producers.setdefault(seen.value, (row, tensor.output_nr))
                    outputs = named.setdefault(_torch.sequence_of(node), {})
                    outputs.setdefault(tensor.output_nr, seen)
        self.gradients.variables = named
        return nodes


class GraphWalker(Protocol):
    """What this probe needs of the gradients probe."""

    variables: dict[int, dict[int, Seen]]

    def enter(self, nodes: list[Any]) -> None:
        """Enter what can be reached from `nodes` in the log."""


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
