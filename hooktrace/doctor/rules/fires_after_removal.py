"""Backward hooks that fire although they were removed."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.findings import Finding

__all__ = ["FiresAfterRemoval"]


@rule
class FiresAfterRemoval(Rule):
    """A backward hook fired although it had been removed.

    What it finds: backward hooks of modules that were removed after the forward and fired in the
        backward.
    Why it matters: PyTorch collects the backward hooks of a module when the module is called;
        what the handle removes is looked at only by the next call, so that a hook which
        changes gradients still changes those of the graphs that exist.
    Instead: remove the hook after the backward, or before the forward.
    Limits: none is known.
    Source: PyTorch's source, torch/nn/modules/module.py: ``_get_backward_hooks`` makes a list in
        each call.
    Fires:
        net = nn.Linear(2, 1)
        handle = net.register_full_backward_hook(lambda module, grad_input, grad_output: None)
        with ht.trace(net) as t:
            y = net(torch.ones(1, 2, requires_grad=True))
            handle.remove()
            y.sum().backward()
    Silent:
        net = nn.Linear(2, 1)
        handle = net.register_full_backward_hook(lambda module, grad_input, grad_output: None)
        with ht.trace(net) as t:
            net(torch.ones(1, 2, requires_grad=True)).sum().backward()
            handle.remove()
    """

    name = "fires-after-removal"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Compare the moment of the removal with those of the firings."""
        for hook in case.hooks:
            removed = case.removed.get(hook.id)
            if removed is None:
                continue
            firings = case.firings.get(hook.id, ())
            late = [one for one in firings if one.time_ns > removed.time_ns]
            if case.family(hook) != "module" or not late or hook.kind.startswith("forward"):
                continue
            call = None if late[0].call is None else case.calls.calls.get(late[0].call)
            collected = (
                "" if call is None else f"; it was collected at #{call.called.seq} by {call}"
            )
            changed = any(one.edits for one in late)
            yield self.finding(
                f"The {case.spoken(hook)} fired after it was removed"
                + (", and changed a gradient." if changed else "."),
                hook=hook,
                severity="warning" if changed else "note",
                events=(removed.seq, *(one.seq for one in late)),
                evidence=(f"removed at #{removed.seq}, fired at #{late[0].seq}{collected}",),
            )
