"""What was changed, and by whom: edits by hooks, and writes in place."""

from __future__ import annotations

from typing import Any

from hooktrace.events import (
    BackwardFinished,
    BackwardStarted,
    Change,
    Edit,
    GradientAccumulated,
    HookFired,
    StepFinished,
    StepStarted,
    TensorWritten,
    TracedHook,
    Value,
)
from hooktrace.log import EventLog
from hooktrace.tensorstats import TensorStats
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.valueorigins import describe_tensor, origin_of_values
from hooktrace.views.values import content

__all__ = ["EditView", "WriteView", "edits", "writes"]


class EditView:
    """One change that a hook made.

    Attributes:
        hook: The hook: kind, owner, name, where defined and registered.
        role: What it changed, such as ``grad`` or ``output``.
        how: ``in_place``, ``returned`` or ``assigned``.
        before, after: The tensor then and afterwards, where it was small enough to be copied.
        factor: A number c if ``after == c * before`` up to rounding, else None.
        change: Everything that was measured of the difference.
        seq: The event in which it happened.
    """

    def __init__(self, log: EventLog, event: HookFired, edit: Edit) -> None:
        self._log = log
        self._event = event
        self._edit = edit
        self.hook: TracedHook = log.hooks[event.hook]
        self.role = edit.role
        self.how = edit.how
        self.seq = event.seq

    @property
    def before(self) -> Any:
        """The tensor as the hook found it."""
        return content(self._log, self._edit.before, _ADVICE)

    @property
    def after(self) -> Any:
        """The tensor as the hook left it."""
        return content(self._log, self._edit.after, _ADVICE)

    @property
    def values(self) -> tuple[Value | None, Value | None]:
        """The value that the hook found, and the one that it left."""
        return self._edit.before.value, self._edit.after.value

    @property
    def change(self) -> Change:
        """What was measured of the difference."""
        before, after = self.values
        found = self._log.changes.get((before, after)) if before and after else None
        if found is not None:
            return found
        return Change("replaced", f"{self._edit.before} -> {self._edit.after}")

    @property
    def equal(self) -> bool:
        """Whether the hook left another tensor with the same values: no change to what follows."""
        return self.change.kind == "unchanged"

    @property
    def stats(self) -> tuple[TensorStats | None, TensorStats | None]:
        """Statistics of what the hook found and of what it left; None for what has none."""
        return self._log.stats.of(self._edit.before), self._log.stats.of(self._edit.after)

    @property
    def factor(self) -> float | None:
        """The number that the tensor was multiplied by, if that is what happened."""
        return self.change.factor

    @property
    def reason(self) -> str:
        """Why the two sides were not compared; empty if they were."""
        return self.change.reason

    @property
    def together(self) -> float | None:
        """Product of the factors of this firing's edits of this role, up to this one.

        None where this is the first one, or where one of them is no multiple.
        """
        product = 1.0
        earlier = 0
        for edit in self._event.edits:
            factor = EditView(self._log, self._event, edit).factor
            if edit.role == self.role and factor is None:
                return None
            if edit.role == self.role and factor is not None:
                product *= factor
                earlier += 1
            if edit is self._edit:
                break
        return product if earlier > 1 else None

    @property
    def what(self) -> str:
        """What was changed and how, such as ``grad x2 in place: [5] -> [10]``."""
        before, after = self._edit.before, self._edit.after
        how = self.how.replace("_", " ")
        if before.value is None or after.value is None:
            return f"{self.role} {how}: {before} -> {after}"
        text = f"{self.role} {self.change.text} {how}"
        if self._numbers():
            text += f": {before} -> {after}"
        return text + (f", together x{self.together:.6g}" if self.together is not None else "")

    def _numbers(self) -> bool:
        before, after = self._edit.before.numbers, self._edit.after.numbers
        return before is not None and after is not None and len(before) <= 4

    def __str__(self) -> str:
        how = f"{self.how.replace('_', ' ')}, {self.change.text}"
        if self.together is not None:
            how += f"; together x{self.together:.6g}"
        who = f"{self.hook.kind} hook {self.hook.name} on {self.hook.owner}: {self.role}"
        if self._numbers():
            return f"{who} {self._edit.before} -> {self._edit.after} ({how})"
        return f"{who} {how}"

    def __repr__(self) -> str:
        return f"<Edit {self}>"


class WriteView:
    """One write in place to a tensor that was seen.

    Attributes:
        before, after: The value that was overwritten, and the one left behind.
        what: What the overwritten value was, such as ``output of features.0``.
        by: Who wrote, in words.
        call: The innermost module call open then, or None.
        hook: The hook that wrote, or None.
        optimizer: The optimizer in whose step it was, where neither a call nor a hook wrote.
        certain: False where the write may have gone to a sibling view instead.
        line: ``file:line`` of the statement that wrote, or of a later one: that was running when
            the write was noticed.  For optimizers that of the step; empty for hooks.
        seq: The event.
    """

    def __init__(
        self,
        log: EventLog,
        event: TensorWritten,
        what: str,
        call: Call | None,
        step: StepStarted | None = None,
        *,
        crowded: bool = False,
    ) -> None:
        self.before: Value = event.before
        self.after: Value = event.after
        self.what = what
        self.call = call
        self.hook: TracedHook | None = None if event.hook is None else log.hooks[event.hook]
        stepped = step if event.call is None and event.hook is None else None
        self.optimizer = "" if stepped is None else stepped.optimizer
        self.certain = event.certain
        self.line = (event.line if stepped is None else stepped.line) or ""
        self.seq = event.seq
        self._crowded = crowded

    @property
    def by(self) -> str:
        """Who wrote, in words."""
        if self.hook is not None:
            return f"{self.hook.kind} hook {self.hook.name} on {self.hook.owner}"
        if self.after.version is None:
            return f"code in {self.call}, past the version counter (.data or numpy)"
        if self.optimizer:
            return f"a step of {self.optimizer}"
        if self._crowded and self.call is None:
            return "backward runs on several threads at a time, or code outside of every call"
        if self.call is None:
            return "code outside of every traced call"
        if self.call.children:
            return f"functional code in {self.call} ({self.call.module.type})"
        return f"{self.call} ({self.call.module.type})"

    def __str__(self) -> str:
        verb = "was overwritten by" if self.certain else "was possibly overwritten (shared view) by"
        return f"{self.what} {verb} {self.by}"

    def __repr__(self) -> str:
        return f"<Write {self}>"


_ADVICE = (
    "Only tensors of at most 1 MiB are copied around a hook; trace(..., keep=[...]) keeps the "
    "values of whole modules."
)


def edits(log: EventLog) -> list[EditView]:
    """Return every change by a hook, in order."""
    return [EditView(log, event, edit) for event in log.of(HookFired) for edit in event.edits]


def writes(log: EventLog, calls: CallIndex) -> list[WriteView]:
    """Return every write in place to a tensor that was seen, in order."""
    origins = origin_of_values(log, calls)
    steps, crowded = _steps_around(log), _filled_in_a_crowd(log)
    return [
        WriteView(
            log,
            event,
            origins.get(event.before) or describe_tensor(log, event.before),
            calls.calls.get(event.call) if event.call is not None else None,
            steps.get(event.seq),
            crowded=event.before in crowded,
        )
        for event in log.of(TensorWritten)
    ]


def _filled_in_a_crowd(log: EventLog) -> set[Value]:
    """Return what ``.grad`` held when several threads ran backward: they add to it one by one."""
    runs: list[BackwardStarted | BackwardFinished]
    runs = [*log.of(BackwardStarted), *log.of(BackwardFinished)]
    threads: dict[int, int] = {}
    last = -1
    for run in sorted(runs, key=lambda one: one.seq):
        if len(set(threads.values())) > 1:
            last = run.seq
        if isinstance(run, BackwardStarted):
            threads[run.backward] = run.thread
        else:
            threads.pop(run.backward, None)
    accumulated = log.of(GradientAccumulated) if last >= 0 else []
    return {one.after.value for one in accumulated if one.seq < last and one.after.value}


def _steps_around(log: EventLog) -> dict[int, StepStarted]:
    """Return for each write in a step of an optimizer which step it was."""
    found: dict[int, StepStarted] = {}
    running: dict[int, list[StepStarted]] = {}
    events: list[StepStarted | StepFinished | TensorWritten]
    events = [*log.of(StepStarted), *log.of(StepFinished), *log.of(TensorWritten)]
    for event in sorted(events, key=lambda one: one.seq):
        steps = running.setdefault(event.thread, [])
        if isinstance(event, StepStarted):
            steps.append(event)
        elif isinstance(event, TensorWritten):
            if steps:
                found[event.seq] = steps[-1]
        else:
            running[event.thread] = [one for one in steps if one.step != event.step]
    return found
