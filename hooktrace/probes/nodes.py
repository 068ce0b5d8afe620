"""What users hang on autograd nodes: hooks that were there before, and custom functions.

Hooks that are registered in the block are told by their handles, but not the nodes they are on.
When a backward run begins, the nodes are asked for their dictionaries: all that can be
reached once in a trace, and later only when there are hooks whose node is not known.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

from hooktrace import _torch, _torch_graph, _torch_hooks, _torch_sites
from hooktrace.callspies import StandIn
from hooktrace.patches import Patch, active
from hooktrace.recorder import Recorder
from hooktrace.spies import Spy, user_hook
from hooktrace.walk import node_row

__all__ = ["Nodes", "patches"]


def patches() -> Iterator[Patch]:
    """Yield the process-wide patches of this probe."""
    for method in ("apply", "apply_boxed"):
        if method in vars(_torch_graph.FUNCTION_NODE):
            yield Patch(_torch_graph.FUNCTION_NODE, method, _observed_backward)
    if _torch_graph.COMMUNICATION_OWNER is not None:
        yield Patch(_torch_graph.COMMUNICATION_OWNER, "_register_comm_hook", _spied_comm_hook)


class Nodes:
    """Finds the hooks on the nodes of one trace's graphs.

    Args:
        recorder: Whose log it fills.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._looked = False
        self._first = _torch.current_sequence()
        recorder.on_backward_start.append(self.backward_started)

    def backward_started(self, number: int, roots: Any, accumulates: bool) -> list[torch.Tensor]:
        """Make rows for the hooks on nodes that the run may reach."""
        hooks = self.recorder.hooks
        if self._looked and not hooks.unplaced:
            return []
        self._looked = True
        nodes = _torch_graph.reachable(filter(None, map(_node_of, roots)))
        self._note_older(nodes)
        for node, kind, dictionary in _torch_graph.hooks_of_nodes(nodes):
            for number, function in dictionary.items():
                user = user_hook(function)
                if isinstance(number, int) and not _torch_hooks.is_internal(user):
                    row = hooks.add("node", number, user, "an autograd node")
                    hooks.found_on(row, kind, self._title(node), node_row(self.recorder, node))
                    hooks.watch("node", dictionary)
        hooks.unplaced.clear()
        return []

    def _note_older(self, nodes: list[Any]) -> None:
        """Note that there are nodes from before the block, whose tensors may have had hooks."""
        older = [node for node in nodes if -1 < _torch.sequence_of(node) < self._first]
        if older:
            count = f"{len(older)} nodes made earlier or on another thread"
            names = f"{count}, such as {_torch.node_name(older[0])}"
            self.recorder.log.unseen["graph-from-before"] = [names]

    def _title(self, node: Any) -> str:
        leaf = getattr(node, "variable", None)
        name = _torch.node_name(node)
        if leaf is None:
            return name
        seen = self.recorder.identities.seen(leaf)
        return f"{name} of {self.recorder.log.tensors[seen.id].name or f'tensor t{seen.id}'}"


def _node_of(root: Any) -> Any:
    return root.grad_fn if isinstance(root, torch.Tensor) else getattr(root, "node", None)


# ------------------------------------------------------------------ custom functions


@functools.cache
def _observed_backward(original: Callable[..., Any]) -> Callable[..., Any]:
    return _torch_sites.enclosed(  # type: ignore[no-any-return]
        original, begun=_backward_begun, done=_backward_done, failed=_backward_failed
    )


def _backward_begun(node: Any, gradients: tuple[Any, ...]) -> tuple[Any, list[Any]] | None:
    function = _torch_graph.backward_of(node) if active() else None
    if function is None:
        return None
    name = type(node).__name__.removesuffix("Backward")
    spy = StandIn(function, "function_backward", name, None)
    return spy, spy.called((gradients,))


def _backward_done(token: tuple[Any, list[Any]] | None, result: Any) -> Any:
    if token is not None:
        token[0].returned(token[1], result, ((),))
    return result


def _backward_failed(token: tuple[Any, list[Any]] | None, error: BaseException) -> None:
    for firing in reversed(token[1] if token is not None else []):
        firing.raised(error)


# ------------------------------------------------------------------ communication


def _spied_comm_hook(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _register_comm_hook(reducer: Any, state: Any, hook: Any) -> Any:
        if active() and not isinstance(hook, Spy):
            frame = sys._getframe(1)
            hook = StandIn(hook, "comm", "DistributedDataParallel", frame)
        return original(reducer, state, hook)

    return _register_comm_hook
