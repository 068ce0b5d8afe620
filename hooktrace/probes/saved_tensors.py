"""Hooks on the tensors that autograd saves for backward, and on the creation of its nodes.

They stand on a stack of the thread, which C++ keeps; spies are pushed in their place.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from hooktrace import _torch, _torch_graph, _torch_sites
from hooktrace.callspies import StandIn
from hooktrace.patches import Patch, active
from hooktrace.recorder import Recorder
from hooktrace.spies import user_hook

__all__ = ["begin", "finish", "patches"]

_THREAD = "tensors saved on this thread"


def patches() -> Iterator[Patch]:
    """Yield the process-wide patches of this probe."""
    yield Patch(saved_tensors_hooks, "__enter__", _entering_pair)
    yield Patch(saved_tensors_hooks, "__exit__", _leaving_pair)
    yield Patch(_torch_graph.SAVED_TENSOR, "register_hooks", _registering_pair)
    if _torch_graph.CREATION_HOOK is not None:
        yield Patch(_torch_graph.CREATION_HOOK, "__enter__", _entering_creation_hook)
        yield Patch(_torch_graph.CREATION_HOOK, "__exit__", _leaving_creation_hook)


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
    pair = _torch_graph.top_pair()
    if pair is not None and not active() and isinstance(pair[0], StandIn):
        _torch_graph.replace_top_pair(user_hook(pair[0]), user_hook(pair[1]))


def _is_compiled(hook: Any) -> bool:
    """Whether a hook is a graph, which compiled code takes in whole."""
    return isinstance(hook, torch.fx.GraphModule)


# ------------------------------------------------------------------ pairs for all that is saved


@functools.cache
def _entering_pair(original: Callable[..., Any]) -> Any:
    return _torch_sites.with_given_arguments(original, _spied, "pack_hook", "unpack_hook")


def _spied(context: Any, attribute: str) -> Any:
    """Return what stands for the hook that a context manager is about to push."""
    hook = getattr(context, attribute)
    if not active() or _torch.is_compiling() or _is_compiled(hook):
        return hook
    kind, owner = _CONTEXTS[attribute]
    spy = _pushed[id(context), attribute] = StandIn(hook, kind, owner, sys._getframe(1))
    return spy


# The spy that stands for the hook in an attribute of an entered context manager, known by its id.
_pushed: weakref.WeakValueDictionary[tuple[int, str], StandIn] = weakref.WeakValueDictionary()


_CONTEXTS = {
    "pack_hook": ("pack", _THREAD),
    "unpack_hook": ("unpack", _THREAD),
    "hook": ("node_creation", "nodes created on this thread"),
}


@functools.cache
def _leaving_pair(original: Callable[..., Any]) -> Any:
    return _torch_sites.enclosed(original, begun=_top, done=_popped, failed=_not_popped)


def _top(context: Any, *arguments: Any) -> list[StandIn]:
    if not active():
        return []
    pair = _torch_graph.top_pair() or _taken(context, "pack_hook", "unpack_hook")
    return [spy for spy in pair if isinstance(spy, StandIn)]


def _taken(context: Any, *attributes: str) -> list[StandIn]:
    """Return the spies that a context manager pushed, which are its own no more."""
    spies = [_pushed.pop((id(context), attribute), None) for attribute in attributes]
    return [spy for spy in spies if spy is not None]


def _popped(spies: list[StandIn], result: Any) -> Any:
    for spy in spies:
        spy.taken_away()
    return result


def _not_popped(spies: list[StandIn], error: BaseException) -> None:
    """Record nothing: the hooks are still there."""


# ------------------------------------------------------------------ pairs for one saved tensor


def _registering_pair(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def register_hooks(self: Any, pack: Any, unpack: Any) -> None:
        if active() and not _torch.is_compiling() and not _is_compiled(pack):
            frame = sys._getframe(1)
            pack = StandIn(pack, "pack", "one saved tensor", frame)
            unpack = StandIn(unpack, "unpack", "one saved tensor", frame)
        original(self, pack, unpack)

    return register_hooks


# ------------------------------------------------------------------ nodes as they are created


@functools.cache
def _entering_creation_hook(original: Callable[..., Any]) -> Any:
    return _torch_sites.with_given_arguments(original, _spied, "hook")


@functools.cache
def _leaving_creation_hook(original: Callable[..., Any]) -> Any:
    return _torch_sites.enclosed(original, begun=_creation_spy, done=_popped, failed=_not_popped)


def _creation_spy(context: Any, *arguments: Any) -> list[StandIn]:
    return _taken(context, "hook")
