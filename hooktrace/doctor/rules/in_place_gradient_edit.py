"""Hooks that write into the gradient they are given."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.doctor.rules.shared_gradient_corruption import SharedGradientCorruption
from hooktrace.findings import Finding
from hooktrace.views.effects import EditView

__all__ = ["InPlaceGradientEdit"]


@rule
class InPlaceGradientEdit(Rule):
    """A hook wrote into a gradient that it was given.

    What it finds: hooks on tensors, nodes and modules that changed a gradient in place, such as by
        ``grad.mul_(2)``, instead of returning a new gradient.
    Why it matters: autograd may hand the very same tensor to other nodes, so that their
        gradients change as well; whether it does depends on the operations around.
    Instead: return the changed gradient: ``return grad * 2``.
    Limits: writes through ``.data`` or numpy are seen only where hooks' arguments are copied,
        which ``edits="versions"`` does not do. Hooks whose write is known to have changed
        another tensor's gradient are left to shared-gradient-corruption.
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
        """Look at the edits of hooks on gradients.

        Post-accumulate hooks may write: the ``.grad`` that they find is their parameter's own.
        """
        harmful = {
            seq
            for finding in SharedGradientCorruption().find(case)
            if not finding.possible
            for seq in finding.events
        }
        for hook in case.hooks:
            if hook.kind not in _KINDS:
                continue
            if any(firing.seq in harmful for firing in case.firings.get(hook.id, ())):
                continue
            edits = [one for one in case.edits.get(hook.id, ()) if one.how == "in_place"]
            if edits:
                times = f" {len(edits)} times" if len(edits) > 1 else ""
                yield self.finding(
                    f"The hook {hook.name} on {case.owner(hook)} wrote into {_KINDS[hook.kind]} "
                    f"in place{times}.",
                    hook=hook,
                    events=tuple(one.seq for one in edits),
                    evidence=(edits[0].what, *_doubles(case, edits[0])),
                )


_KINDS = {
    "tensor": "its gradient",
    "multi_grad": "a gradient",
    "node_pre": "the gradients that the node received",
    "node": "the gradients of the node",
    "full_backward_pre": "grad_output",
    "full_backward": "grad_input or grad_output",
    "backward": "grad_input or grad_output",
}


def _doubles(case: Case, edit: EditView) -> Iterator[str]:
    """Say of an edit which other arguments of the hook are the same tensor."""
    value = edit.values[0]
    firing = next(one for one in case.firings[edit.hook.id] if one.seq == edit.seq)
    same = [one.role for one in firing.inputs if one.value == value]
    if value is not None and len(same) > 1:
        yield f"{' and '.join(same)} are one tensor, so all of them changed"
