"""Hooks that fire in another order than they were registered in, where that matters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import HookFired, HookId, TracedHook
from hooktrace.findings import Finding

__all__ = ["HookOrderSurprise"]


@rule
class HookOrderSurprise(Rule):
    """Hooks fired in another order than they were registered in, and one changed something.

    What it finds: two hooks of a module of which the later one fired first, because it is
        registered for every module or with ``prepend=True``; a tensor hook that changed what
        ``retain_grad`` kept; a post-accumulate hook that changed ``.grad`` before the backward
        hook of its module, registered earlier, was called; a full backward hook that looks at
        ``.grad`` before there is one, because no input of its module requires grad.
    Why it matters: where one of two hooks changes something, what the other one sees depends
        on which comes first.
    Instead: do both in one hook, or register them in the order in which they shall run.
    Limits: only hooks that changed something are told, or whose code uses ``.grad``.
    Source: https://docs.pytorch.org/docs/stable/notes/autograd.html#backward-hooks-execution and
        issue https://github.com/pytorch/pytorch/issues/100528.
    Fires:
        def double(module, args, output):
            return output * 2

        def save(module, args, output):
            module.saved = output

        net = nn.Linear(2, 1)
        net.register_forward_hook(save)
        net.register_forward_hook(double, prepend=True)
        with ht.trace(net) as t:
            net(torch.ones(1, 2))
    Silent:
        def double(module, args, output):
            return output * 2

        def save(module, args, output):
            module.saved = output

        net = nn.Linear(2, 1)
        net.register_forward_hook(save)
        net.register_forward_hook(double)
        with ht.trace(net) as t:
            net(torch.ones(1, 2))
    """

    name = "hook-order-surprise"
    severity = "note"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at the hooks of each call and of each tensor."""
        yield from self._of_modules(case)
        yield from self._retained(case)
        yield from self._accumulated_first(case)
        yield from self._before_the_gradients(case)

    def _of_modules(self, case: Case) -> Iterator[Finding]:
        told: set[tuple[HookId, HookId]] = set()
        for firings in _at_one_call(case).values():
            for first, then in pairwise(firings):
                early, late = case.log.hooks[first.hook], case.log.hooks[then.hook]
                pair = early.id, late.id
                if pair in told or not _registered_later(case, early, late):
                    continue
                if early.id not in case.edits and late.id not in case.edits:
                    continue
                is_global = early.module is None and late.module is not None
                if not is_global and early.registered_at and "prepend" not in early.options:
                    continue
                told.add(pair)
                rule = (
                    "hooks for every module fire before a module's own"
                    if is_global
                    else "it was registered with prepend=True"
                )
                yield self._told(case, early, late, rule, first, then)

    def _retained(self, case: Case) -> Iterator[Finding]:
        for retaining, editing in _on_one_tensor(case):
            kept = case.firings[retaining.id][-1]
            edit = case.edits[editing.id][0]
            yield self.finding(
                f"{retaining.owner}.grad holds the gradient as the hook {editing.name} left it: "
                f"retain_grad() comes after all hooks of a tensor, whenever it was called.",
                hook=editing,
                events=(edit.seq, kept.seq),
                evidence=(edit.what, f"kept at #{kept.seq}"),
                instead="keep the gradient in the hook, before changing it",
            )

    def _accumulated_first(self, case: Case) -> Iterator[Finding]:
        for late, first, then in _module_and_parameter(case):
            early = case.log.hooks[first.hook]
            rule = "post-accumulate hooks fire before the backward hooks of their module"
            if first.seq < then.seq and early.id in case.edits:
                if _registered_later(case, early, late):
                    yield self._told(case, early, late, rule, first, then)

    def _before_the_gradients(self, case: Case) -> Iterator[Finding]:
        for hook in case.hooks:
            registration = case.log.registrations.get(hook.id)
            reads = registration is not None and "grad" in registration.names
            if hook.kind != "full_backward" or hook.module is None or not reads:
                continue
            for firing in case.firings.get(hook.id, ())[:1]:
                late = _filled_after(case, hook, firing)
                if late and not _input_gradients(firing):
                    name, seq = late
                    yield self.finding(
                        f"The hook {hook.name} on {case.owner(hook)} uses .grad, but fired before "
                        f"{name}.grad was filled: no input of {case.owner(hook)} requires grad, "
                        f"so the hook fires as soon as the gradient of the output is known.",
                        hook=hook,
                        events=(firing.seq, seq),
                        evidence=(f"fired at #{firing.seq}; {name}.grad was filled at #{seq}",),
                        instead="use register_post_accumulate_grad_hook on the parameters, or "
                        "let the input require grad",
                    )

    def _told(
        self,
        case: Case,
        early: TracedHook,
        late: TracedHook,
        rule: str,
        first: HookFired,
        then: HookFired,
    ) -> Finding:
        return self.finding(
            f"The hook {early.name} on {case.owner(early)} was registered after {late.name} on "
            f"{case.owner(late)} and fired before it: {rule}.",
            hook=early,
            events=(first.seq, then.seq),
            evidence=(
                f"#{first.seq} {early.kind} hook {early.name}, then #{then.seq} {late.kind} hook "
                f"{late.name}",
            ),
        )


# ------------------------------------------------------------------ looked up


def _at_one_call(case: Case) -> dict[Any, list[HookFired]]:
    """Return the firings of the user's module hooks by kind, call and backward run."""
    wanted = {one.id: one.kind for one in case.hooks if case.family(one) == "module"}
    found: defaultdict[Any, list[HookFired]] = defaultdict(list)
    for hook, kind in wanted.items():
        for firing in case.firings.get(hook, ()):
            run = None if kind.startswith("forward") else case.run_at(firing)
            found[kind, firing.call, run and run.number].append(firing)
    several = {place: firings for place, firings in found.items() if len(firings) > 1}
    return {place: sorted(all_, key=lambda one: one.seq) for place, all_ in several.items()}


def _registered_later(case: Case, one: TracedHook, other: TracedHook) -> bool:
    """Whether one hook was registered after another: PyTorch numbers them as they come."""
    numbers = [case.log.registrations[hook.id].number for hook in (one, other)]
    return min(numbers) >= 0 and numbers[0] > numbers[1]


def _on_one_tensor(case: Case) -> Iterator[tuple[TracedHook, TracedHook]]:
    """Yield pairs of a fired retain_grad and a tensor hook on the same tensor that edited."""
    retaining = {one.tensor: one for one in case.hooks if one.kind == "retain_grad"}
    for hook in case.hooks:
        other = retaining.get(hook.tensor)
        if hook.kind == "tensor" and hook.tensor is not None and other is not None:
            if hook.id in case.edits and other.id in case.firings:
                yield other, hook


def _module_and_parameter(case: Case) -> Iterator[tuple[TracedHook, HookFired, HookFired]]:
    """Yield backward hooks of modules, with the first firing of a parameter's hook and its own."""
    fired = [one for one in case.hooks if one.id in case.firings]
    on_modules = {one.owner: one for one in fired if one.kind == "full_backward"}
    for hook in fired:
        late = on_modules.get(hook.owner.rpartition(".")[0])
        if hook.kind == "post_accumulate_grad" and late is not None:
            yield late, case.firings[hook.id][0], case.firings[late.id][0]


def _input_gradients(firing: HookFired) -> bool:
    return any(one.value for one in firing.inputs if one.role.startswith("grad_input"))


def _filled_after(case: Case, hook: TracedHook, firing: HookFired) -> tuple[str, int] | None:
    """Return a parameter in a hook's module whose ``.grad`` was filled later in the same run."""
    run = case.run_at(firing)
    inside = "" if hook.module is None else case.log.modules[hook.module].name
    for leaf, events in case.accumulated.items():
        row = case.log.tensors[leaf]
        if row.parameter and row.name.startswith(f"{inside}." if inside else ""):
            for event in events:
                if run is not None and event.backward == run.number and event.seq > firing.seq:
                    return row.name, event.seq
    return None
