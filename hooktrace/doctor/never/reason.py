"""A hook that never fired, what is known of it, and the reason."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from hooktrace.doctor.case import Case, Run
from hooktrace.events import ModuleId, Registration, TracedHook, TracedModule
from hooktrace.findings import Severity
from hooktrace.views.call import Call

__all__ = ["Reason", "Unfired", "times"]


@dataclass(frozen=True)
class Reason:
    """Why a hook never fired.

    Attributes:
        name: Of the reason, such as ``registered-late``.
        text: What goes on after "it never fired:".
        advice: What to do instead.
        events: The events that prove it, by ``seq``.
        evidence: What was seen there.
        possible: Why it is not sure; empty if it is verified.
        severity: How much it matters: a note where the hook merely had no occasion.
        rule: The rule whose finding it is; empty if it is worth none.
    """

    name: str
    text: str
    advice: str
    events: tuple[int, ...] = ()
    evidence: tuple[str, ...] = ()
    possible: str = ""
    severity: Severity = "warning"
    rule: str = "never-fired"


class Unfired:
    """A hook that never fired, and what the reasons look up.

    Args:
        case: The log.
        hook: The hook.

    Attributes:
        since: When it was registered, by ``seq``; -1 if that was before the block.
        until: When it was removed, by ``seq``; None if it was not.
    """

    def __init__(self, case: Case, hook: TracedHook) -> None:
        self.case = case
        self.hook = hook
        registered = case.registered.get(hook.id)
        removed = case.removed.get(hook.id)
        self.since = registered[0].seq if registered else -1
        self.until = None if removed is None else removed.seq

    @property
    def registration(self) -> Registration | None:
        """What is known of how it is registered."""
        return self.case.log.registrations.get(self.hook.id)

    @property
    def module(self) -> TracedModule | None:
        """The module that it hangs on."""
        return None if self.hook.module is None else self.case.log.modules[self.hook.module]

    @cached_property
    def calls(self) -> list[Call]:
        """All calls of its module; of a hook for every module, all that there are."""
        if self.hook.module is None:
            return list(self.case.calls) if self.hook.owner == "every module" else []
        return self.case.calls_of.get(self.hook.module, [])

    @cached_property
    def heard(self) -> list[Call]:
        """The calls in which it was registered when PyTorch looked for hooks of its kind."""
        return [call for call in self.calls if self._hears(call)]

    def _hears(self, call: Call) -> bool:
        if call.called.seq < self.since:
            return False
        if self.until is None:
            return True
        late = self.hook.kind == "forward" and call.exited is not None
        return self.until > (call.exited.seq if late and call.exited else call.called.seq)

    @cached_property
    def runs(self) -> list[Run]:
        """The backward runs in which it was registered."""
        return [
            run
            for run in self.case.runs
            if (run.finished is None or run.finished.seq > self.since)
            and (self.until is None or run.started.seq < self.until)
        ]

    @property
    def line(self) -> str:
        """Where it was registered, as far as that is known."""
        return self.hook.registered_at or "before the block"

    # -------------------------------------------------------------- modules around it

    def ancestors(self) -> list[ModuleId]:
        """Return the modules that contain its module and have a row, innermost first."""
        if self.module is None:
            return []
        found = []
        for name in (self.module.name, *self.module.aliases):
            while name:
                name = name.rpartition(".")[0]
                row = self.case.module_named.get(name)
                if row is not None and row != self.module.id:
                    found.append(row)
        return found

    def around(self) -> list[Call]:
        """Return the calls of the innermost module that contains its module and was called."""
        for row in self.ancestors():
            calls = self.case.calls_of.get(row)
            if calls:
                return calls
        return []


def times(count: int) -> str:
    """Write how often: ``once``, ``twice``, ``3 times``."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
