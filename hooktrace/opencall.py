"""Module calls as they begin and end."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from hooktrace import _torch, _torch_hooks, parameters
from hooktrace._torch import version_of
from hooktrace.events import (
    CallId,
    Event,
    ForwardFinished,
    ForwardStarted,
    ModuleCalled,
    ModuleExited,
    ModuleId,
    Observation,
    TensorWritten,
    Value,
)
from hooktrace.firing import Firing, describe_error
from hooktrace.hooktable import calling_line
from hooktrace.identity import Seen, arguments, leaves, text_of
from hooktrace.modes import GRAD, INFERENCE, TRAINING
from hooktrace.recorder import Recorder
from hooktrace.results import describe
from hooktrace.spans import Span
from hooktrace.threadstate import Open, ThreadState
from hooktrace.writes import check_alive, check_models

__all__ = ["Leaf", "OpenCall", "close_call", "fail_call", "innermost_call", "open_call"]

Leaf = tuple[Any, Seen | None]
"""A leaf of arguments or results, and for a tensor what is remembered of it."""


class OpenCall(Open):
    """A module call that has begun and not ended.

    Attributes:
        number: The call.
        target: The module, as long as the call lasts.
        parent: The call around it.
        plain: Whether no hook is registered on it: then forward is the whole call.
        arguments: The leaves of its arguments.
        inputs: The sightings of them.
        kept: Of an outermost call: the kept outputs, alive until it ends, so that it can be
            seen whether they were overwritten.
        span: Of the gradients probe: the autograd nodes of this call.
    """

    __slots__ = ("arguments", "inputs", "kept", "number", "parent", "plain", "span", "target")

    number: CallId
    target: nn.Module
    parent: OpenCall | None
    plain: bool
    arguments: list[Leaf]
    inputs: tuple[Observation, ...]
    kept: list[tuple[CallId, str, torch.Tensor, Value]] | None
    span: Span | None

    def __init__(
        self, number: CallId, row: ModuleId, module: nn.Module, parent: OpenCall | None
    ) -> None:
        self.number = self.call = number
        self.module = row
        self.target = module
        self.parent = parent
        self.plain = not _torch_hooks.module_has_hooks(module)
        self.hook = self.kept = self.span = None


def look(
    recorder: Recorder, state: ThreadState, pairs: list[tuple[str, Any]]
) -> tuple[list[Leaf], tuple[Observation, ...]]:
    """Describe leaves, and remember what is known of those that are tensors."""
    found: list[Leaf] = []
    seen = []
    for role, thing in pairs:
        if isinstance(thing, torch.Tensor):
            observation, entry = recorder.sight(state, thing, role)
            found.append((thing, entry))
            seen.append(observation)
        else:
            found.append((thing, None))
            seen.append(Observation(role, None, text_of(thing)))
    return found, tuple(seen)


def open_call(
    recorder: Recorder, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> OpenCall | None:
    """Record that a module is called, if it belongs to the trace."""
    try:
        state = recorder.state()
        stack = state.stack
        parent = innermost_call(stack) if stack else None
        if parent is None:
            check_models(recorder)
            module_id, around = recorder.scope.find(module, None), None
            if recorder.scope.met:
                recorder.scope.met = False
                parameters.watch(recorder)
                recorder.hooks.rename_owners()
            if recorder.on_step is not None and module_id is not None:
                if not recorder.on_step(module_id):
                    return None
        else:
            module_id, around = recorder.scope.find(module, parent.module), parent.number
        if module_id is None:
            return None
        number: Any = next(recorder.calls)
        call = OpenCall(number, module_id, module, parent)
        if parent is None:
            recorder.called = True
            if recorder.statistics is not None:
                recorder.statistics.take_parameters(number, recorder.scope, recorder.identities)
        if len(args) == 1 and not kwargs and isinstance(args[0], torch.Tensor):
            seen, entry = recorder.sight(state, args[0], "args[0]")
            call.arguments, call.inputs = [(args[0], entry)], (seen,)
        else:
            call.arguments, call.inputs = look(recorder, state, arguments(args, kwargs))
        kind = _begun if call.plain else ModuleCalled
        now = recorder.clock()
        line = calling_line(sys._getframe(1)) if parent is None else None
        fields = now, state.number, number, module_id, around, call.inputs, mode_of(module), line
        recorder.write((kind, fields))
        stack.append(call)
        if module_id in recorder.log.kept:
            recorder.kept_calls.add(number)
        for listener in recorder.on_open:
            listener(call, state)
        return call
    except Exception:
        recorder.failed("the beginning of a module call")
        return None


def mode_of(module: nn.Module) -> int:
    """Return the modes in which `module` is about to be called, as they are recorded."""
    return (
        (GRAD if torch.is_grad_enabled() else 0)
        + (INFERENCE if torch.is_inference_mode_enabled() else 0)
        + (TRAINING if module.training else 0)
    )


def close_call(recorder: Recorder, call: OpenCall, result: Any) -> None:
    """Record that a module returned."""
    state = recorder.state()
    try:
        if isinstance(result, torch.Tensor):
            seen, entry = recorder.sight(state, result, "output")
            found: list[Leaf] = [(result, entry)]
            outputs: tuple[Observation, ...] = (seen,)
            container = ""
        else:
            container = "" if type(result) is tuple else type(result).__name__
            found, outputs = look(recorder, state, list(leaves(result, "output")))
        _recheck(recorder, state, call)
        kind = _ended if call.plain else ModuleExited
        now = recorder.clock()
        recorder.write((kind, (now, state.number, call.number, outputs, None, container)))
        if call.number in recorder.kept_calls:
            _keep(recorder, call, found, outputs)
        for listener in recorder.on_close:
            listener(call, state, found)
        if call.parent is None:
            if call.kept:
                if call.number not in recorder.kept_calls:
                    _keep_values(recorder, call, found, outputs)
                recorder.log.results[call.number] = describe(result)
            _close_root(recorder, state, call)
    except Exception:
        recorder.failed("the end of a module call")
    finally:
        state.leave(call)


def fail_call(recorder: Recorder, call: OpenCall, error: BaseException) -> None:
    """Record that a module raised."""
    state = recorder.state()
    try:
        settle_firing(recorder, call.target, error)
        _recheck(recorder, state, call)
        recorder.emit(ModuleExited, call.number, (), describe_error(error))
        for listener in recorder.on_close:
            listener(call, state, [])
        if call.parent is None:
            _close_root(recorder, state, call)
    except Exception:
        recorder.failed("a module call that raised")
    finally:
        state.leave(call)


def _begun(seq: int, time_ns: int, thread: int, call: CallId, *fields: Any) -> tuple[Event, Event]:
    """Make the events of a call without hooks: forward begins with it."""
    return (
        ModuleCalled(seq, time_ns, thread, call, *fields),
        ForwardStarted(seq + 1, time_ns, thread, call, None),
    )


def _ended(seq: int, time_ns: int, thread: int, call: CallId, *fields: Any) -> tuple[Event, Event]:
    """Make the events of a call without hooks: it ends with forward."""
    return (
        ForwardFinished(seq, time_ns, thread, call),
        ModuleExited(seq + 1, time_ns, thread, call, *fields),
    )


def innermost_call(stack: list[Any]) -> OpenCall | None:
    """Return the innermost module call that is open."""
    for one in reversed(stack):
        if type(one) is OpenCall:
            return one
    return None


def settle_firing(recorder: Recorder, module: nn.Module, error: BaseException | None) -> None:
    """Record a forward hook of `module` that was called and has not returned: it raised."""
    stack = recorder.state().stack
    if stack and isinstance(stack[-1], Firing) and stack[-1].site is module:
        stack[-1].raised(error)


def _recheck(recorder: Recorder, state: ThreadState, call: OpenCall) -> None:
    """Notice what was written into the arguments of `call` while it is still the innermost."""
    for argument, seen in call.arguments:
        if seen is not None:
            if version_of(argument) != seen.value.version:
                recorder.check(state, argument, seen)


def _keep(
    recorder: Recorder, call: OpenCall, found: list[Leaf], outputs: tuple[Observation, ...]
) -> None:
    root = call
    while root.parent is not None:
        root = root.parent
    if root.kept is None:
        root.kept = []
    _keep_values(recorder, call, found, outputs)
    for (tensor, seen), observation in zip(found, outputs, strict=True):
        if seen is not None:
            root.kept.append((call.number, observation.role, tensor, seen.value))


def _keep_values(
    recorder: Recorder, call: OpenCall, found: list[Leaf], outputs: tuple[Observation, ...]
) -> None:
    """Keep a copy and the gradient edge of every output."""
    for (tensor, seen), observation in zip(found, outputs, strict=True):
        if seen is None:
            continue
        role = observation.role
        recorder.keep(seen.value, tensor)
        if tensor.grad_fn is not None:
            recorder.log.edges[call.number, role] = torch.autograd.graph.get_gradient_edge(tensor)


def _close_root(recorder: Recorder, state: ThreadState, call: OpenCall) -> None:
    """At the end of the outermost call: who wrote to what, and is what was kept still there?"""
    check_alive(recorder, state, state.recent)
    check_models(recorder)
    recorder.holdings.check()
    state.recent.clear()
    for number, role, tensor, value in call.kept or ():
        kept = recorder.log.snapshots.get(value)
        if kept is not None and not _torch.same_content(kept, tensor):
            recorder.log.overwritten[number, role] = _torch.content_copy(tensor)
            if _torch.version_of(tensor) == value.version:
                past = Value(value.tensor, None)
                recorder.emit(TensorWritten, value, past, call.number, None, True)
