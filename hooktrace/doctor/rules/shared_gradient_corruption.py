"""Hooks whose write in place changed the gradient of another tensor."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import Change, Edit, GradientOverwritten, HookFired, HookId, TracedHook
from hooktrace.findings import Finding

__all__ = ["SharedGradientCorruption"]


@rule
class SharedGradientCorruption(Rule):
    """A hook that wrote into its gradient changed the gradient of another tensor as well.

    What it finds: writes in place by hooks on tensors, nodes and modules to a gradient that
        autograd had sent to another node too. An addition hands one and the same tensor to both
        of its sides, and views of a gradient share its memory.
    Why it matters: the other tensor, which has no part in the hook, gets a wrong gradient, and
        so does everything behind it. PyTorch does not notice.
    Instead: return the changed gradient and leave the given one alone: ``return grad * 2``
        instead of ``grad.mul_(2)``.
    Limits: gradients of subclasses, and sparse, nested or fake ones are not looked at, nor are
        nodes that receive them in compiled code. A custom function that writes into its
        ``grad_output`` is seen only where there are hooks on gradients too.
    Source: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.register_hook.html, which
        says that a hook should not modify its argument.
    Fires:
        u = torch.ones(1, requires_grad=True)
        v = torch.ones(1, requires_grad=True)
        u.register_hook(lambda grad: grad.mul_(10))
        with ht.trace() as t:
            ((u + v) * 2).sum().backward()
    Silent:
        u = torch.ones(1, requires_grad=True)
        v = torch.ones(1, requires_grad=True)
        u.register_hook(lambda grad: grad.mul_(10))
        with ht.trace() as t:
            (u * v * 2).sum().backward()
    """

    name = "shared-gradient-corruption"
    severity = "error"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at the gradients that were overwritten on their way."""
        hits: dict[HookId, list[GradientOverwritten]] = {}
        for event in case.log.of(GradientOverwritten):
            if _changed(case, event) and not _comes_to_the_same(case, event):
                hits.setdefault(event.hook, []).append(event)
        for hook in case.hooks:
            if hook.id in hits:
                yield from self._of_hook(case, hook, hits[hook.id])

    def _of_hook(
        self, case: Case, hook: TracedHook, events: list[GradientOverwritten]
    ) -> Iterator[Finding]:
        sure = [one for one in events if not _doubt(case, one)]
        shown = sure or events
        titles = list(dict.fromkeys(case.title(one.node) for one in shown))
        names = ", ".join(titles[:4]) + (f" and {len(titles) - 4} more" if titles[4:] else "")
        firings = [_firing(case, one).seq for one in shown]
        yield self.finding(
            f"The hook {hook.name} on {case.owner(hook)} wrote into its gradient in place, which "
            f"changed the gradient of {names} too: autograd had sent the same memory to both.",
            hook=hook,
            severity=None if sure else "warning",
            events=tuple(sorted({*firings, *(one.seq for one in shown)})),
            evidence=tuple(dict.fromkeys(_seen(case, one) for one in shown))[:8],
            possible="" if sure else _doubt(case, shown[0]),
        )


def _changed(case: Case, event: GradientOverwritten) -> bool:
    change = _change(case, event)
    return change is None or change.kind != "unchanged"


def _change(case: Case, event: GradientOverwritten) -> Change | None:
    before, after = event.before.value, event.after.value
    return case.log.changes.get((before, after)) if before and after else None


def _firing(case: Case, event: GradientOverwritten) -> HookFired:
    """Return the firing that wrote."""
    firings = case.firings[event.hook]
    for firing in firings:
        if any(edit.before.value == event.before.value for edit in firing.edits):
            return firing
    before = [one for one in firings if one.seq < event.seq]
    return before[-1] if before and event.sender is not None else firings[len(before)]


def _comes_to_the_same(case: Case, event: GradientOverwritten) -> bool:
    """Whether the other side has a hook of the same function, which found its work done.

    That is so of ``clamp_``: to cut twice is to cut once.
    """
    wrote = _firing(case, event).seq
    function = case.log.registrations[event.hook].function
    for hook in case.hooks_at.get(event.node, ()):
        if case.log.registrations[hook].function != function:
            continue
        later = [one for one in case.firings.get(hook, ()) if one.seq > wrote]
        if later and all(_leaves_as_it_is(case, edit) for edit in later[0].edits):
            return True
    return False


def _leaves_as_it_is(case: Case, edit: Edit) -> bool:
    before, after = edit.before.value, edit.after.value
    found = case.log.changes.get((before, after)) if before and after else None
    return found is not None and found.kind == "unchanged"


def _doubt(case: Case, event: GradientOverwritten) -> str:
    """Say why it is not sure that the other side got a wrong gradient; empty if it is."""
    change, numbers = _change(case, event), event.before.numbers
    if change is not None and change.kind == "unknown" and numbers in (None, event.after.numbers):
        return f"the write was not compared ({change.reason}), so it may have changed nothing"
    if event.arrived:
        return ""
    run = next(one for one in case.runs if event in one)
    others = set(case.senders.get(event.node, ())) & case.reached(run) - {event.sender}
    if others <= case.behind([event.at]):
        return ""  # they send only after the hook has written
    return "another gradient may have been added to the shared one before the hook wrote to it"


def _seen(case: Case, event: GradientOverwritten) -> str:
    """Say what the other side was sent, and what that became."""
    change = _change(case, event)
    title = case.title(event.node)
    was = f"the gradient of {title} was" if event.sender is None else f"{title} was sent"
    how = f" ({change.text})" if change is not None and change.kind != "unknown" else ""
    end = "" if event.arrived else ", then other gradients were added or other hooks ran"
    return f"{was} {event.before}, which became {event.after}{how}{end}"
