"""Hooks that never fired, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from hooktrace.doctor.case import Case
from hooktrace.doctor.never import Reason, unfired
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import TracedHook
from hooktrace.findings import Finding

__all__ = ["NeverFired"]


@rule
class NeverFired(Rule):
    """A hook was registered and never fired.

    What it finds: hooks that did not fire in the block, with the reason: registered after the
        forward or removed before it; on a module that nothing calls (a ModuleList, the out_proj
        of an attention, a part of a fused encoder layer, one whose forward() is called directly);
        no gradient comes back (no_grad, an output that does not require grad, a dict as output, no
        part of the loss's graph, a view that was written to, a parameter that was replaced);
        autograd.grad instead of backward; an exception.
    Why it matters: what the hook should record or change is missing, and nothing says so.
    Instead: see the reason; hooks fire when the module itself is called, and backward hooks only
        if a gradient comes back to it.
    Limits: hooks of optimizers and state dicts that had no occasion are not told; nor are hooks
        for which no reason could be verified. One that waits for a backward when none ran is a
        note, as is one of many by which the same line hooked other modules that did run.
    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html and
        https://docs.pytorch.org/docs/stable/notes/autograd.html#backward-hooks-execution; issues
        https://github.com/pytorch/pytorch/issues/87540,
        https://github.com/pytorch/pytorch/issues/78109,
        https://github.com/pytorch/pytorch/issues/128413.
    Fires:
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        with ht.trace(net) as t:
            y = net(torch.ones(1, 2))
            net[0].register_full_backward_hook(lambda module, grad_input, grad_output: None)
            y.sum().backward()
    Silent:
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        with ht.trace(net) as t:
            net[0].register_full_backward_hook(lambda module, grad_input, grad_output: None)
            net(torch.ones(1, 2, requires_grad=True)).sum().backward()
    """

    name = "never-fired"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look for the reasons; hooks that share one make one finding."""
        groups: defaultdict[Any, list[tuple[TracedHook, Reason]]] = defaultdict(list)
        for number, reason in unfired(case).items():
            if reason.rule == self.name:
                hook = case.log.hooks[number]
                groups[_alike(hook, reason)].append((hook, reason))
        fired = {_line(case.log.hooks[number]) for number in case.firings}
        for members in groups.values():
            yield self._told(case, members, blanket=_line(members[0][0]) in fired)

    def _told(
        self, case: Case, members: list[tuple[TracedHook, Reason]], *, blanket: bool
    ) -> Finding:
        hook, reason = members[0]
        who = f"The {case.spoken(hook)}"
        evidence = reason.evidence
        if len(members) > 1:
            owners = ", ".join(dict.fromkeys(one.owner for one, _ in members[:4]))
            more = f" and {len(members) - 4} more" if len(members) > 4 else ""
            who = f"{who} and {len(members) - 1} like it"
            evidence = (*evidence, f"on {owners}{more}")
        return self.finding(
            f"{who} never fired: {reason.text}.",
            hook=hook,
            severity="note" if blanket else reason.severity,
            events=tuple(dict.fromkeys(seq for _, one in members for seq in one.events))[:16],
            evidence=evidence,
            instead=reason.advice,
            possible=reason.possible,
        )


def _line(hook: TracedHook) -> tuple[str | None, str, str]:
    """Return what hooks have in common that one line registered on several modules or tensors."""
    return hook.registered_at, hook.name, hook.defined_at


def _alike(hook: TracedHook, reason: Reason) -> Any:
    """Return what hooks have in common that make one finding."""
    if reason.name in ("idle", "no-backward"):
        return reason.name
    return (reason.name, hook.kind, *_line(hook))
