"""The user's hooks on modules, seen at the place where PyTorch reads its dictionaries.

Nothing is put into the dictionaries and nothing in them is replaced: ``prune``, ``weight_norm``
and ``spectral_norm`` look there for their own objects, and pickling or deepcopying a module
carries them off.  Forward hooks are called by PyTorch's own frame in an instrumented
``_call_impl``; backward hooks are lists that PyTorch copies at forward time, and those copies
get spies.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from hooktrace import _torch, _torch_hooks, _torch_sites
from hooktrace.events import ForwardFinished, ForwardStarted, HookId
from hooktrace.firing import Firing
from hooktrace.identity import arguments, leaves
from hooktrace.opencall import OpenCall, innermost_call, settle_firing
from hooktrace.patches import Patch, active
from hooktrace.recorder import Recorder
from hooktrace.spies import Spy, user_hook
from hooktrace.threadstate import Open

__all__ = ["begin", "finish", "patches"]


def patches() -> Iterator[Patch]:
    """Yield the process-wide patches of this probe."""
    yield Patch(nn.Module, "_call_impl", _instrumented)
    yield Patch(nn.Module, "_get_backward_hooks", _spied_backward_hooks)
    yield Patch(nn.Module, "_get_backward_pre_hooks", _spied_backward_pre_hooks)


def begin(recorder: Recorder) -> None:
    """Make rows for the hooks that are there already."""
    for kind, hooks in _torch_hooks.global_hooks().items():
        for number, function in hooks.items():
            options = _torch_hooks.hook_options(None, kind, number)
            recorder.hooks.add(kind, number, function, None, options=options)
    for _, module in recorder.scope.modules():
        if _torch_hooks.module_has_own_hooks(module):
            for kind, hooks in _torch_hooks.own_hooks(module).items():
                for number, function in hooks.items():
                    options = _torch_hooks.hook_options(module, kind, number)
                    recorder.hooks.add(kind, number, function, module, options=options)


def finish(recorder: Recorder) -> None:
    """Take the spies out of the lists that the graph still holds."""
    if len(active()) == 0:
        while _spied:
            hooks = _spied.pop()()
            if hooks is not None:
                hooks[:] = map(user_hook, hooks)


# ------------------------------------------------------------------ forward hooks


@functools.cache  # deriving it takes some 30 ms
def _instrumented(original: Callable[..., Any]) -> Callable[..., Any]:
    return _torch_sites.instrumented_call_impl(  # type: ignore[no-any-return]
        original,
        hook_called=_hook_called,
        hook_returned=_hook_returned,
        forward_called=_forward_called,
        forward_returned=_forward_returned,
    )


def _known(recorder: Recorder, kind: str, number: int, hook: Any, module: nn.Module) -> Any:
    """Return the row of a hook of `module`, or None if the module is no part of the trace."""
    row = recorder.hooks.find(kind, number, hook, module)
    if row is None and recorder.scope.known(module) is not None:
        owner = module if number in _torch_hooks.own_hooks(module)[kind] else None
        options = _torch_hooks.hook_options(owner, kind, number)
        row = recorder.hooks.add(kind, number, hook, owner, options=options)
    return row


@_torch.unseen
def _hook_called(
    number: int,
    hook: Any,
    module: nn.Module,
    args: Any,
    kwargs: dict[str, Any] | None = None,
    **result: Any,
) -> list[tuple[Firing, str]]:
    kind, role = ("forward", "output") if result else ("forward_pre", "args")
    if kind == "forward_pre" and kwargs is not None:
        role = "args, kwargs"
    firings = []
    for recorder in active():
        try:
            settle_firing(recorder, module, sys.exc_info()[1])
            row = _known(recorder, kind, number, hook, module)
            stack = recorder.state().stack
            if row is None or not stack or getattr(stack[-1], "target", None) is not module:
                continue
            seen = arguments(args, kwargs or {})
            if result:
                seen += leaves(result["result"], "output")
            firing = Firing(recorder, row, seen, function=hook, owner=module)
            firing.site = module
            firing.trees = [("kwargs", kwargs)] if kwargs else []
            firing.trees += [("output", one) for one in result.values() if not _is_tensor(one)]
            firings.append((firing, role))
        except Exception:
            recorder.failed(f"a {kind} hook")
    return firings


def _is_tensor(thing: Any) -> bool:
    return isinstance(thing, torch.Tensor)


@_torch.unseen
def _hook_returned(firings: list[tuple[Firing, str]], result: Any) -> Any:
    for firing, role in reversed(firings):
        try:
            if role == "args" and result is not None and not isinstance(result, tuple):
                firing.returned((result,), role)
            elif role == "args, kwargs":
                pair = result if isinstance(result, tuple) and len(result) == 2 else (None, None)
                firing.returned_pair(*pair)
            else:
                firing.returned(result, role)
        except Exception:
            firing.abandon()
            firing.recorder.failed("what a forward hook did")
    return result


@_torch.unseen
def _forward_called(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> list[Any]:
    """Note that forward begins; only in calls with hooks, for it is the whole call otherwise."""
    started = []
    for recorder in active():
        try:
            stack = recorder.state().stack
            call = stack[-1] if stack else None
            if isinstance(call, OpenCall) and call.target is module:
                state = recorder.state()
                got = recorder.observe_leaves(state, arguments(args, kwargs))
                same = [one.value for one in got] == [one.value for one in call.inputs]
                recorder.emit(ForwardStarted, call.number, None if same else got)
                started.append((recorder, call.number))
        except Exception:
            recorder.failed("the beginning of forward")
    return started


def _forward_returned(started: list[Any], result: Any) -> Any:
    for recorder, call in started:
        recorder.emit(ForwardFinished, call)
    return result


# ------------------------------------------------------------------ backward hooks


class _HookList(list[Any]):
    """A list that can be found again, weakly, to take the spies out."""

    __slots__ = ("__weakref__",)


_spied: list[weakref.ref[_HookList]] = []


_Row = tuple[weakref.ref[Recorder], HookId, Open | None]
"""Who listens, the hook's row in its log, and the module call whose hooks were collected."""


class _BackwardSpy(Spy):
    """Stands for a backward hook in the list that one forward call handed to autograd.

    It is called as ``hook(module, grad_input, grad_output)``, or for a pre hook as
    ``hook(module, grad_output)``.
    """

    __slots__ = ("rows",)

    def __init__(self, hook: Any, kind: str, rows: list[_Row]) -> None:
        super().__init__(hook, kind)
        self.rows = rows

    @_torch.unseen
    def called(self, arguments: tuple[Any, ...]) -> list[Any]:
        """Begin a firing for every trace that listens."""
        roles = ("grad_output", "grad_input")  # so that an edit goes to grad_input if it is both
        firings = []
        for ref, row, around in self.rows:
            recorder = ref()
            if recorder is None or recorder not in active():
                continue
            try:
                seen = [
                    pair
                    for role, gradient in zip(roles, reversed(arguments[1:]), strict=False)
                    for pair in leaves(gradient, role)
                ]
                firing = Firing(recorder, row, seen, around, function=self.hook, owner=arguments[0])
                firings.append(firing)
            except Exception:
                recorder.failed(f"a {self.kind} hook")
        return firings

    @_torch.unseen
    def returned(self, firings: list[Any], result: Any, arguments: tuple[Any, ...]) -> None:
        """End the firings."""
        role = "grad_output" if self.kind == "full_backward_pre" else "grad_input"
        for firing in reversed(firings):
            try:
                firing.returned(result, role)
            except Exception:
                firing.abandon()
                firing.recorder.failed(f"what a {self.kind} hook did")


def _with_spies(module: nn.Module, hooks: list[Any], kind: str) -> list[Any]:
    """Return the list with spies in it; PyTorch made it of the global hooks and the module's."""
    dictionaries = (_torch_hooks.global_hooks().get(kind, {}), _torch_hooks.own_hooks(module)[kind])
    numbered = [pair for dictionary in dictionaries for pair in dictionary.items()]
    if [function for _, function in numbered] != hooks:
        return hooks
    spied = _HookList(
        _BackwardSpy(hook, kind, rows) if (rows := _rows(module, kind, number, hook)) else hook
        for number, hook in numbered
    )
    _spied.append(weakref.ref(spied))
    return spied


def _rows(module: nn.Module, kind: str, number: int, hook: Any) -> list[_Row]:
    rows: list[_Row] = []
    for recorder in active():
        row = _known(recorder, kind, number, hook, module)
        if row is not None:
            call = innermost_call(recorder.state().stack)
            around = Open(call.number, call.module, None) if call is not None else None
            rows.append((weakref.ref(recorder), row, around))
    return rows


def _spied_backward_hooks(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _get_backward_hooks(self: nn.Module) -> Any:
        full, legacy = original(self)
        if not active() or _torch.is_compiling():
            return full, legacy
        return (
            _with_spies(self, full, "full_backward") if full else full,
            _with_spies(self, legacy, "backward") if legacy else legacy,
        )

    return _get_backward_hooks


def _spied_backward_pre_hooks(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _get_backward_pre_hooks(self: nn.Module) -> Any:
        hooks = original(self)
        if not hooks or not active() or _torch.is_compiling():
            return hooks
        return _with_spies(self, hooks, "full_backward_pre")

    return _get_backward_pre_hooks
