"""Hooks that write into the gradient they are given."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.findings import Finding

__all__ = ["InPlaceGradientEdit"]


@rule
class InPlaceGradientEdit(Rule):
    """A tensor hook wrote into the gradient that it was given.

    What it finds: hooks on tensors that changed their argument in place, such as by
        ``grad.mul_(2)``, instead of returning a new gradient.
    Why it matters: autograd may hand the very same tensor to other nodes, so that their
        gradients change as well; whether it does depends on the operations around.
    Instead: return the changed gradient: ``return grad * 2``.
    Limits: writes through ``.data`` or numpy are seen only where hooks' arguments are copied,
        which ``edits="versions"`` does not do.
    Source: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.register_hook.html, which
        says that a hook should not modify its argument.
    Fires:
        w = torch.ones(2, requires_grad=True)
        w.register_hook(lambda grad: grad.mul_(2))
        with ht.trace() as t:
            (w * 3).sum().backward()
    Silent:
        w = torch.ones(2, requires_grad=True)
        w.register_hook(lambda grad: grad * 2)
        with ht.trace() as t:
            (w * 3).sum().backward()
    """

    name = "in-place-gradient-edit"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at the edits of tensor hooks."""
        for hook in case.hooks:
            if hook.kind != "tensor":
                continue
            edits = [one for one in case.edits.get(hook.id, ()) if one.how == "in_place"]
            if edits:
                yield self.finding(
                    f"The hook {hook.name} on {hook.owner} wrote into its gradient in place.",
                    hook=hook,
                    events=tuple(one.seq for one in edits),
                    evidence=(edits[0].what,),
                )
