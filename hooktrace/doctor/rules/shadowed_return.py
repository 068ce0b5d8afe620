"""Results of hooks that a later hook replaced."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import Edit, HookFired, Value
from hooktrace.findings import Finding

__all__ = ["ShadowedReturn"]


@rule
class ShadowedReturn(Rule):
    """What a hook returned was replaced by a later hook that made no use of it.

    What it finds: two hooks that fired one after the other, of which the second was given what the
        first had returned, and returned a tensor that had been there before, or one whose graph
        does not lead to anything of the model.
    Why it matters: the first hook runs but has no effect, and nothing says so.
    Instead: let the second hook compute its result from the one that it is given, or register only
        one of them.
    Limits: a second tensor hook that computes something new without the first one's result is not
        told from one that uses it, for gradients have no graph; nor is a second forward hook whose
        result has no graph, or leads to a parameter or an input of the module.
    Source: PyTorch's source, torch/nn/modules/module.py (``_call_impl``): each hook is given what
        the one before returned.
    Fires:
        model = nn.Linear(2, 2)
        kept = {}
        def double(module, args, output):
            kept["output"] = output
            return output * 2
        model.register_forward_hook(double)
        model.register_forward_hook(lambda module, args, output: kept["output"])
        with ht.trace(model) as t:
            model(torch.ones(1, 2))
    Silent:
        model = nn.Linear(2, 2)
        model.register_forward_hook(lambda module, args, output: output * 2)
        model.register_forward_hook(lambda module, args, output: output + 1)
        with ht.trace(model) as t:
            model(torch.ones(1, 2))
    """

    name = "shadowed-return"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at results that were given to a hook which returned something older."""
        made: dict[tuple[str, Value], tuple[HookFired, Edit]] = {}
        told: set[tuple[int, int]] = set()
        grafted = {
            (one.firing.seq, one.after.role)
            for cuts in case.training.cuts.values()
            for one in cuts
            if one.grafted
        }
        for firing in case.all_firings:
            for edit in firing.edits:
                if edit.how != "returned" or edit.before.value is None or edit.after.value is None:
                    continue
                first = made.get((edit.role, edit.before.value))
                new = (firing.seq, edit.role) in grafted
                if first and (new or self._is_older(edit.after.value, first)):
                    pair = first[0].hook, firing.hook
                    if pair not in told and not case.log.hooks[first[0].hook].feature:
                        told.add(pair)
                        what = "a tensor that was not computed from it" if new else _OLDER
                        yield self._of(case, first, firing, edit, what)
                made[edit.role, edit.after.value] = firing, edit

    def _is_older(self, value: Value, first: tuple[HookFired, Edit]) -> bool:
        """Whether a value had been there when the first hook was called."""
        firing, edit = first
        return value == edit.before.value or any(value == one.value for one in firing.inputs)

    def _of(
        self, case: Case, first: tuple[HookFired, Edit], second: HookFired, edit: Edit, what: str
    ) -> Finding:
        one, other = case.log.hooks[first[0].hook], case.log.hooks[second.hook]
        return self.finding(
            f"What the hook {one.name} on {case.owner(one)} returned was lost: the hook "
            f"{other.name} on "
            f"{case.owner(other)}, which was given it, returned {what}.",
            hook=one,
            events=(first[0].seq, second.seq),
            evidence=(
                f"{one.name}: {first[1].role} {first[1].before} -> {first[1].after}",
                f"{other.name}: {edit.role} {edit.before} -> {edit.after}",
                f"{other.name} was registered at {other.registered_at or other.defined_at}",
            ),
        )


_OLDER = "what had been there before"
