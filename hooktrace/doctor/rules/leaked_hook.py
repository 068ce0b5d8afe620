"""Hooks that were registered inside the block and never removed."""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import ModuleCalled, TracedHook
from hooktrace.findings import Finding
from hooktrace.kinds import spoken

__all__ = ["LeakedHook"]

_LEFT = " is still registered"
_LISTED = 8  # hooks that a note for several names


@rule
class LeakedHook(Rule):
    """A hook that was registered inside the block is still registered when it ends.

    What it finds: hooks on modules, parameters and optimizers that the block left behind: a
        warning if there are more of them with each call, or if the handle of one is gone, so that
        nobody can remove it; else a note.
    Why it matters: the hook fires in all later calls as well, and keeps alive what its function
        refers to; one that is registered anew in each call makes every step slower than the last.
    Instead: keep the handle and call its ``remove()``, or write
        ``with module.register_forward_hook(hook):``; register outside of what is called repeatedly.
    Limits: hooks on intermediate tensors and autograd nodes go with these and are no leak; hooks
        for every module are a matter of global-hook-left-behind. That a handle is gone is a
        warning only if the module was known when the hook was registered: a module may well
        register hooks of its own when it is made.
    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html, which says that the
        handle that is returned serves to remove the hook.
    Fires:
        net = nn.Linear(2, 2)
        with ht.trace(net) as t:
            for _ in range(3):
                net.register_forward_hook(lambda module, args, output: None)
                net(torch.ones(1, 2))
    Silent:
        net = nn.Linear(2, 2)
        with ht.trace(net) as t:
            for _ in range(3):
                with net.register_forward_hook(lambda module, args, output: None):
                    net(torch.ones(1, 2))
    """

    name = "leaked-hook"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Group what is left by function, line and owner."""
        groups: defaultdict[Any, list[TracedHook]] = defaultdict(list)
        for hook in case.hooks:
            known = case.log.registrations.get(hook.id)
            if known is not None and known.left and hook.id in case.registered:
                if _stays(case, hook):
                    key = (hook.kind, hook.name, hook.defined_at, hook.registered_at, hook.options)
                    groups[key].append(hook)
        began = [event.seq for event in case.log.of(ModuleCalled)]
        found = [self._left(case, hooks, began) for hooks in groups.values()]
        notes = [one for one in found if one.severity == "note" and not one.evidence]
        if len(notes) < 2:
            yield from found
            return
        yield from (one for one in found if one not in notes)
        yield self._together(notes)

    def _together(self, notes: list[Finding]) -> Finding:
        """Tell in one note of hooks that are left, but can be removed."""
        count = sum(len(one.events) for one in notes)
        lines = [f"{one.message.partition(_LEFT)[0]}, at {one.source}" for one in notes[:_LISTED]]
        further = len(notes) - len(lines)
        return self.finding(
            f"{count} hooks that were registered inside the block are still registered when it "
            f"ends.",
            where=f"{len(notes)} hook functions, the first",
            source=notes[0].source,
            severity="note",
            events=tuple(sorted(seq for one in notes for seq in one.events)),
            evidence=(*lines, *([f"and {further} more"] if further else [])),
        )

    def _left(self, case: Case, hooks: list[TracedHook], began: list[int]) -> Finding:
        last = hooks[-1]
        per_owner: defaultdict[Any, list[int]] = defaultdict(list)
        for hook in hooks:
            per_owner[hook.module, hook.tensor, hook.owner].append(case.registered[hook.id][0].seq)
        moments = max(len({bisect(began, seq) for seq in seqs}) for seqs in per_owner.values())
        dropped = [one for one in hooks if case.log.registrations[one.id].dropped]
        lost = [one for one in dropped if not _young(case, one)]
        several = f"{len(per_owner)} {_what(case, last)}s"
        on = case.owner(last) if len(per_owner) == 1 else several
        named = f"The {spoken(last.kind)} {last.name} on {on}"
        if moments > 1:
            message = f"{named} was registered {len(hooks)} times, with calls in between, and "
            message += "all of these are left when the block ends."
        else:
            message = f"{named}{_LEFT} when the block ends."
        evidence = f"of {len(dropped)} the handle is gone, so that nobody can remove them"
        if len(hooks) == 1:
            evidence = "its handle is gone, so that nobody can remove it"
        return self.finding(
            message,
            hook=last,
            severity="warning" if moments > 1 or lost else "note",
            events=tuple(case.registered[one.id][0].seq for one in hooks),
            evidence=(evidence,) if dropped else (),
        )


def _what(case: Case, hook: TracedHook) -> str:
    """Return what a hook hangs on that is left: a parameter, an optimizer or a module."""
    if hook.tensor is not None:
        return "parameter"
    return "optimizer" if case.family(hook) == "optimizer" else "module"


def _young(case: Case, hook: TracedHook) -> bool:
    """Whether a hook may have been registered by its module as that was made."""
    unknown = hook.module is None and hook.tensor is None
    return unknown or case.log.registrations[hook.id].early


def _stays(case: Case, hook: TracedHook) -> bool:
    """Whether what a hook hangs on outlives a step, and is not everything."""
    if hook.tensor is not None:
        return case.log.tensors[hook.tensor].parameter
    family = case.family(hook)
    return family in ("module", "optimizer", "state_dict") and not hook.owner.startswith("every ")
