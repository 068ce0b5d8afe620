"""The part of the table that tells of hooks, and of the steps of optimizers and schedulers.

The user's hooks come first, one a line.  Those that a feature of PyTorch or a library registered
as its own come after them, one line for all of the same function.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from hooktrace.events import (
    HookFired,
    HookId,
    SchedulerStepped,
    StepFinished,
    TensorId,
    TracedHook,
)
from hooktrace.log import EventLog
from hooktrace.render.grid import add_row, grid_of, lay_out
from hooktrace.render.wording import count
from hooktrace.views.blindspots import blind_spots
from hooktrace.views.call import EARLY_STOP
from hooktrace.views.effects import EditView, WriteView

__all__ = ["hook_table", "step_lines"]


@dataclass
class _Line:
    """What one line tells: of one hook, or of all that a feature made of one function.

    Attributes:
        hooks: They.
        fired: How often, in all.
        changed: What they changed.
        wrote: What else they wrote to.
        raised: Whether one of them raised.
    """

    hooks: list[TracedHook] = field(default_factory=list)
    fired: int = 0
    changed: list[str] = field(default_factory=list)
    wrote: list[str] = field(default_factory=list)
    raised: bool = False

    @property
    def order(self) -> tuple[bool, bool, bool, int]:
        """The user's first; of them what changed something, then what never fired."""
        first = self.hooks[0]
        quiet = not (self.changed or self.wrote)
        return bool(first.feature), quiet, bool(self.fired), first.id

    def cells(self, never: str) -> tuple[str, ...]:
        """Return the cells of the line; `never` is what to say of one that did not fire."""
        first, owners = self.hooks[0], list(dict.fromkeys(one.owner for one in self.hooks))
        told = ["raised"] * self.raised + self.changed
        told += ["wrote to " + ", ".join(dict.fromkeys(self.wrote))] if self.wrote else []
        return (
            first.kind,
            owners[0] if len(owners) == 1 else f"{owners[0]} and {len(owners) - 1} more",
            f"{first.feature}: {first.name}" if first.feature else first.name,
            f"{self.fired}x" if self.fired else never,
            first.defined_at.rpartition("/")[2],
            "; ".join(dict.fromkeys(told or ["nothing"] * bool(self.fired))),
        )


def _is_compiled(log: EventLog) -> bool:
    """Whether compiled code ran, in which hooks may have fired unseen."""
    return any(spot.name == "compiled-region" for spot in blind_spots(log))


def hook_table(
    log: EventLog,
    edits: list[EditView],
    writes: list[WriteView],
    most: int,
    left_out: list[str],
) -> str:
    """Return the table of the hooks.

    Args:
        log: What was recorded.
        edits: What hooks changed of what they were given.
        writes: What was written in place.
        most: How many lines there may be.
        left_out: What is left out is added to this.
    """
    lines = sorted(_lines(log, edits, writes), key=lambda line: line.order)
    hidden = sum(len(line.hooks) for line in lines[most:])
    if hidden:
        left_out.append(f"{count(hidden, 'hook')} (t.hooks)")
    grid = grid_of("hook", "on", "function", "fired", "defined at", "changed")
    never = "not seen" if _is_compiled(log) else "never"
    for line in lines[:most]:
        add_row(grid, *line.cells(never))
    return lay_out(grid)


def _lines(log: EventLog, edits: list[EditView], writes: list[WriteView]) -> Iterable[_Line]:
    lines: dict[tuple[object, ...], _Line] = {}
    of_hook: dict[HookId, _Line] = {}
    for hook in log.hooks:
        alike = (hook.feature, hook.kind, hook.name) if hook.feature else (hook.id,)
        line = of_hook[hook.id] = lines.setdefault(alike, _Line())
        line.hooks.append(hook)
    for event in log.of(HookFired):
        line = of_hook[event.hook]
        line.fired += 1
        error = event.exception
        line.raised |= error is not None and not error.startswith(EARLY_STOP)
    for edit in edits:
        of_hook[edit.hook.id].changed.append(edit.what)
    edited = {value for edit in edits for value in edit.values}
    for write in writes:
        if write.hook is not None and write.after not in edited:
            of_hook[write.hook.id].wrote.append(write.what.removeprefix("tensor "))
    return lines.values()


def step_lines(log: EventLog) -> list[str]:
    """Return one line for each optimizer and scheduler that stepped."""
    steps: dict[str, list[StepFinished]] = {}
    for step in log.of(StepFinished):
        steps.setdefault(step.optimizer, []).append(step)
    schedules: dict[tuple[str, str], list[SchedulerStepped]] = {}
    for stepped in log.of(SchedulerStepped):
        schedules.setdefault((stepped.scheduler, stepped.optimizer), []).append(stepped)
    lines = [_optimizer(name, taken) for name, taken in steps.items()]
    return lines + [_scheduler(*name, taken) for name, taken in schedules.items()]


def _optimizer(name: str, steps: list[StepFinished]) -> str:
    written: set[TensorId] = {tensor for step in steps for tensor in step.written}
    wrote = f"wrote {count(len(written), 'parameter')}" if written else "no write seen"
    parts = [count(len(steps), "step"), wrote]
    raised = [step.exception for step in steps if step.exception]
    parts += [f"{len(raised)} raised ({raised[-1]})"] if raised else []
    return f"{name}: {', '.join(parts)}"


def _scheduler(scheduler: str, optimizer: str, steps: list[SchedulerStepped]) -> str:
    before, after = (_rates(rates) for rates in (steps[0].before, steps[-1].after))
    rate = f"lr {before} -> {after}" if before != after else f"lr stayed {before}"
    raised = [step.exception for step in steps if step.exception]
    text = f"{scheduler} of {optimizer}: {count(len(steps), 'step')}, {rate}"
    return text + (f", {len(raised)} raised ({raised[-1]})" if raised else "")


def _rates(rates: tuple[float, ...]) -> str:
    known = list(dict.fromkeys(f"{rate:.4g}" for rate in rates))
    return ", ".join(known[:3]) + (", ..." if len(known) > 3 else "")
