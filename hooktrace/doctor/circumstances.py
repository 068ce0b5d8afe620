"""What is told along with a value that is not finite: operations of a call, steps passed over."""

from __future__ import annotations

from hooktrace.doctor.case import Case
from hooktrace.events import StepFinished
from hooktrace.views.call import Call

__all__ = ["advice", "operations", "passed_over"]

_SHOWN = 8


def operations(case: Case, call: Call | None) -> tuple[str, ...]:
    """Say which operations lie in a call, outside of the calls in it."""
    names = _names(case, call)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (f"its operations: {', '.join(names[:_SHOWN])}{more}",) if names else ()


def advice(case: Case, call: Call | None) -> str:
    """Say what to do about a masked operation; empty where nothing in the call masks."""
    return _MASKED if "WhereBackward0" in _names(case, call) else ""


def _names(case: Case, call: Call | None) -> list[str]:
    parts = case.log.nodes.parts.values() if call is not None else ()
    found = (name for name, around, _ in parts if call is not None and around == call.id)
    return list(dict.fromkeys(found))


_MASKED = (
    "mask the input of the operation too, such as x / torch.where(n == 0, 1, n): torch.where does "
    "not keep NaN out of the gradient, for the masked branch gets the gradient 0, and its backward "
    "multiplies that by infinity (0 * inf is NaN)."
)


def passed_over(case: Case, backward: int) -> tuple[str, ...]:
    """Say that no step followed a run though one followed others, as a GradScaler does."""
    after = [run.started.seq for run in case.runs if run.number >= backward][:2]
    steps = [step.seq for step in case.log.of(StepFinished)]
    if not steps or any(after[0] < step < (after[1:] or [step + 1])[0] for step in steps):
        return ()
    return ("no step of the optimizer followed, as if a GradScaler had passed over it",)


def in_reentrant(case: Case, call: Call) -> bool:
    """Whether autograd was off for a call because of the reentrant checkpoint that it ran in."""
    if call.id not in case.log.reentrant:
        return False
    outer = call.parent
    while outer is not None and outer.id in case.log.reentrant:
        outer = outer.parent
    return outer is None or outer.mode.grad
