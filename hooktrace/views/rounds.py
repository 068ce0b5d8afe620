"""The outermost calls grouped into the steps of a loop."""

from __future__ import annotations

from collections.abc import Iterable

from hooktrace.errors import RenderError
from hooktrace.events import BackwardFinished
from hooktrace.log import EventLog
from hooktrace.views.calls import Call, CallIndex

__all__ = ["rounds", "step_of"]


def step_of(log: EventLog, calls: CallIndex, step: int) -> tuple[list[Call], str]:
    """Return the outermost calls of a step, and which of how many it is, in words.

    Raises:
        RenderError: No module was called.
        IndexError: There is no such step.
    """
    steps = rounds(log, calls)
    if not steps:
        raise RenderError("No module was called, so there is no modules view. Try view='tensors'.")
    if not -len(steps) <= step < len(steps):
        there = "is 1 step" if len(steps) == 1 else f"are {len(steps)} steps"
        raise IndexError(f"There {there}, so step={step} is none of them.")
    number = step % len(steps)
    return steps[number], f"step {number + 1} of {len(steps)}" if len(steps) > 1 else ""


def rounds(log: EventLog, calls: CallIndex) -> list[list[Call]]:
    """Group the outermost calls into the steps of a loop.

    A step ends with a backward run, or where a module is called again that did not take
    anything from this step's calls.  What checkpointing calls again belongs to the first call.
    """
    ends = [event.seq for event in log.of(BackwardFinished)]
    steps: list[list[Call]] = []
    for call in calls.roots():
        if call.first is not None:
            continue
        last = steps[-1] if steps else []
        after = any(last[-1].called.seq < end < call.called.seq for end in ends) if last else True
        again = any(one.module.id == call.module.id for one in last)
        if after or (again and not _fed(call, last)):
            steps.append([])
        steps[-1].append(call)
    return steps


def _fed(call: Call, earlier: Iterable[Call]) -> bool:
    """Whether a call takes a value that one of the earlier calls returned."""
    made = {seen.value for one in earlier for seen in one.seen_outputs if seen.value is not None}
    return any(seen.value in made for seen in call.seen_inputs)
