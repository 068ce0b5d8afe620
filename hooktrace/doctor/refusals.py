"""Exceptions that full backward hooks caused: which hook, on which module, because of what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hooktrace.doctor.case import Case
from hooktrace.events import ModuleId, TracedHook
from hooktrace.views.call import Call

__all__ = ["Refusal", "refusals"]


@dataclass(frozen=True)
class Refusal:
    """A full backward hook that made the block, or a call in it, raise.

    Attributes:
        hook: The user's hook.
        call: The call of the module that it hangs on.
        what: What went wrong there, in words.
        error: What was raised, as ``Type: message``.
        line: ``file:line`` of the code that raised; empty if it is not known.
        events: Those that prove it.
        possible: Why it is not sure; empty if it is.
    """

    hook: TracedHook
    call: Call
    what: str
    error: str
    line: str
    events: tuple[int, ...]
    possible: str


def refusals(case: Case) -> Iterator[Refusal]:
    """Yield the hooks on account of which the block or a call raised, most likely one."""
    hooks = _hooks(case)
    for error in dict.fromkeys(error for error, _ in case.exceptions) if hooks else ():
        if error == case.log.error or _surely_of_hooks(error):
            yield from _refusals(case, error, hooks)


def _surely_of_hooks(error: str) -> bool:
    """Whether an exception that the program may have caught can only be one of such a hook."""
    return "functorch transforms" in error or "BackwardHookFunction" in error


def _refusals(
    case: Case, error: str, hooks: dict[ModuleId | None, TracedHook]
) -> Iterator[Refusal]:
    culprit = _culprit(case, error)
    found = list(_accused(case, error, culprit, {*hooks} if None not in hooks else None))
    events = () if culprit is None or culprit.exited is None else (culprit.exited.seq,)
    sure = len(found) == 1 and _surely(error)
    for call, what in found:
        hook = hooks.get(call.called.module) or hooks[None]
        possible = "" if sure else "the exception does not tell which tensor could not be written"
        line = case.log.raised_at if error == case.log.error else ""
        yield Refusal(hook, call, what, error, line, events, possible)


def _hooks(case: Case) -> dict[ModuleId | None, TracedHook]:
    """Return a full backward (pre) hook of the user's for each module, None being all."""
    kinds = ("full_backward", "full_backward_pre")
    return {
        hook.module: hook
        for hook in reversed(case.hooks)
        if hook.kind in kinds and (hook.module is not None or hook.owner == "every module")
    }


def _surely(error: str) -> bool:
    return "modified inplace" not in error or "BackwardHookFunction" in error


def _culprit(case: Case, error: str) -> Call | None:
    """Return the innermost call that the exception left."""
    raised = [call for call in case.calls if call.exited and call.exited.exception == error]
    return max(raised, key=lambda call: (call.root.id, call.depth), default=None)


def _accused(
    case: Case, error: str, culprit: Call | None, hooked: set[ModuleId | None] | None
) -> Iterator[tuple[Call, str]]:
    """Yield the calls of hooked modules that may be what the exception is about, with why."""

    def has_hook(call: Call) -> bool:
        return hooked is None or call.called.module in hooked

    if "modified inplace" in error and ("custom Function" in error or "BackwardHook" in error):
        yield from _written(case, culprit, has_hook)
    elif culprit is not None and has_hook(culprit):
        if "functorch transforms" in error:
            yield culprit, "it was called in a transform of torch.func"
        elif culprit.forward_finished is not None and not any(
            fired.exception for fired in culprit.hooks
        ):
            what = culprit.container or "tensor"
            yield culprit, f"PyTorch cannot make views of the {what} that it returned"


def _written(
    case: Case, culprit: Call | None, has_hook: Callable[[Call], bool]
) -> Iterator[tuple[Call, str]]:
    """Yield the calls whose inputs or outputs the culprit may have written to."""
    by = "code outside of every call" if culprit is None else _title(culprit)
    if culprit is not None and has_hook(culprit) and not culprit.children:
        yield culprit, "it overwrites its input in place"
        return
    given = {one.value.tensor for one in culprit.seen_inputs if one.value} if culprit else set()
    around = culprit
    while around is not None:
        if has_hook(around):
            yield around, f"its input is overwritten in place by {by}"
        around = around.parent
    last = {call.called.module: call for call in case.calls if has_hook(call)}
    for call in last.values():
        returned = {one.value.tensor for one in call.seen_outputs if one.value}
        beside = call.parent is culprit and (culprit is None or bool(culprit.children))
        if returned and (beside or returned & given):
            yield call, f"its output is overwritten in place by {by}"


def _title(call: Call) -> str:
    kind = f"{call.name} ({call.module.type})"
    return f"code in {kind}" if call.children else kind
