"""The seam: hooks that live in the autograd graph or on the thread that builds it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.autograd.function import BackwardCFunction, _HookMixin
from torch.nn.modules._functions import BackwardHookFunction

__all__ = [
    "COMMUNICATION_OWNER",
    "CREATION_HOOK",
    "FUNCTION_NODE",
    "SAVED_TENSOR",
    "backward_of",
    "current_node",
    "hooks_of_nodes",
    "in_transform",
    "node_of",
    "reachable",
    "replace_top_pair",
    "top_pair",
]

CREATION_HOOK: Any = getattr(torch.autograd.graph, "node_creation_hook", None)  # from 2.15 on
SAVED_TENSOR: Any = torch._C._autograd.SavedTensor
FUNCTION_NODE: Any = BackwardCFunction  # base of the nodes of custom autograd functions
COMMUNICATION_OWNER: Any = torch.distributed if torch.distributed.is_available() else None


def backward_of(node: Any) -> Any:
    """Return the user's ``backward`` of a custom function's node; None for PyTorch's own means."""
    function = node._forward_cls
    if function is BackwardHookFunction:
        return None
    vjp = function.vjp
    return function.backward if vjp is torch.autograd.Function.vjp else vjp


def current_node() -> Any:
    """Return the node that the engine runs on this thread; None outside of a backward run."""
    return torch._C._current_autograd_node()


def in_transform(root: Any) -> bool:
    """Whether a root of a backward run belongs to a transform such as ``torch.func.grad``."""
    return isinstance(root, torch.Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(root)


# ------------------------------------------------------------------ saved tensors


def top_pair() -> tuple[Any, Any] | None:
    """Return the pack and unpack hooks that are active on this thread, as far as PyTorch tells."""
    pair = None if _TOP_PAIR is None else _TOP_PAIR(True)
    return None if pair is None else (pair[0], pair[1])


_TOP_PAIR: Any = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)  # from 2.8


def replace_top_pair(pack: Any, unpack: Any) -> None:
    """Let a pair stand in the place of the one that is active on this thread."""
    torch._C._autograd._pop_saved_tensors_default_hooks()
    torch._C._autograd._push_saved_tensors_default_hooks(pack, unpack)


# ------------------------------------------------------------------ hooks on nodes


class _RefusedError(Exception):
    """Ends a registration that only looks."""


class _Peek:
    """What is registered in order to look: C++ hands the node's dictionary over with it."""

    hooks: Any = None


_looking = threading.RLock()


def hooks_of_nodes(nodes: Iterable[Any]) -> Iterator[tuple[Any, str, Any]]:
    """Yield node, kind and dictionary for all Python hooks on autograd nodes; add nothing.

    C++ nodes hold their dictionaries themselves, but hand them to `_HookMixin._register_hook`
    when a hook is registered: here to one that takes the dictionary down and then refuses.
    """
    with _looking:
        original = vars(_HookMixin)["_register_hook"]

        def look(hooks: Any, hook: Any) -> Any:
            if not isinstance(hook, _Peek):
                return original.__func__(hooks, hook)
            hook.hooks = hooks
            raise _RefusedError

        _HookMixin._register_hook = staticmethod(look)  # type: ignore[method-assign]
        try:
            found = [(node, *pair) for node in nodes for pair in _hooks_of(node)]
        finally:
            _HookMixin._register_hook = original  # type: ignore[method-assign]
    yield from found


def _hooks_of(node: Any) -> Iterator[tuple[str, Any]]:
    for kind, register in (("node_pre", node.register_prehook), ("node", node.register_hook)):
        peek = _Peek()
        try:
            register(peek)
        except _RefusedError:
            if peek.hooks:
                yield kind, peek.hooks
        except RuntimeError:  # a custom function's context before its forward has returned
            continue


def reachable(roots: Iterable[Any]) -> list[Any]:
    """Return all nodes that can be reached."""
    queue = list(dict.fromkeys(roots))
    seen = set(queue)
    for node in queue:
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                queue.append(following)
    return queue


def node_of(tensor: torch.Tensor) -> Any:
    """Return the node that made a tensor, or that accumulates the gradient of a leaf.

    For a leaf a view is made and dropped, which takes one sequence number.
    """
    with torch.enable_grad():
        return torch.autograd.graph.get_gradient_edge(tensor).node
