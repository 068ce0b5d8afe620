"""What a value is, in words: the output of a call, a parameter, what a hook was given."""

from __future__ import annotations

from hooktrace.events import GradientAccumulated, HookFired, Observation, Value
from hooktrace.log import EventLog
from hooktrace.views.calls import CallIndex

__all__ = ["describe_tensor", "origin_of_values"]

_AROUND_FORWARD = ("forward", "forward_pre")


def origin_of_values(log: EventLog, calls: CallIndex) -> dict[Value, str]:
    """Say for each value of a call what it is: ``output of x`` before ``args[0] of y``.

    A value that a hook or a later call wrote keeps the name of what it was first.
    """
    origins: dict[Value, str] = {}
    for call in sorted(calls, key=lambda one: -one.depth):
        for seen in call.seen_outputs:
            if seen.value is not None:
                origins.setdefault(seen.value, f"{seen.role} of {call}")
    for call in calls:
        for seen in call.seen_inputs:
            if seen.value is not None:
                origins.setdefault(seen.value, f"{seen.role} of {call}")
    for accumulated in log.of(GradientAccumulated):
        if accumulated.after.value is not None:
            name = describe_tensor(log, Value(accumulated.tensor, None)).removeprefix("tensor ")
            origins.setdefault(accumulated.after.value, f"{name}.grad")
    for event in log.of(HookFired):
        for seen in event.inputs:
            if seen.value is not None and seen.value not in origins:
                origins[seen.value] = _given_to_hook(log, calls, event, seen)
    return origins


def _given_to_hook(log: EventLog, calls: CallIndex, event: HookFired, seen: Observation) -> str:
    """Say what a hook was given, which no call was seen to take or return: by its own name."""
    row = log.hooks[event.hook]
    if seen.value is not None and log.tensors[seen.value.tensor].name:
        return describe_tensor(log, seen.value)
    call = calls.calls.get(event.call) if event.call is not None else None
    if call is not None and row.kind in _AROUND_FORWARD:
        return f"{seen.role} of {call}"
    return f"{seen.role} given to {row.name} on {row.owner}"


def describe_tensor(log: EventLog, value: Value) -> str:
    """Name a tensor by its variable or parameter, or by its number."""
    name = log.tensors[value.tensor].name
    return f"tensor {name}" if name else f"tensor t{value.tensor}"
