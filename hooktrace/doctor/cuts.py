"""Where forward hooks put a tensor without a graph in the place of one that had one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hooktrace.events import Edit, HookFired, HookId, Observation, TensorSummary
from hooktrace.views.call import Call

if TYPE_CHECKING:
    from hooktrace.doctor.case import Case

__all__ = ["FLOATING", "Cut", "find_cuts"]

FLOATING = ("float", "bfloat", "complex")
"""How the dtypes begin that can require a gradient."""


@dataclass(frozen=True)
class Cut:
    """One firing of a hook that cut the graph.

    Attributes:
        firing: Of the hook.
        call: The module call that it belongs to.
        before: What had a graph.
        after: What stands in its place.
    """

    firing: HookFired
    call: Call
    before: Observation
    after: Observation


def find_cuts(case: Case) -> dict[HookId, list[Cut]]:
    """Return the firings of forward hooks and pre-hooks that cut the graph, by hook."""
    found: dict[HookId, list[Cut]] = {}
    calls = {call.id: call for call in case.calls}
    for hook in case.log.hooks:
        if hook.kind not in ("forward", "forward_pre"):
            continue
        for firing in case.firings.get(hook.id, ()):
            call = None if firing.call is None else calls.get(firing.call)
            cut = None if call is None or not call.mode.grad else _cut(firing, call)
            if cut is not None:
                found.setdefault(hook.id, []).append(Cut(firing, call, *cut))  # type: ignore[arg-type]
    return found


def _cut(firing: HookFired, call: Call) -> tuple[Observation, Observation] | None:
    """Return what had a graph before a firing, and what stands there without one after it."""
    for edit in firing.edits:
        if _wants(edit.before) and _has_none(edit):
            return edit.before, edit.after
    if len(call.hooks) != 1:
        return None
    left = {one.value: one for one in call.seen_outputs if one.value is not None}
    for given in firing.inputs:
        after = None if given.value is None else left.get(given.value)
        if given.role.startswith("output") and after is not None:
            if _wants(given) and not _wants(after):
                return given, after
    return None


def _wants(seen: Observation) -> bool:
    return isinstance(seen.summary, TensorSummary) and seen.summary.requires_grad


def _has_none(edit: Edit) -> bool:
    summary = edit.after.summary
    return (
        isinstance(summary, TensorSummary)
        and not summary.requires_grad
        and summary.dtype.startswith(FLOATING)
    )
