"""Hooks for every module or optimizer that nobody has removed."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import TracedHook
from hooktrace.findings import Finding
from hooktrace.kinds import spoken

__all__ = ["GlobalHookLeftBehind"]


@rule
class GlobalHookLeftBehind(Rule):
    """A hook that is registered for every module or every optimizer is still there.

    What it finds: global hooks on modules, on the registration of their members and on
        optimizers: a warning if the block registered one and left it, a note if it was there
        before.
        Also if PyTorch refuses a global backward hook of the older kind, for there once was a
        full one; a note if the block removed the last of those.
    Why it matters: such a hook fires for every model of the process, those of libraries included,
        and takes every module call off PyTorch's fast path.
    Instead: register it in a ``with`` statement, ``with register_module_forward_hook(hook):``, or
        keep its handle and call ``remove()``.
    Limits: a trace knows of those that were there before only if they fired.
    Source: PyTorch's source, torch/nn/modules/module.py, which says that global hooks are for
        debugging and profiling, and never resets ``_global_is_full_backward_hook``.
    Fires:
        from torch.nn.modules.module import register_module_forward_hook
        handle = register_module_forward_hook(lambda module, args, output: None)
        found = ht.check(nn.Linear(2, 2))
        handle.remove()
    Silent:
        from torch.nn.modules.module import register_module_forward_hook
        with ht.trace() as t, register_module_forward_hook(lambda module, args, output: None):
            nn.Linear(2, 2)(torch.ones(1, 2))
    """

    name = "global-hook-left-behind"
    severity = "warning"
    static = True
    explains = True

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at the hooks that are on no module in particular."""
        for hook in case.hooks:
            if hook.owner in ("every module", "every optimizer") and hook.id not in case.removed:
                yield self._left(case, hook)
        refused = "as a global Module hook" in (case.log.error or "")
        if refused or (case.log.sticky and self._removed(case)):
            yield self.finding(
                "PyTorch takes global backward hooks for full ones, also after the last of them "
                "is gone.",
                where="every module",
                severity="warning" if refused else "note",
                evidence=(case.log.error,) if refused and case.log.error else (),
                instead="use register_module_full_backward_hook for all of them; only a new "
                "process takes the older kind again.",
            )

    def _removed(self, case: Case) -> bool:
        """Whether a global full backward hook was removed in the block."""
        rows = (case.log.hooks[one] for one in case.removed)
        return any(row.kind == "full_backward" and row.owner == "every module" for row in rows)

    def _left(self, case: Case, hook: TracedHook) -> Finding:
        inside = case.registered.get(hook.id, [])
        when = "is still registered when the block ends" if inside else "is registered"
        return self.finding(
            f"The {spoken(hook.kind)} {hook.name} for {hook.owner} {when}.",
            hook=hook,
            severity="warning" if inside else "note",
            events=tuple(event.seq for event in inside),
        )
