"""Norms for curves: of what modules returned, of the gradients that came, of the parameters.

All are square roots of sums of squares.  They come from statistics, so a trace has them only where
it was opened with ``stats=True``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from hooktrace.events import GradientAccumulated, ModuleCalled, Observation
from hooktrace.log import EventLog
from hooktrace.views.calls import Call

__all__ = ["CHARTS", "norms", "owner_of"]

CHARTS = {
    "norms": {
        "gradients of parameters": ["gradient_norm/.*"],
        "activations": ["activation_norm/.*"],
        "gradients of activations": ["activation_gradient_norm/.*"],
        "parameters": ["parameter_norm/.*"],
    }
}
"""Which curves TensorBoard shows together, in its tab of custom scalars."""

_Chosen = Callable[[str], bool]


def norms(
    log: EventLog, calls: Iterable[Call], extent: tuple[int, int], chosen: _Chosen
) -> dict[str, float]:
    """Return the norms of one step by tag, such as ``gradient_norm/features.0``.

    Args:
        log: The trace.
        calls: The calls of the step.
        extent: Its first event, and the first one after it.
        chosen: Whether a module, by its name, is wanted.
    """
    squares: dict[str, float] = defaultdict(float)
    for call in calls:
        if call.children or call.recomputed or not chosen(call.name):
            continue
        _take(log, squares, f"activation_norm/{call.name}", call.seen_outputs)
        arrived = [
            one.gradient
            for again in (call, *call.recomputations)
            for one in again.gradients
            if one.gradient.role.startswith("grad_output")
        ]
        _take(log, squares, f"activation_gradient_norm/{call.name}", arrived)
    filled = {
        event.tensor: event.after
        for event in log.of(GradientAccumulated)
        if extent[0] <= event.seq < extent[1]
    }
    for tensor, gradient in filled.items():
        owner = owner_of(log.tensors[tensor].name)
        _take(log, squares, "gradient_norm_of_all", [gradient])
        if chosen(owner):
            _take(log, squares, f"gradient_norm/{owner}", [gradient])
    for tag, norm in _parameters(log, extent, chosen):
        squares[tag] += norm**2
    return {tag: math.sqrt(total) for tag, total in squares.items()}


def _take(log: EventLog, squares: dict[str, float], tag: str, seen: Iterable[Observation]) -> None:
    for one in seen:
        stats = log.stats.of(one)
        if stats is not None:
            squares[tag] += stats.norm**2


def _parameters(
    log: EventLog, extent: tuple[int, int], chosen: _Chosen
) -> Iterator[tuple[str, float]]:
    """Yield what each parameter held when it was last looked at before the end of a step."""
    begun = {event.call for event in log.of(ModuleCalled) if event.seq < extent[1]}
    latest = {one.tensor: one.number for one in log.stats.parameters if one.call in begun}
    for tensor, number in latest.items():
        row = log.tensors[tensor]
        if row.parameter and chosen(owner_of(row.name)):
            yield f"parameter_norm/{owner_of(row.name)}", log.stats[number].norm


def owner_of(parameter: str) -> str:
    """Return the name of the module that has a parameter; that of the whole is ``model``."""
    return parameter.rpartition(".")[0] or "model"
