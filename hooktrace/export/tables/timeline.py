"""Rows of what happened, in order: events, calls, backward runs, steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hooktrace.events import (
    BackwardFinished,
    BackwardStarted,
    Observation,
    StepFinished,
    StepStarted,
    TensorSummary,
)
from hooktrace.export.rows import named_tensor, table
from hooktrace.log import EventLog
from hooktrace.modes import Mode
from hooktrace.render.listing import told
from hooktrace.views.calls import Call, CallIndex


class EventRow(NamedTuple):
    """One event of the timeline, of whatever kind."""

    seq: int
    time_ns: int
    thread: int
    kind: str
    event: str
    call: str | None
    module: str | None
    type: str | None
    hook: int | None
    hook_kind: str | None
    hook_name: str | None
    owner: str | None
    tensor: str | None
    backward: int | None
    duration_ns: int | None
    exception: str | None
    text: str


@table("events", EventRow)
def events(log: EventLog, calls: CallIndex) -> Iterator[EventRow]:
    """Yield the rows."""
    for event in log.events:
        call = calls.calls.get(getattr(event, "call", None))  # type: ignore[arg-type]
        number = getattr(event, "hook", None)
        hook = None if number is None else log.hooks[number]
        yield EventRow(
            seq=event.seq,
            time_ns=event.time_ns,
            thread=event.thread,
            kind=event.label,
            event=type(event).__name__,
            call=None if call is None else str(call),
            module=None if call is None else call.module.name,
            type=None if call is None else call.module.type,
            hook=number,
            hook_kind=None if hook is None else hook.kind,
            hook_name=None if hook is None else hook.name,
            owner=None if hook is None else hook.owner,
            tensor=named_tensor(log, getattr(event, "tensor", None)),
            backward=getattr(event, "backward", None),
            duration_ns=getattr(event, "duration_ns", None),
            exception=getattr(event, "exception", None),
            text=told(log, event, call),
        )


class CallRow(NamedTuple):
    """One call of a module."""

    call: str
    seq: int
    name: str
    number: int
    type: str
    config: str
    parent: str | None
    depth: int
    step: str
    thread: int
    time_ns: int
    duration_ns: int | None
    inputs: str
    outputs: str
    parameters: int
    hooks: int
    training: bool
    grad: bool
    backwards: int
    recomputed: bool
    line: str | None
    exception: str | None


@table("calls", CallRow)
def calls_(log: EventLog, calls: CallIndex) -> Iterator[CallRow]:
    """Yield the rows."""
    for call in calls:
        mode = Mode.of(call.called.mode)
        yield CallRow(
            call=str(call),
            seq=call.called.seq,
            name=call.module.name,
            number=call.index,
            type=call.module.type,
            config=call.module.config,
            parent=None if call.parent is None else str(call.parent),
            depth=call.depth,
            step=str(call.root),
            thread=call.called.thread,
            time_ns=call.called.time_ns,
            duration_ns=call.duration_ns,
            inputs=_shapes(call.seen_inputs),
            outputs=_shapes(call.seen_outputs),
            parameters=call.module.parameters,
            hooks=len(call.hooks),
            training=mode.training,
            grad=mode.grad,
            backwards=len(_runs(call)),
            recomputed=call.recomputed,
            line=call.called.line,
            exception=call.exception,
        )


class BackwardRow(NamedTuple):
    """One run of the backward engine."""

    backward: int
    seq: int
    thread: int
    time_ns: int
    duration_ns: int | None
    roots: str
    accumulates: bool
    options: str
    line: str | None
    exception: str | None


@table("backwards", BackwardRow)
def backwards(log: EventLog, calls: CallIndex) -> Iterator[BackwardRow]:
    """Yield the rows."""
    ends = {one.backward: one for one in log.of(BackwardFinished)}
    for start in log.of(BackwardStarted):
        end = ends.get(start.backward)
        yield BackwardRow(
            backward=start.backward,
            seq=start.seq,
            thread=start.thread,
            time_ns=start.time_ns,
            duration_ns=None if end is None else end.time_ns - start.time_ns,
            roots=_shapes(start.roots),
            accumulates=start.accumulates,
            options=", ".join(start.options),
            line=start.line,
            exception=None if end is None else end.exception,
        )


class StepRow(NamedTuple):
    """One step of an optimizer."""

    step: int
    seq: int
    optimizer: str
    thread: int
    time_ns: int
    duration_ns: int | None
    written: int | None
    line: str | None
    exception: str | None


@table("steps", StepRow)
def steps(log: EventLog, calls: CallIndex) -> Iterator[StepRow]:
    """Yield the rows."""
    ends = {(one.optimizer, one.step): one for one in log.of(StepFinished)}
    for start in log.of(StepStarted):
        end = ends.get((start.optimizer, start.step))
        yield StepRow(
            step=start.step,
            seq=start.seq,
            optimizer=start.optimizer,
            thread=start.thread,
            time_ns=start.time_ns,
            duration_ns=None if end is None else end.time_ns - start.time_ns,
            written=None if end is None else len(end.written),
            line=start.line,
            exception=None if end is None else end.exception,
        )


def _runs(call: Call) -> set[int]:
    """Return the numbers of the backward runs that reached a call, or a repetition of it."""
    return {one.backward for its in (call, *call.recomputations) for one in its.gradients}


def _shapes(seen: tuple[Observation, ...]) -> str:
    return ", ".join(
        one.summary.dimensions if isinstance(one.summary, TensorSummary) else one.summary
        for one in seen
    )
