"""Module calls as they begin and end."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hooktrace import _torch
from hooktrace.events import CallId, ModuleCalled, ModuleExited, ModuleId, Observation, Value
from hooktrace.firing import Firing, describe_error
from hooktrace.identity import arguments, leaves
from hooktrace.recorder import Open, Recorder

__all__ = ["OpenCall", "close_call", "fail_call", "open_call"]


class OpenCall(Open):
    """A module call that has begun and not ended.

    Attributes:
        target: The module, as long as the call lasts.
        parent: The call around it.
        arguments: Pairs (role, argument) of the leaves of its arguments.
        kept: Of an outermost call: the kept outputs, alive until it ends, so that it can be
            seen whether they were overwritten.
        first_sequence, edges, frontier: For the gradients probe.
    """

    __slots__ = (
        "arguments",
        "edges",
        "first_sequence",
        "frontier",
        "inputs",
        "kept",
        "number",
        "parent",
        "target",
    )

    def __init__(
        self,
        call: CallId,
        number: ModuleId,
        target: nn.Module,
        parent: OpenCall | None,
        pairs: list[tuple[str, Any]],
        inputs: tuple[Observation, ...],
    ) -> None:
        super().__init__(call, number, None)
        self.number = call
        self.target = target
        self.parent = parent
        self.arguments = pairs
        self.inputs = inputs
        self.kept: list[tuple[CallId, str, torch.Tensor, Value]] = []
        self.first_sequence = 0
        self.edges: dict[Any, list[Any]] = {}
        self.frontier: dict[int, Any] = {}


def open_call(
    recorder: Recorder, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> OpenCall | None:
    """Record that a module is called, if it belongs to the trace."""
    try:
        stack = recorder.state().stack
        parent = innermost_call(stack)
        number = recorder.scope.find(module, parent.module if parent is not None else None)
        if number is None:
            return None
        pairs = arguments(args, kwargs)
        inputs = recorder.observe_leaves(pairs)
        call = CallId(next(recorder.calls))
        opened = OpenCall(call, number, module, parent, pairs, inputs)
        recorder.emit(
            ModuleCalled, call, number, parent.number if parent is not None else None, inputs
        )
        stack.append(opened)
        if number in recorder.log.kept:
            recorder.kept_calls.add(call)
        for listener in recorder.on_open:
            listener(opened)
        return opened
    except Exception:
        recorder.failed("the beginning of a module call")
        return None


def close_call(recorder: Recorder, call: OpenCall, result: Any) -> None:
    """Record that a module returned."""
    try:
        pairs = list(leaves(result, "output"))
        outputs = recorder.observe_leaves(pairs)
        recheck(recorder, call)
        recorder.emit(ModuleExited, call.number, outputs, None)
        if call.number in recorder.kept_calls:
            _keep(recorder, call, pairs, outputs)
        for listener in recorder.on_close:
            listener(call, pairs, outputs)
        if call.parent is None:
            _close_root(recorder, call)
    except Exception:
        recorder.failed("the end of a module call")
    finally:
        recorder.state().leave(call)


def fail_call(recorder: Recorder, call: OpenCall, error: BaseException) -> None:
    """Record that a module raised."""
    try:
        settle_firing(recorder, call.target, error)
        recheck(recorder, call)
        recorder.emit(ModuleExited, call.number, (), describe_error(error))
        if call.parent is None:
            _close_root(recorder, call)
    except Exception:
        recorder.failed("a module call that raised")
    finally:
        recorder.state().leave(call)


def innermost_call(stack: list[Any]) -> OpenCall | None:
    """Return the innermost module call that is open."""
    for one in reversed(stack):
        if isinstance(one, OpenCall):
            return one
    return None


def settle_firing(recorder: Recorder, module: nn.Module, error: BaseException | None) -> None:
    """Record a forward hook of `module` that was called and has not returned: it raised."""
    stack = recorder.state().stack
    if stack and isinstance(stack[-1], Firing) and stack[-1].site is module:
        stack[-1].raised(error)


def recheck(recorder: Recorder, call: OpenCall) -> None:
    """Notice what was written into the arguments of `call` while it is still the innermost."""
    for _, argument in call.arguments:
        if isinstance(argument, torch.Tensor):
            seen, _ = recorder.identities.seen(argument)
            recorder.check(argument, seen)


def _keep(
    recorder: Recorder,
    call: OpenCall,
    pairs: list[tuple[str, Any]],
    outputs: tuple[Observation, ...],
) -> None:
    root = call
    while root.parent is not None:
        root = root.parent
    for (role, tensor), observation in zip(pairs, outputs, strict=True):
        if observation.value is None:
            continue
        recorder.keep(observation.value, tensor)
        root.kept.append((call.number, role, tensor, observation.value))
        if tensor.grad_fn is not None:
            recorder.log.edges[call.number, role] = torch.autograd.graph.get_gradient_edge(tensor)


def _close_root(recorder: Recorder, call: OpenCall) -> None:
    """At the end of the outermost call: who wrote to what, and is what was kept still there?"""
    state = recorder.state()
    recorder.check_alive(state.recent)
    state.recent.clear()
    for number, role, tensor, value in call.kept:
        kept = recorder.log.snapshots.get(value)
        if kept is not None and not _torch.same_content(kept, tensor):
            recorder.log.overwritten[number, role] = _torch.content_copy(tensor)
