"""When backward runs were in which call: what time there is of backward without any clock in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from hooktrace.events import CallId, GradientAccumulated, GradientComputed, TensorId
from hooktrace.log import EventLog
from hooktrace.views.calls import Call, CallIndex

__all__ = ["Holders", "Span", "backward_spans"]

Holders = Sequence[tuple[list[Call], Iterable[TensorId]]]


@dataclass
class Span:
    """When one backward run was in one call.

    Attributes:
        sent: Whether a gradient with respect to an input was seen.
    """

    start: int
    end: int
    sent: bool = False


def backward_spans(
    log: EventLog, calls: CallIndex, holders: Holders
) -> dict[CallId, dict[int, Span]]:
    """Return for each call and backward run when that reached it, and its last gradient.

    The gradients of a call are also those of the calls in it, and of its recomputations.  Some are
    seen only after their node has run, so a call begins when what came before it was seen: but for
    a ``.grad`` that was empty, which is noted late.

    Args:
        log: What was recorded.
        calls: Its calls.
        holders: For each module its calls, and the parameters in it.
    """
    spans: dict[CallId, dict[int, Span]] = defaultdict(dict)
    before = 0
    for event in log.events:
        if isinstance(event, GradientComputed):
            call = calls.calls.get(event.call) if event.call is not None else None
            own = call
            while call is not None:
                call = call.first or call
                span = spans[call.id].setdefault(event.backward, Span(before, event.time_ns))
                span.end = max(span.end, event.time_ns)
                span.sent |= call is own and event.gradient.role.startswith("grad_input")
                call = call.parent
        if not (isinstance(event, GradientAccumulated) and event.before is None):
            before = event.time_ns
    _stretch(log, spans, holders)
    return spans


def _stretch(log: EventLog, spans: dict[CallId, dict[int, Span]], holders: Holders) -> None:
    """Let spans reach to when the last of a module's parameters had its gradient.

    A module that was called several times in a run gets one gradient for all calls, so there
    it cannot be told which of them ended then.
    """
    filled: dict[TensorId, list[GradientAccumulated]] = defaultdict(list)
    for event in log.of(GradientAccumulated):
        filled[event.tensor].append(event)
    for calls, tensors in holders if filled else ():
        for event in chain(*(filled.get(tensor, ()) for tensor in tensors)):
            reached = [one for one in calls if event.backward in spans.get(one.id, ())]
            if len(reached) == 1:
                span = spans[reached[0].id][event.backward]
                if event.before is not None or not span.sent:
                    span.end = max(span.end, event.time_ns)
