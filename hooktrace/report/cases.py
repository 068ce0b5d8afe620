"""Which sentence the page says of an event, decided where everything is known.

The page holds less of an event the larger a trace is; what it says of one is to be the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from hooktrace.doctor.case import Case
from hooktrace.events import (
    BackwardFinished,
    CallId,
    Event,
    ForwardFinished,
    ForwardStarted,
    GradientAccumulated,
    GradientComputed,
    HookFired,
    HookId,
    ModuleCalled,
    ModuleExited,
    SchedulerStepped,
    StepFinished,
    TensorWritten,
)
from hooktrace.kinds import KINDS
from hooktrace.views.hookuse import changes_something

__all__ = ["Cases"]

_WRAPPING = ("full_backward", "full_backward_pre")  # PyTorch passes views where these hang


class Cases:
    """The cases of the events of a log.

    Args:
        case: The log with its indexes; edits should be measured already.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._fired: defaultdict[tuple[CallId, str], list[HookFired]] = defaultdict(list)
        for event in case.log.of(HookFired):
            if event.call is not None:
                self._fired[event.call, case.log.hooks[event.hook].kind].append(event)
        self._wrapping = [one for one in case.log.hooks if one.kind in _WRAPPING]

    def key(self, event: Event) -> str:
        """Return the key of the sentence: that of the kind of event, or of a case of it."""
        found = _CASES.get(type(event))
        return event.label.replace(" ", "_") if found is None else found(self, event)

    def run(self, event: Event) -> int | None:
        """Return the backward run in which a hook was given gradients."""
        if not isinstance(event, HookFired):
            return None
        if not KINDS[self._case.log.hooks[event.hook].kind].gradient:
            return None
        run = self._case.run_at(event)
        return None if run is None else run.number

    # -------------------------------------------------------------- modules

    def _call(self, event: ModuleCalled) -> str:
        if self._case.calls.calls[event.call].forward_started is None:
            return "call_unbegun"
        return "call" if self._fired.get((event.call, "forward_pre")) else "call_plain"

    def _forward(self, event: ForwardStarted) -> str:
        if event.inputs is None:
            return "forward"
        before = self._fired.get((event.call, "forward_pre"), ())
        if any(changes_something(self._case.log, one) for one in before):
            return "forward_changed"
        return "forward_views" if self._wrapped(event) else "forward_other"

    def _wrapped(self, event: ForwardStarted) -> bool:
        """Whether a full backward hook hung on the module, or on every one, at that moment."""
        module = self._case.calls.calls[event.call].called.module
        return any(
            self._stands(one.id, event.seq)
            for one in self._wrapping
            if one.module == module or one.owner == "every module"
        )

    def _stands(self, hook: HookId, seq: int) -> bool:
        registered = self._case.registered.get(hook)
        removed = self._case.removed.get(hook)
        begun = not registered or registered[0].seq < seq
        return begun and (removed is None or removed.seq > seq)

    def _forward_done(self, event: ForwardFinished) -> str:
        hooked = self._fired.get((event.call, "forward"))
        return "forward_done" if hooked else "forward_done_plain"

    def _exit(self, event: ModuleExited) -> str:
        if event.exception:
            return "exit_raised"
        return "exit" if self._fired.get((event.call, "forward")) else "exit_plain"

    # -------------------------------------------------------------- hooks and writes

    def _hook(self, event: HookFired) -> str:
        if event.exception:
            return "hook_raised"
        if not event.edits:
            return "hook_looked"
        return "hook_changed" if changes_something(self._case.log, event) else "hook_same"

    def _write(self, event: TensorWritten) -> str:
        return "write" if event.certain else "write_maybe"

    # -------------------------------------------------------------- gradients and steps

    def _gradient(self, event: GradientComputed) -> str:
        if event.call is not None:
            return event.gradient.role.partition("[")[0]
        return "gradient_at_node" if event.tensor is None else "gradient"

    def _accumulate(self, event: GradientAccumulated) -> str:
        return "accumulate_filled" if event.before is None else "accumulate_added"

    def _backward_done(self, event: BackwardFinished) -> str:
        return "backward_raised" if event.exception else "backward_done"

    def _step_done(self, event: StepFinished) -> str:
        if event.exception:
            return "step_raised"
        return "step_done" if event.written else "step_done_same"

    def _schedule(self, event: SchedulerStepped) -> str:
        if event.exception:
            return "schedule_raised"
        return "schedule_same" if event.before == event.after else "schedule"


_CASES: dict[type[Event], Callable[[Cases, Any], str]] = {
    ModuleCalled: Cases._call,
    ForwardStarted: Cases._forward,
    ForwardFinished: Cases._forward_done,
    ModuleExited: Cases._exit,
    HookFired: Cases._hook,
    TensorWritten: Cases._write,
    GradientComputed: Cases._gradient,
    GradientAccumulated: Cases._accumulate,
    BackwardFinished: Cases._backward_done,
    StepFinished: Cases._step_done,
    SchedulerStepped: Cases._schedule,
}
