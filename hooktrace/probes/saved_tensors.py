"""Hooks on the tensors that autograd saves for backward, and on the creation of its nodes.

They stand on a stack of the thread, which C++ keeps; spies are pushed in their place.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch

from hooktrace import _torch, _torch_graph
from hooktrace.callspies import StandIn
from hooktrace.patches import Patch, active
from hooktrace.recorder import Recorder
from hooktrace.spies import user_hook

__all__ = ["begin", "finish", "patches"]

_THREAD = "tensors saved on this thread"
_NODES = "nodes created on this thread"


def patches() -> Iterator[Patch]:
    """Yield the process-wide patches of this probe."""
    stack = _torch_graph.THREAD_HOOKS
    yield Patch(stack, "_push_saved_tensors_default_hooks", _pushing_pair)
    yield Patch(stack, "_pop_saved_tensors_default_hooks", _popping_pair)
    yield Patch(_torch_graph.SAVED_TENSOR, "register_hooks", _registering_pair)
    if hasattr(stack, "_push_node_creation_hook"):
        yield Patch(stack, "_push_node_creation_hook", _pushing_creation_hook)
        yield Patch(stack, "_pop_node_creation_hook", _popping_creation_hook)


def begin(recorder: Recorder) -> None:
    """Let spies stand for the pair that is active on this thread."""
    pair = _torch_graph.top_pair()
    if pair is None or _is_compiled(pair[0]):
        return
    if not isinstance(pair[0], StandIn):
        pair = StandIn(pair[0], "pack", _THREAD, None), StandIn(pair[1], "unpack", _THREAD, None)
        _torch_graph.replace_top_pair(*pair)
    for spy in pair:
        spy.enter(recorder)


def finish(recorder: Recorder) -> None:
    """Put the user's own pair back, if it is active on this thread."""
    _pushed.__dict__.clear()
    pair = _torch_graph.top_pair()
    if pair is not None and not active() and isinstance(pair[0], StandIn):
        _torch_graph.replace_top_pair(user_hook(pair[0]), user_hook(pair[1]))


def _is_compiled(hook: Any) -> bool:
    """Whether a hook is a graph, which compiled code takes in whole."""
    return isinstance(hook, torch.fx.GraphModule)


def _spied_pair(pack: Any, unpack: Any, owner: str) -> tuple[Any, Any]:
    if not active() or _torch.is_compiling() or _is_compiled(pack):
        return pack, unpack
    frame = sys._getframe(2)
    return StandIn(pack, "pack", owner, frame), StandIn(unpack, "unpack", owner, frame)


def _pushing_pair(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _push_saved_tensors_default_hooks(pack: Any, unpack: Any) -> None:
        original(*_spied_pair(pack, unpack, _THREAD))

    return _push_saved_tensors_default_hooks


def _popping_pair(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _pop_saved_tensors_default_hooks() -> None:
        pair = _torch_graph.top_pair() if active() else None
        original()
        for spy in pair or ():
            if isinstance(spy, StandIn):
                spy.taken_away()

    return _pop_saved_tensors_default_hooks


def _registering_pair(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def register_hooks(self: Any, pack: Any, unpack: Any) -> None:
        original(self, *_spied_pair(pack, unpack, "one saved tensor"))

    return register_hooks


_pushed = threading.local()  # .hooks: the creation hooks that stand on this thread's stack


def _pushing_creation_hook(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _push_node_creation_hook(hook: Any) -> None:
        if active() and not _torch.is_compiling():
            hook = StandIn(hook, "node_creation", _NODES, sys._getframe(1))
        original(hook)
        _pushed.__dict__.setdefault("hooks", []).append(hook)

    return _push_node_creation_hook


def _popping_creation_hook(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _pop_node_creation_hook() -> None:
        original()
        hooks = _pushed.__dict__.get("hooks")
        hook = hooks.pop() if hooks else None
        if isinstance(hook, StandIn):
            hook.taken_away()

    return _pop_node_creation_hook
