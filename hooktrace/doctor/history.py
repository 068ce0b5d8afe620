"""What happened to the gradients of one tensor, one backward run after the other."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property

from hooktrace.doctor.case import Case, Run
from hooktrace.doctor.passage import Passage, Step
from hooktrace.events import (
    Edit,
    GradientAccumulated,
    GradientOverwritten,
    GradientRetained,
    HookFired,
    NodeId,
    Observation,
    TensorId,
    Value,
)
from hooktrace.kinds import KINDS
from hooktrace.views.effects import EditView, WriteView

__all__ = ["History"]

_DEEPEST = 100  # changes by hooks elsewhere that are followed back


class History:
    """What the log knows of the gradients of one tensor.

    Args:
        case: The log.
        tensor: Number of the tensor.
    """

    def __init__(self, case: Case, tensor: TensorId) -> None:
        self.case = case
        self.tensor = tensor
        self.nodes = set(case.nodes_of.get(tensor, ()))
        own = [
            hook.id
            for hook in case.log.hooks
            if (hook.tensor == tensor or hook.node in self.nodes) and hook.kind != "retain_grad"
        ]
        self.firings = sorted(
            (one for hook in own for one in case.firings.get(hook, ())), key=lambda one: one.seq
        )
        self.retained = [one for one in case.log.of(GradientRetained) if one.tensor == tensor]

    def passages(self) -> list[Passage]:
        """Return what happened in each backward run that reached the tensor."""
        runs = [(run, self._told(run)) for run in self.case.runs]
        reached = [(run, steps) for run, steps in runs if steps]
        passages = []
        for place, (run, steps) in enumerate(reached):
            following = reached[place + 1][1] if place + 1 < len(reached) else []
            steps += self._afterwards(run, steps, following)
            gaps = tuple(self._gaps(steps, following))
            passages.append(Passage(run.number, tuple(steps), gaps))
        return passages

    def _told(self, run: Run) -> list[Step]:
        """Return the steps inside a run; none if it did not reach the tensor."""
        accumulated = self.case.accumulated.get(self.tensor, ())
        filled = [one for one in accumulated if one.backward == run.number]
        computed = self.case.gradients.get(self.tensor, ())
        passed = [one for one in computed if one.backward == run.number]
        kept = [one for one in self.retained if one.backward == run.number]
        steps = [one for firing in self.firings if firing in run for one in self._of_hook(firing)]
        steps += [*map(_filled, filled), *map(_kept, kept)]
        if not steps and not passed:
            return []
        steps += self._written_by_others(run, steps)
        steps.sort(key=lambda one: one.seq or 0)
        raw = next((one.before or one.after for one in steps if one.kind == "hook"), None)
        if raw is None and passed:
            raw = passed[0].gradient
        if raw is None and filled:
            raw = filled[0].arrived
        return [*self._sent(run, raw), *steps]

    # -------------------------------------------------------------- on the way

    def _sent(self, run: Run, raw: Observation | None) -> list[Step]:
        """Return who sent the gradient, and what hooks elsewhere made of it before it arrived."""
        case, reached = self.case, self.case.reached(run)
        senders = [
            node
            for own in sorted(self.nodes)
            for node in case.senders.get(own, ())
            if node in reached or not reached
        ]
        names = [_node(case, one) for one in dict.fromkeys(senders)]
        hits = [one for one in case.log.of(GradientOverwritten) if one in run]
        changes = [_overwritten(case, one) for one in hits if one.node in self.nodes]
        changes = [*self._elsewhere(run, raw), *changes]
        first = changes[0].before if changes else raw
        text = " and ".join(names) if names else "the root of the run"
        return [Step("sent", f"by {text}", None, first), *changes]

    def _elsewhere(self, run: Run, raw: Observation | None) -> list[Step]:
        """Return the changes by hooks on other things, such as modules, of this very gradient."""
        own = {one.seq for one in self.firings}
        makers: dict[Value, tuple[HookFired, Edit]] = {}
        for firing in self._firings_in(run):
            kind = self.case.log.hooks[firing.hook].kind
            if firing.edits and KINDS[kind].gradient and firing.seq not in own:
                pairs = ((one.after.value, one) for one in firing.edits)
                makers.update((value, (firing, one)) for value, one in pairs if value is not None)
        found: list[Step] = []
        value = None if raw is None else raw.value
        while value in makers and len(found) < _DEEPEST:
            firing, edit = makers.pop(value)
            found.insert(0, _change(self.case, firing, edit))
            value = edit.before.value
        return found

    def _firings_in(self, run: Run) -> list[HookFired]:
        """Return the firings of all hooks while a run lasted."""
        firings = self.case.all_firings
        begin = bisect_left(firings, run.started.seq, key=lambda one: one.seq)
        if run.finished is None:
            return firings[begin:]
        return firings[begin : bisect_left(firings, run.finished.seq, key=lambda one: one.seq)]

    def _of_hook(self, firing: HookFired) -> list[Step]:
        """Return what a firing did: a step for each change, or one that says that it looked."""
        roles = ("grad", "param.grad", *(f"grad_outputs[{one}]" for one in self._outputs))
        edits = [one for one in firing.edits if one.role in roles]
        if edits:
            return [_change(self.case, firing, one) for one in edits]
        seen = next((one for one in firing.inputs if one.role in roles), None)
        hook = self.case.log.hooks[firing.hook]
        if seen is None or hook.kind == "node":
            return []
        how = "looked at it" if firing.exception is None else f"raised {firing.exception}"
        others = ", ".join(dict.fromkeys(one.role for one in firing.edits))
        if others and firing.exception is None:
            how = f"left it as it was, but changed {others}"
        text = f"{hook.kind} hook {hook.name} on {hook.owner} {how}"
        return [Step("hook", text, seen, seen, firing.seq, hook.registered_at or hook.defined_at)]

    @cached_property
    def _outputs(self) -> set[int]:
        """Which outputs of its nodes the tensor is."""
        found = (pair for value, pair in self.case.log.producers.items())
        return {0} | {number for node, number in found if node in self.nodes}

    def _written_by_others(self, run: Run, steps: list[Step]) -> list[Step]:
        """Return the writes in place by hooks that are on other things, such as multi-grad ones."""
        own = {one.seq for one in self.firings}
        sides = [side for one in steps for side in (one.before, one.after) if side is not None]
        tensors = {side.value.tensor for side in sides if side.value is not None}
        first = min((one.seq for one in steps if one.seq is not None), default=0)
        return [
            _change(self.case, firing, edit)
            for firing in self._firings_in(run)
            if firing.edits and firing.seq > first and firing.seq not in own
            for edit in firing.edits
            if edit.how == "in_place" and edit.before.value is not None
            if edit.before.value.tensor in tensors
        ]

    # -------------------------------------------------------------- afterwards

    def _afterwards(self, run: Run, steps: list[Step], following: list[Step]) -> Iterator[Step]:
        """Yield the writes to ``.grad`` after a run, until the next one that reached the tensor."""
        held = next((one.after for one in reversed(steps) if one.kind in _FILLING), None)
        end = next((one.seq for one in following if one.seq is not None), None)
        begin = run.started.seq if run.finished is None else run.finished.seq
        later = next((one for one in following if one.kind == "accumulated"), None)
        then = None if later is None else later.before
        if held is None or held.value is None:
            return
        writes = [
            one
            for one in self.case.writes
            if one.seq > begin and (end is None or one.seq < end)
            if one.before.tensor == held.value.tensor
        ]
        for write in writes:
            after = self.case.log.contents.get(write.after)
            if then is not None and then.value == write.after:
                after = then
            text = f".grad by {write.by}" + ("" if write.certain else " (possibly: a shared view)")
            yield Step("written", text, None, after, write.seq, _statement(write), changed=True)
        if later is not None and then is None:
            yield Step("written", ".grad was cleared before the next run")

    # -------------------------------------------------------------- what is missing

    def _gaps(self, steps: list[Step], following: list[Step]) -> Iterator[str]:
        """Yield what is known to be missing."""
        log = self.case.log
        if not log.copies:
            yield (
                "edits='versions' compares no values, so writes through .data are not seen, nor is "
                "how much a hook changed"
            )
        state: Observation | None = None
        for step in steps:
            found = step.arrived if step.kind == "accumulated" else step.before
            found = step.after if step.kind == "retained" else found
            if state is not None and found is not None and _differ(state, found):
                yield f"before '{step.text}' it was changed from {state} to {found}, unseen by whom"
            state = step.after or state
        if any(
            one.kind == "written" and one.after is None and one.seq is not None for one in steps
        ):
            yield "what .grad held after it was written to was not looked at"
        then = next((one.before for one in following if one.kind == "accumulated"), None)
        if state is not None and then is not None and _differ(state, then) and steps[-1].after:
            yield f"until the next run .grad was changed from {state} to {then}, unseen by whom"
        older = log.unseen.get("graph-from-before")
        if older and not any(one.kind == "hook" for one in steps):
            yield "parts of the graph are from before the block, and hooks on them may be unknown"


def _statement(write: WriteView) -> str:
    """Return the line of a step or of a hook that wrote, or else the last that may have."""
    if write.hook is not None:
        return write.hook.registered_at or write.hook.defined_at
    return write.line if write.optimizer or not write.line else f"{write.line} or before it"


_FILLING = ("accumulated", "retained", "hook")


def _change(case: Case, firing: HookFired, edit: Edit) -> Step:
    hook = case.log.hooks[firing.hook]
    found = EditView(case.log, firing, edit).change
    text = f"{hook.kind} hook {hook.name} on {hook.owner} ({edit.how.replace('_', ' ')}"
    text += ")" if found.kind == "replaced" else f", {found.text})"
    line = hook.registered_at or hook.defined_at
    changed = found.kind != "unchanged"
    return Step("hook", text, edit.before, edit.after, firing.seq, line, changed)


def _overwritten(case: Case, hit: GradientOverwritten) -> Step:
    hook = case.log.hooks[hit.hook]
    text = f"by the hook {hook.name} on {hook.owner}, whose gradient shares its memory"
    line = hook.registered_at or hook.defined_at
    return Step("overwritten", text, hit.before, hit.after, hit.seq, line, changed=True)


def _filled(event: GradientAccumulated) -> Step:
    if event.before is None:
        text = "into .grad, which was None"
        return Step("accumulated", text, None, event.after, event.seq, arrived=event.arrived)
    arrived = "" if event.arrived is None else f", {event.arrived} added"
    text = f"into .grad{arrived}"
    return Step("accumulated", text, event.before, event.after, event.seq, "", True, event.arrived)


def _kept(event: GradientRetained) -> Step:
    text = "in .grad, by retain_grad()"
    return Step("retained", text, None, event.gradient, event.seq)


def _node(case: Case, node: NodeId) -> str:
    row = case.log.nodes[node]
    call = None if row.call is None else case.calls.calls.get(row.call)
    return row.name if call is None else f"{row.name} in {call}"


def _differ(one: Observation, other: Observation) -> bool:
    """Whether two sightings are of other numbers, as far as these were recorded; NaN is NaN."""
    if one.numbers is None or other.numbers is None:
        return False
    pairs = zip(one.numbers, other.numbers, strict=False)
    return any(a != b and not (a != a and b != b) for a, b in pairs)
