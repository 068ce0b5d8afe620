"""Events of optimizers and learning rate schedulers."""

from __future__ import annotations

from typing import ClassVar

from hooktrace.records import Event, TensorId

__all__ = ["SchedulerStepped", "StepFinished", "StepStarted"]


class StepStarted(Event, frozen=True, gc=False, tag=True):
    """``optimizer.step()`` began; its pre-hooks come next.

    Attributes:
        step: Its number within the trace.
        optimizer: Its name: the class, and a number if there are several.
        line: ``file:line`` of the statement that called it.
    """

    label: ClassVar[str] = "step"

    step: int
    optimizer: str
    line: str | None = None


class StepFinished(Event, frozen=True, gc=False, tag=True):
    """``optimizer.step()`` returned.

    Attributes:
        step: Number of the step that began.
        optimizer: Its name.
        written: The leaves that it wrote to.
        exception: Why it ended early; None if it did not.
        frozen: Those of `written` that did not require a gradient.
    """

    label: ClassVar[str] = "step done"

    step: int
    optimizer: str
    written: tuple[TensorId, ...]
    exception: str | None
    frozen: tuple[TensorId, ...] = ()


class SchedulerStepped(Event, frozen=True, gc=False, tag=True):
    """A learning rate scheduler's ``step()`` returned.

    Attributes:
        scheduler: The name of its class.
        optimizer: The name of the optimizer whose rates it sets.
        before: Learning rate of each parameter group, as it was.
        after: The same, as it is now.
        exception: What it raised; None if it returned.
    """

    label: ClassVar[str] = "schedule"

    scheduler: str
    optimizer: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    exception: str | None
