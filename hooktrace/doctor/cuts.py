"""Where forward hooks put a tensor without a graph, or with another, in the place of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hooktrace.events import Edit, HookFired, HookId, Observation, TensorId, TensorSummary
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
        grafted: Whether that has a graph of its own, which does not lead to `before`.
    """

    firing: HookFired
    call: Call
    before: Observation
    after: Observation
    grafted: bool = False


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
    for call in calls.values():
        graft = _graft(case, call)
        if graft is not None and graft.firing.hook not in found:
            found.setdefault(graft.firing.hook, []).append(graft)
    return found


def _graft(case: Case, call: Call) -> Cut | None:
    """Return the replacement of an output by something that was not computed from it, if any.

    Told by the leaves to which the graph of what was returned leads: if none of them is a parameter
    or lies behind an input, then none of what the module itself computed is in that graph.
    """
    returned = [(fired, edit) for fired in call.hooks for edit in _outputs(case, fired)]
    if not returned or call.recomputed or call.recomputations or not call.mode.grad:
        return None
    last = returned[-1][1].after.value
    if last is None or not _uses_none_of_the_model(case, call, last.tensor):
        return None
    behind = _leaves_behind(case, [last.tensor])
    fresh = [
        one
        for one in returned
        if one[1].after.value is not None and one[1].after.value.tensor in behind
    ]
    if not fresh and len(returned) > 1:
        return None
    firing, edit = (fresh or returned)[0]
    wanting = _wants(edit.before) and edit.before.value != edit.after.value
    return Cut(firing, call, edit.before, edit.after, grafted=True) if wanting else None


def _outputs(case: Case, firing: HookFired) -> list[Edit]:
    """Return the outputs that a forward hook of the user's replaced."""
    hook = case.log.hooks[firing.hook]
    if hook.kind != "forward" or hook.feature:
        return []
    return [one for one in firing.edits if one.how == "returned" and one.role.startswith("output")]


def _uses_none_of_the_model(case: Case, call: Call, output: TensorId) -> bool:
    """Whether backward reached an output, and from there no parameter and nothing it was given."""
    own = f"{call.name}." if call.name else ""
    if not any(name.startswith(own) for name in case.training.lacking.values()):
        return False
    behind = _leaves_behind(case, [output])
    given = [one.value.tensor for one in call.seen_inputs if one.value is not None]
    return bool(behind) and not behind & {
        *case.log.parameters,
        *given,
        *_leaves_behind(case, given),
    }


def _leaves_behind(case: Case, tensors: list[TensorId]) -> set[TensorId]:
    """Return the leaves to which the graphs of some tensors lead."""
    leaves = case.log.nodes.leaves
    nodes = [node for one in tensors for node in case.nodes_of.get(one, ())]
    return {leaves[node] for node in case.behind(nodes) if node in leaves}


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
