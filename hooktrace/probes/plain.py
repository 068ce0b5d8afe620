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
from hooktrace.nodes import KnownGraph
from hooktrace.recorder import Recorder

__all__ = ["Plain", "variables"]


class Plain:
    """The probe for plain tensors of one trace.

    Args:
        recorder: Whose log it fills.
        graph: The gradients probe of the trace, which walks the graph.
        frame: The caller's frame, until `close`.
    """

    def __init__(self, recorder: Recorder, graph: Graph, frame: FrameType | None) -> None:
        self.recorder = recorder
        self.graph = graph
        self.frame = frame
        self.first = recorder.state().base + _torch.current_sequence()
        recorder.on_backward_start.append(self.backward_started)

    def backward_started(self, number: int, roots: Any, accumulates: bool) -> list[torch.Tensor]:
        """Name what the caller calls by a name, after the graph was walked, before it runs."""
        self._name_variables(self.graph.reached, self.graph.leaves)
        self.recorder.hooks.rename_owners()
        return []

    def close(self) -> None:
        """Enter what the caller's variables still reach, and let the frame go."""
        leaves = self.graph.enter(self._made())
        self._name_variables({}, leaves)
        self.recorder.hooks.rename_owners()
        self.frame = None

    def _name_variables(
        self, reached: dict[int, dict[int, Seen]], leaves: dict[int, torch.Tensor]
    ) -> None:
        """Name the tensors of the caller's variables, and note what they hold.

        Variables that have nothing to do with the block, such as those of earlier cells of a
        notebook, are passed over: a tensor counts if it was seen, made in the block, or reached.

        Args:
            reached: The named tensors to fill in, for each node that a backward run reaches.
            leaves: The leaves that it reaches, by id.
        """
        recorder = self.recorder
        state = recorder.state()
        for name, tensor in variables(self.frame):
            with _torch.hidden():
                seen_before = recorder.identities.known(tensor)
                if _is_stale(tensor, seen_before):
                    if seen_before is not None:
                        recorder.identities.name(tensor, name)
                    continue
                known = seen_before is not None
                node = tensor.grad_fn
                key = -1 if node is None else self.graph.graph.key(node, state)
                new = key >= self.first or key in reached or id(tensor) in leaves
                if not known and not (new and recorder.scope.everything):
                    continue
                observation, seen = recorder.sight(state, tensor, name, not known)
                recorder.log.contents.setdefault(seen.value, observation)
                if tensor.requires_grad and node is None:
                    recorder.watch_leaf(tensor, name)
                    continue
                recorder.identities.name(tensor, name)
                recorder.watch_hooks(tensor)
                if node is not None:
                    row = self.graph.graph.row(node, key)
                    recorder.log.producers.setdefault(seen.value, (row, tensor.output_nr))
                    if key in reached:
                        reached[key].setdefault(tensor.output_nr, seen)

    def _made(self) -> list[torch.Tensor]:
        """Return the caller's variables that were seen or made in the block."""
        found = []
        for _, tensor in variables(self.frame):
            with _torch.hidden():
                known = self.recorder.identities.known(tensor)
                node = None if _is_stale(tensor, known) else tensor.grad_fn
                if node is None:
                    continue
                made = self.recorder.scope.everything and _torch.sequence_of(node) >= self.first
                if made or known is not None:
                    found.append(tensor)
        return found


def _is_stale(tensor: torch.Tensor, seen: Seen | None) -> bool:
    """Whether a view may have been written to since: then asking for its node would make one."""
    if not _torch.is_view(tensor):
        return False
    version = _torch.version_of(tensor)
    return version != (0 if seen is None else seen.value.version)


class Graph(Protocol):
    """What this probe needs of the gradients probe.

    Attributes:
        reached: For each node outside of all calls that the backward run which is about to
            begin reaches, by its key: output number -> named tensor.
        graph: Gives nodes their keys and rows.
        leaves: The leaves that it reaches, by id.
    """

    reached: dict[int, dict[int, Seen]]
    leaves: dict[int, torch.Tensor]
    graph: KnownGraph

    def enter(self, tensors: list[torch.Tensor]) -> dict[int, torch.Tensor]:
        """Enter what can be reached from `tensors` in the log; return the leaves, by id."""


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
