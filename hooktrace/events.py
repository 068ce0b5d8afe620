"""The kinds of events, in the past tense; and, for those who read them, the records in them."""

from __future__ import annotations

from typing import ClassVar

from hooktrace.modes import GRAD
from hooktrace.overwrites import GradientOverwritten
from hooktrace.records import (
    CallId,
    Change,
    Edit,
    Event,
    HookId,
    ModuleId,
    NodeId,
    Observation,
    StorageId,
    TensorId,
    TensorSummary,
    Value,
    format_numbers,
)
from hooktrace.steps import SchedulerStepped, StepFinished, StepStarted
from hooktrace.tables import (
    Member,
    OwnTensor,
    Registration,
    TracedHook,
    TracedModule,
    TracedNode,
    TracedTensor,
)

__all__ = [
    "BackwardFinished",
    "BackwardStarted",
    "CallId",
    "Change",
    "Edit",
    "Event",
    "ForwardFinished",
    "ForwardStarted",
    "GradientAccumulated",
    "GradientComputed",
    "GradientOverwritten",
    "GradientRetained",
    "HookFired",
    "HookId",
    "HookRegistered",
    "HookRemoved",
    "Member",
    "ModuleCalled",
    "ModuleExited",
    "ModuleId",
    "NodeId",
    "Observation",
    "OwnTensor",
    "ProbeFailed",
    "Registration",
    "SchedulerStepped",
    "StepFinished",
    "StepStarted",
    "StorageId",
    "TensorId",
    "TensorSummary",
    "TensorWritten",
    "TracedHook",
    "TracedModule",
    "TracedNode",
    "TracedTensor",
    "Value",
    "format_numbers",
]


class ModuleCalled(Event, frozen=True, gc=False, tag=True):
    """``module(...)`` began; forward_pre hooks come next.

    Attributes:
        mode: In which modes: a sum out of `hooktrace.modes`.
        line: Of an outermost call, ``file:line`` of the statement that it is in.
    """

    label: ClassVar[str] = "call"

    call: CallId
    module: ModuleId
    parent: CallId | None
    inputs: tuple[Observation, ...]
    mode: int = GRAD
    line: str | None = None


class ForwardStarted(Event, frozen=True, gc=False, tag=True):
    """``module.forward(...)`` began, with the arguments that the pre-hooks left.

    ``inputs`` is None where they are the very ones of `ModuleCalled`.
    """

    label: ClassVar[str] = "forward"

    call: CallId
    inputs: tuple[Observation, ...] | None


class ForwardFinished(Event, frozen=True, gc=False, tag=True):
    """``module.forward(...)`` returned; forward hooks come next."""

    label: ClassVar[str] = "forward done"

    call: CallId


class ModuleExited(Event, frozen=True, gc=False, tag=True):
    """``module(...)`` returned `outputs`, or raised `exception`.

    Attributes:
        container: Class of what it returned, such as ``dict``; empty for a tensor or a tuple.
    """

    label: ClassVar[str] = "exit"

    call: CallId
    outputs: tuple[Observation, ...]
    exception: str | None
    container: str = ""


class HookFired(Event, frozen=True, gc=False, tag=True):
    """A hook ran.  Appended when it has returned; `time_ns` is when it was called.

    Attributes:
        hook: Row of the hook.
        call: The module call it belongs to, if any.
        inputs: Its arguments as it found them.
        edits: What it changed; empty if nothing.
        duration_ns: How long it took.
        exception: What it raised, as ``Type: message``; None if it returned.
        returned: What it returned, where that is not a change of what it was given: what a pack
            hook stored, what a custom function's backward computed.
    """

    label: ClassVar[str] = "hook"

    hook: HookId
    call: CallId | None
    inputs: tuple[Observation, ...]
    edits: tuple[Edit, ...]
    duration_ns: int
    exception: str | None
    returned: tuple[Observation, ...] = ()


class HookRegistered(Event, frozen=True, gc=False, tag=True):
    """A hook was registered inside the block."""

    label: ClassVar[str] = "register"

    hook: HookId


class HookRemoved(Event, frozen=True, gc=False, tag=True):
    """A hook was removed inside the block."""

    label: ClassVar[str] = "remove"

    hook: HookId


class BackwardStarted(Event, frozen=True, gc=False, tag=True):
    """``backward()`` or ``autograd.grad()`` began.

    Attributes:
        backward: Its number within the trace.
        roots: The tensors it started from.
        accumulates: Whether it fills ``.grad`` (``autograd.grad`` does not).
        options: Those of ``retain_graph``, ``create_graph`` and ``inputs`` that it was given, and
            ``transform`` inside of a function transform such as ``torch.func.grad``.
        line: ``file:line`` of the statement that called it.
    """

    label: ClassVar[str] = "backward"

    backward: int
    roots: tuple[Observation, ...]
    accumulates: bool
    options: tuple[str, ...] = ()
    line: str | None = None


class BackwardFinished(Event, frozen=True, gc=False, tag=True):
    """``backward()`` or ``autograd.grad()`` returned, or raised `exception`."""

    label: ClassVar[str] = "backward done"

    backward: int
    exception: str | None


class GradientComputed(Event, frozen=True, gc=False, tag=True):
    """A gradient passed an edge of the graph.

    Attributes:
        call: The module call whose ``grad_output`` or ``grad_input`` it is; None for plain code.
        node: For plain code, the node that is about to receive it.
        gradient: Its role is ``grad_output[i]`` or ``grad_input[i]`` of the call, or ``grad``.
        tensor: The tensor whose gradient this is, where that is known.
        backward: Number of the backward run.
        note: What limits its meaning; empty for an exact gradient.
    """

    label: ClassVar[str] = "gradient"

    call: CallId | None
    node: NodeId | None
    gradient: Observation
    tensor: TensorId | None
    backward: int
    note: str


class GradientAccumulated(Event, frozen=True, gc=False, tag=True):
    """A leaf's ``.grad`` was filled or added to, before its post-accumulate hooks ran.

    Attributes:
        tensor: The leaf.
        arrived: The gradient after the leaf's tensor hooks; None for large ones, whose
            summary is that of `after`.
        before: ``.grad`` as it was; None if there was none.
        after: ``.grad`` as it is now.
        backward: Number of the backward run.
    """

    label: ClassVar[str] = "accumulate"

    tensor: TensorId
    arrived: Observation | None
    before: Observation | None
    after: Observation
    backward: int


class GradientRetained(Event, frozen=True, gc=False, tag=True):
    """A non-leaf's ``.grad`` was filled because of ``retain_grad()``."""

    label: ClassVar[str] = "retain"

    tensor: TensorId
    gradient: Observation
    backward: int


class TensorWritten(Event, frozen=True, gc=False, tag=True):
    """A tensor was seen at a higher version than last time: something wrote to it in place.

    Attributes:
        before: The value last seen.
        after: The value found now.
        call: Innermost module call open since; None outside of all calls.
        hook: The hook that wrote; None if it was not a hook.
        certain: False where the write may have gone to a sibling view that shares the counter.
        line: ``file:line`` of the statement that was running when it was noticed: it wrote itself,
            or one before it did; None for hooks and for steps of optimizers.
    """

    label: ClassVar[str] = "write"

    before: Value
    after: Value
    call: CallId | None
    hook: HookId | None
    certain: bool
    line: str | None = None


class ProbeFailed(Event, frozen=True, gc=False, tag=True):
    """hooktrace itself failed at `probe`; the traced program was not disturbed."""

    label: ClassVar[str] = "probe failed"

    probe: str
    traceback: str
