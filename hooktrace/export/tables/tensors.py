"""Rows of tensors and modules: gradients, statistics, modules, tensors, autograd nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hooktrace.events import (
    Event,
    ForwardStarted,
    GradientAccumulated,
    GradientComputed,
    GradientRetained,
    HookFired,
    ModuleCalled,
    ModuleExited,
    Observation,
)
from hooktrace.export.rows import named_tensor, shape_of, statistics_of, table
from hooktrace.log import EventLog
from hooktrace.views.calls import Call, CallIndex

_Arrival = GradientComputed | GradientAccumulated | GradientRetained


class GradientRow(NamedTuple):
    """One gradient that passed a call or a node, or that was added to a ``.grad``."""

    seq: int
    time_ns: int
    thread: int
    kind: str
    backward: int
    call: str | None
    module: str | None
    node: str | None
    tensor: str | None
    role: str
    value: str | None
    shape: str | None
    elements: int | None
    dtype: str | None
    device: str | None
    numbers: str | None
    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    norm: float | None
    nan: int | None
    inf: int | None
    zeros: int | None
    note: str


@table("gradients", GradientRow)
def gradients(log: EventLog, calls: CallIndex) -> Iterator[GradientRow]:
    """Yield the rows."""
    arrivals: list[_Arrival] = [
        *log.of(GradientComputed),
        *log.of(GradientAccumulated),
        *log.of(GradientRetained),
    ]
    for event in sorted(arrivals, key=lambda one: one.seq):
        seen = event.after if isinstance(event, GradientAccumulated) else event.gradient
        call = calls.calls.get(getattr(event, "call", None))  # type: ignore[arg-type]
        node = getattr(event, "node", None)
        yield GradientRow(
            seq=event.seq,
            time_ns=event.time_ns,
            thread=event.thread,
            kind=event.label,
            backward=event.backward,
            call=None if call is None else str(call),
            module=None if call is None else call.module.name,
            node=None if node is None else log.nodes[node].name,
            tensor=named_tensor(log, event.tensor),
            role="grad" if isinstance(event, GradientAccumulated) else seen.role,
            **shape_of(seen),
            **statistics_of(log.stats.of(seen)),
            note=getattr(event, "note", ""),
        )


class StatisticsRow(NamedTuple):
    """One sighting of a tensor of which statistics were taken."""

    seq: int
    time_ns: int
    kind: str
    call: str | None
    module: str | None
    tensor: str | None
    role: str
    value: str | None
    shape: str | None
    elements: int | None
    dtype: str | None
    device: str | None
    numbers: str | None
    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    norm: float | None
    nan: int | None
    inf: int | None
    zeros: int | None
    channels: int | None
    dead_channels: int | None


@table("statistics", StatisticsRow)
def statistics(log: EventLog, calls: CallIndex) -> Iterator[StatisticsRow]:
    """Yield the rows."""
    for event in log.events:
        call = calls.calls.get(getattr(event, "call", None))  # type: ignore[arg-type]
        for seen in _sightings(event):
            stats = log.stats.of(seen)
            if stats is not None:
                yield StatisticsRow(
                    seq=event.seq,
                    time_ns=event.time_ns,
                    kind=event.label,
                    call=None if call is None else str(call),
                    module=None if call is None else call.module.name,
                    tensor=_tensor(log, event, seen),
                    role=seen.role,
                    **shape_of(seen),
                    **statistics_of(stats),
                    channels=stats.channels,
                    dead_channels=stats.dead_channels,
                )


def _sightings(event: Event) -> Iterator[Observation]:
    if isinstance(event, (ModuleCalled, ForwardStarted)):
        yield from event.inputs or ()
    elif isinstance(event, ModuleExited):
        yield from event.outputs
    elif isinstance(event, HookFired):
        yield from event.inputs
        for edit in event.edits:
            yield edit.after
    elif isinstance(event, (GradientComputed, GradientRetained)):
        yield event.gradient
    elif isinstance(event, GradientAccumulated):
        yield from (one for one in (event.arrived, event.after) if one is not None)


def _tensor(log: EventLog, event: Event, seen: Observation) -> str | None:
    number = getattr(event, "tensor", None)
    if number is None and seen.value is not None:
        number = seen.value.tensor
    return named_tensor(log, number)


class ModuleRow(NamedTuple):
    """One module that was seen."""

    module: int
    name: str
    aliases: str
    type: str
    config: str
    parameters: int
    root: int | None
    base: str
    calls: int
    duration_ns: int
    kept: bool


@table("modules", ModuleRow)
def modules(log: EventLog, calls: CallIndex) -> Iterator[ModuleRow]:
    """Yield the rows."""
    by_module: dict[int, list[Call]] = {}
    for call in calls:
        by_module.setdefault(call.called.module, []).append(call)
    for module in log.modules:
        its = by_module.get(module.id, [])
        yield ModuleRow(
            module=module.id,
            name=module.name,
            aliases=", ".join(module.aliases),
            type=module.type,
            config=module.config,
            parameters=module.parameters,
            root=module.root,
            base=module.base,
            calls=len(its),
            duration_ns=sum(call.duration_ns or 0 for call in its),
            kept=module.id in log.kept,
        )


class TensorRow(NamedTuple):
    """One tensor that has a name or a role."""

    tensor: int
    name: str
    leaf: bool
    parameter: bool
    requires_grad: bool | None


@table("tensors", TensorRow)
def tensors(log: EventLog, calls: CallIndex) -> Iterator[TensorRow]:
    """Yield the rows."""
    for row in log.tensors:
        name, required = log.parameters.get(row.id, ("", None))
        yield TensorRow(
            tensor=row.id,
            name=row.name or name,
            leaf=row.leaf,
            parameter=row.parameter,
            requires_grad=required,
        )


class NodeRow(NamedTuple):
    """One node of the autograd graph."""

    node: int
    name: str
    call: str | None
    leaf: str | None
    next: str


@table("nodes", NodeRow)
def nodes(log: EventLog, calls: CallIndex) -> Iterator[NodeRow]:
    """Yield the rows."""
    for node in log.nodes:
        call = None if node.call is None else calls.calls.get(node.call)
        yield NodeRow(
            node=node.id,
            name=node.name,
            call=None if call is None else str(call),
            leaf=named_tensor(log, node.leaf),
            next=", ".join(f"{number}:{output}" for number, output in node.next),
        )
