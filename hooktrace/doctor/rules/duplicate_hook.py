"""Functions that are registered more than once at one place."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import TracedHook
from hooktrace.findings import Finding
from hooktrace.kinds import spoken

__all__ = ["DuplicateHook"]


@rule
class DuplicateHook(Rule):
    """One function is registered more than once as a hook of one kind at one place.

    What it finds: the same function object on the same module, tensor, node or optimizer, twice at
        a time. Different functions made by the same line, such as closures in a loop, are
        possible duplicates; methods of different objects are none, nor is a tensor hook that is
        registered anew once the tensor was overwritten in place: it hangs on another node.
    Why it matters: PyTorch calls it once for each registration: what it records is there twice,
        what it changes is changed twice.
    Instead: register it once, where the model is made, or remove the older one first by its handle.
    Limits: of closures it is not known what they refer to; they may well do different things.
    Source: PyTorch's source, torch/utils/hooks.py: each registration gets a number of its own.
    Fires:
        def double(module, args, output):
            return output * 2
        net = nn.Linear(2, 2)
        net.register_forward_hook(double)
        net.register_forward_hook(double)
        found = ht.check(net)
    Silent:
        def double(module, args, output):
            return output * 2
        net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        net[0].register_forward_hook(double)
        net[1].register_forward_hook(double)
        found = ht.check(net)
    """

    name = "duplicate-hook"
    severity = "warning"
    static = True

    def find(self, case: Case) -> Iterator[Finding]:
        """Group the hooks by kind and place, and those by function, or by what made it."""
        same: defaultdict[Any, list[TracedHook]] = defaultdict(list)
        alike: defaultdict[Any, list[TracedHook]] = defaultdict(list)
        for hook in case.hooks:
            place = _place(case, hook)
            known = case.log.registrations.get(hook.id)
            if place is not None and known is not None and known.number >= 0:
                same[hook.kind, place, known.function].append(hook)
                if hook.defined_at and "." not in hook.name and "(" not in hook.name:
                    key = (hook.kind, place, known.code, hook.registered_at)
                    alike[key].append(hook)
        for hooks in same.values():
            together = _at_a_time(case, hooks)
            if len(together) > 1:
                yield self._twice(case, together, "")
        for hooks in alike.values():
            together = _at_a_time(case, hooks)
            functions = {case.log.registrations[one.id].function for one in together}
            if len(together) == len(functions) > 1:
                yield self._twice(case, together, _CLOSURES)

    def _twice(self, case: Case, hooks: list[TracedHook], possible: str) -> Finding:
        last = hooks[-1]
        kind = spoken(last.kind)
        if possible:
            message = f"{len(hooks)} functions {last.name}, made by one line, are {kind}s on "
            message += f"{case.owner(last)} at a time."
        else:
            times = "twice" if len(hooks) == 2 else f"{len(hooks)} times"
            message = f"The function {last.name} is registered {times} as {kind} on "
            message += f"{case.owner(last)}."
        seqs = [event.seq for one in hooks for event in case.registered.get(one.id, ())]
        return self.finding(
            message,
            hook=last,
            severity="note" if possible else "warning",
            events=tuple(seqs),
            possible=possible,
        )


_CLOSURES = "they are different functions made by the same line, and may do different things."


def _place(case: Case, hook: TracedHook) -> Any:
    """Return what is the same for hooks at one place; None if that is not known."""
    family = case.family(hook)
    if family == "module" or family == "state_dict":
        known = hook.module is not None
        return (hook.module if known else hook.owner) if known or _everywhere(hook) else None
    if family == "tensor":
        return _value(case, hook) if hook.tensor is not None else hook.owner or None
    if family == "node":
        return hook.node
    return hook.owner if family in ("optimizer", "registration") else None


def _value(case: Case, hook: TracedHook) -> Any:
    """Return what a tensor hook hangs on: a leaf, or the node that had made the tensor by then."""
    assert hook.tensor is not None
    leaf = case.log.tensors[hook.tensor].leaf
    return hook.tensor, None if leaf else case.log.registrations[hook.id].node


def _everywhere(hook: TracedHook) -> bool:
    return hook.owner.startswith("every ")


def _at_a_time(case: Case, hooks: list[TracedHook]) -> list[TracedHook]:
    """Return the most of the hooks that are registered at any one time."""
    if len(hooks) < 2:
        return hooks
    spans = [(_start(case, one), _end(case, one), one) for one in hooks]
    there = most = 0
    moment: float = -1
    for start, _, change in sorted(
        [(start, 1, 1) for start, _, _ in spans] + [(end, 0, -1) for _, end, _ in spans]
    ):
        there += change
        if there > most:
            most, moment = there, start
    return [one for start, end, one in spans if start <= moment < end]


def _start(case: Case, hook: TracedHook) -> float:
    events = case.registered.get(hook.id)
    return events[0].seq if events else -1


def _end(case: Case, hook: TracedHook) -> float:
    return case.removed[hook.id].seq if hook.id in case.removed else math.inf
