"""Registrations and removals of hooks: every ``register_*`` makes a ``RemovableHandle``.

The handle is made before the dictionary is filled, so the function is read from the frame of
the registering function, which is on the stack at that moment.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch

from hooktrace import _torch, _torch_hooks, parameters
from hooktrace.events import HookId, HookRegistered, HookRemoved
from hooktrace.hooktable import calling_line
from hooktrace.patches import Patch, active
from hooktrace.recorder import Recorder
from hooktrace.spiedhooks import stored
from hooktrace.spies import user_hook
from hooktrace.walk import node_row

__all__ = ["begin", "patches"]


def patches() -> Iterator[Patch]:
    """Yield the process-wide patches of this probe."""
    yield Patch(_torch_hooks.HANDLE, "__init__", _sensing_init)
    yield Patch(_torch_hooks.HANDLE, "remove", _sensing_remove)
    yield Patch(torch.utils, "swap_tensors", _releasing_swap)


def begin(recorder: Recorder) -> None:
    """Make rows for the hooks that the models' parameters have already."""
    parameters.watch(recorder)
    recorder.on_backward_start.append(functools.partial(_views_checked, recorder))


def _views_checked(recorder: Recorder, *run: Any) -> list[torch.Tensor]:
    """Find out, before a backward run, which views with hooks were written to."""
    recorder.hooks.facts.check_views()
    return []


def _sensing_init(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __init__(self: Any, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        hooks_dict = stored(hooks_dict)
        original(self, hooks_dict, extra_dict=extra_dict)
        if active() and not _torch.is_compiling():
            _registered(self, hooks_dict, sys._getframe(1))

    return __init__


@_torch.unseen
def _registered(handle: Any, hooks: Any, frame: FrameType) -> None:
    found = _torch_hooks.registration(frame)
    if found is None:
        return
    kind, owner, function, options = found
    line = calling_line(frame)
    for recorder in active():
        try:
            if not recorder.hooks.concerns(owner):
                continue
            known = len(recorder.log.hooks)
            row = recorder.hooks.add(
                kind, handle.id, function, owner, registered_at=line, options=options
            )
            recorder.hooks.facts.registered(row, handle, hooks)
            if isinstance(owner, torch.nn.Module) and recorder.log.hooks[row].module is None:
                recorder.hooks.facts.on_stranger(row, owner)
            if kind == "tensor" and recorder.log.hooks[row].kind == kind:
                _note_node(recorder, row, owner, hooks)
            if kind == "node" or isinstance(owner, torch.Tensor):
                recorder.hooks.watch(kind, hooks)
            if kind == "node":
                recorder.hooks.unplaced.add(row)
            if row >= known or recorder.log.hooks[row].kind != "multi_grad":
                recorder.emit(HookRegistered, row)
        except Exception:
            recorder.failed("the registration of a hook")


def _note_node(recorder: Recorder, row: HookId, tensor: torch.Tensor, hooks: Any) -> None:
    """Note which node has made a tensor that gets a hook."""
    if hooks and _torch.is_view(tensor):
        return  # a view that was written to would get another node by being asked
    node = tensor.grad_fn
    if node is not None:
        seen = recorder.identities.seen(tensor)
        facts = recorder.hooks.facts
        facts.on_tensor(row, node_row(recorder, node), seen, _torch.version_of(tensor))


def _releasing_swap(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let go of two tensors before they are swapped: PyTorch refuses beside weak references."""

    @functools.wraps(original)
    def swap_tensors(t1: Any, t2: Any) -> None:
        for recorder in active():
            recorder.identities.release(t1)
            recorder.identities.release(t2)
        original(t1, t2)

    return swap_tensors


def _sensing_remove(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def remove(self: Any) -> None:
        hooks = self.hooks_dict_ref() if active() else None
        function = _torch_hooks.registered(user_hook(hooks.get(self.id))) if hooks else None
        original(self)
        if function is None or _torch.is_compiling():
            return
        for recorder in active():
            try:
                row = recorder.hooks.find_any(self.id, function)
                if row is not None and recorder.hooks.removed(row):
                    recorder.emit(HookRemoved, row)
            except Exception:
                recorder.failed("the removal of a hook")

    return remove
