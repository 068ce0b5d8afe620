"""Hooks that cut the graph."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.cuts import Cut
from hooktrace.doctor.rule import Rule, rule
from hooktrace.doctor.training import by_module
from hooktrace.events import Observation
from hooktrace.findings import Finding

__all__ = ["DetachedByHook"]


@rule
class DetachedByHook(Rule):
    """A forward hook returned a tensor whose graph does not lead back to what it was given.

    What it finds: forward hooks and forward pre-hooks that were given a tensor that requires grad
        and put one into its place that does not, such as ``output.detach() * 2``; and forward
        hooks that returned a tensor with a graph of its own, such as a new one that requires grad.
    Why it matters: no gradient gets past such a tensor: nothing before the module is trained
        through it, and no error tells.
    Instead: compute the new value with operations that autograd records, ``return output * 2``; to
        store a value, store a copy, ``output.detach().clone()``, and return nothing.
    Limits: to stop a gradient may be what the hook is for. ``output.detach_()`` is seen where the
        hook is the only one on its module.
    Source: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.detach.html
    Fires:
        net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        net[0].register_forward_hook(lambda module, args, output: output.detach() * 2)
        with ht.trace(net) as t:
            net(torch.ones(1, 2)).sum().backward()
    Silent:
        net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        net[0].register_forward_hook(lambda module, args, output: output * 2)
        with ht.trace(net) as t:
            net(torch.ones(1, 2)).sum().backward()
    """

    name = "detached-by-hook"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at what forward hooks were given, and at what they left."""
        for hook in case.hooks:
            cuts = case.training.cuts.get(hook.id)
            if not cuts:
                continue
            cut = cuts[0]
            before, after = cut.before, cut.after
            lacking = [
                name
                for module, own in case.training.owners.items()
                if any(one.called.seq < cut.firing.seq for one in case.training.calls_of(module))
                for name in own.values()
            ]
            evidence = [f"{before.role} of {cut.call}: {before.summary} that requires grad"]
            lost = "whose graph does not lead to it" if cut.grafted else "that does not"
            evidence += [f"after the hook: {after.summary} {lost}"]
            if lacking:
                evidence.append(f"without a gradient in this block: {by_module(lacking)}")
            yield self.finding(
                f"The {case.spoken(hook)} put a tensor {_lacks(cut)} in the place of "
                f"{_what(before)}: no gradient gets past it.",
                hook=hook,
                events=tuple(one.firing.seq for one in cuts),
                evidence=tuple(evidence),
                severity=None if case.runs else "note",
            )


def _what(before: Observation) -> str:
    return "the output" if before.role.startswith("output") else "an argument"


def _lacks(cut: Cut) -> str:
    return "that was not computed from it" if cut.grafted else "without a graph"
