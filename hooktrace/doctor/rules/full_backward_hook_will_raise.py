"""Full backward hooks where PyTorch's views of inputs and outputs do not bear them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.refusals import Refusal, refusals
from hooktrace.doctor.rule import Rule, rule
from hooktrace.findings import Finding
from hooktrace.kinds import spoken
from hooktrace.tables import TracedHook
from hooktrace.trials import Trial

__all__ = ["FullBackwardHookWillRaise"]


@rule
class FullBackwardHookWillRaise(Rule):
    """A full backward hook on a module makes the model raise, or never fires.

    What it finds: by `ht.check(model, example)`, which tries it on copies, the modules on which a
        full backward (pre) hook would raise, with the code that does not bear it, or would never
        fire; an error where such a hook is registered and raises, a note where there is
        none yet. In a trace, such a hook that made the block raise, or a call whose
        exception the program caught.
    Why it matters: for such a hook PyTorch hands the module views of its inputs, and the caller
        views of its outputs. Autograd refuses to write to those in place; sparse and jagged
        tensors have no such views, and torch.func cannot differentiate through them. In
        dicts, lists and nested tuples PyTorch does not look for tensors at all.
    Instead: ask for the gradient of the output itself, which puts nothing into the graph:
        ``module.register_forward_hook(lambda module, args, output: output.register_hook(hook))``,
        where ``hook`` takes that gradient; or read ``t["name"].grad_output`` of a trace.
    Limits: what is true for the example and the mode of the model need not be for others. Your own
        hooks do not run in the copies, except for methods of the model's modules.
    Source: https://github.com/pytorch/pytorch/issues/61519 and PyTorch's source,
        torch/utils/hooks.py.
    Fires:
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
        net[0].register_full_backward_hook(lambda module, grad_input, grad_output: None)
        found = ht.check(net, torch.ones(1, 2))
    Silent:
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        net[0].register_full_backward_hook(lambda module, grad_input, grad_output: None)
        found = ht.check(net, torch.ones(1, 2))
    """

    name = "full-backward-hook-will-raise"
    severity = "error"
    static = True
    explains = True

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at the experiments, or at the exceptions that calls and the block ended with."""
        trials = case.log.trials
        if trials:
            yield from self._of_hooks(trials)
            yield from self._of_modules([one for one in trials if not one.hooks], len(trials))
            yield from self._untried([one for one in trials if one.outcome == "not tried"])
        for refusal in refusals(case):
            yield self._refused(refusal)

    # -------------------------------------------------------------- experiments

    def _of_hooks(self, trials: list[Trial]) -> Iterator[Finding]:
        """Say which of the user's hooks raise, or never fire."""
        groups: defaultdict[tuple[str, str, str], list[Trial]] = defaultdict(list)
        rows: dict[tuple[str, str, str], TracedHook] = {}
        for trial in trials:
            for hook in trial.hooks:
                key = (hook.kind, hook.name, hook.defined_at)
                rows.setdefault(key, hook)
                groups[key].append(trial)
        for key, found in groups.items():
            hook = rows[key]
            name = f"The {spoken(hook.kind)} {hook.name}"
            raising = [one for one in found if one.outcome == "raises"]
            if raising:
                yield self._raising(name, hook, raising, len(found))
            silent = [one for one in found if one.outcome in ("never fires", "not called")]
            if silent:
                yield self.finding(
                    f"{name} never fires on {_count(silent)} with this example.",
                    where=_where(hook, silent),
                    source=hook.registered_at or hook.defined_at,
                    severity="warning",
                    evidence=tuple(_silences(silent)),
                )

    def _raising(self, name: str, hook: TracedHook, raising: list[Trial], count: int) -> Finding:
        said = [_said(raising[0].error)]
        if len(raising) == 1:
            what = _what(raising[0], by_name=True)
            message = f"{name} makes the model raise on {raising[0].label}, {what}."
        else:
            on = f"{len(raising)} of the {count} modules that have it"
            message = f"{name} makes the model raise on {on}."
            said = [*_groups(raising), *said]
        return self.finding(
            message,
            where=_where(hook, raising),
            source=hook.registered_at or hook.defined_at,
            evidence=tuple(said),
        )

    def _of_modules(self, trials: list[Trial], count: int) -> Iterator[Finding]:
        """Say what would happen on modules that have no such hook."""
        where = next((f"modules of {one.type}" for one in trials if not one.module), "the modules")
        raising = [one for one in trials if one.outcome == "raises"]
        if raising:
            yield self.finding(
                f"A full backward hook on {_any(raising, count)} would make the model raise.",
                where=where,
                severity="note",
                evidence=(*_groups(raising), _said(raising[0].error)),
            )
        silent = [
            one
            for one in trials
            if one.outcome == "never fires"
            or (one.outcome == "not called" and one.type not in _CONTAINERS)
        ]
        if silent:
            yield self.finding(
                f"A full backward hook on {_any(silent, count)} would never fire with this "
                f"example.",
                where=where,
                severity="note",
                evidence=tuple(_silences(silent)),
            )

    def _untried(self, untried: list[Trial]) -> Iterator[Finding]:
        """Say of which modules nothing is known."""
        if not untried:
            return
        texts = {
            "written to in place, so that it would raise": [one for one in untried if one.reason],
            "not known": [one for one in untried if not one.reason],
        }
        yield self.finding(
            f"Full backward hooks were not tried on {_count(untried)}.",
            where=_names([one.label for one in untried]),
            severity="note",
            evidence=tuple(
                f"{text}: {_names([one.label for one in found])}"
                for text, found in texts.items()
                if found
            ),
            possible="the copies ran as often as limit= allows.",
        )

    # -------------------------------------------------------------- exceptions

    def _refused(self, refusal: Refusal) -> Finding:
        hook, call = refusal.hook, refusal.call
        return self.finding(
            f"The {spoken(hook.kind)} {hook.name} on {call.name} ({call.module.type}) made the "
            f"model raise: {refusal.what}.",
            hook=hook,
            where=f"{hook.kind} hook {hook.name} on {call.name}",
            events=refusal.events,
            evidence=tuple(
                filter(None, (refusal.line and f"raised at {refusal.line}", _said(refusal.error)))
            ),
            possible=refusal.possible,
        )


_CONTAINERS = ("ModuleList", "ModuleDict", "ParameterList", "ParameterDict")  # never called


def _where(hook: TracedHook, trials: list[Trial]) -> str:
    more = f" and {len(trials) - 1} more" if len(trials) > 1 else ""
    return f"{hook.kind} hook {hook.name} on {trials[0].module or trials[0].type}{more}"


def _said(error: str) -> str:
    """Shorten what PyTorch says to its first sentence."""
    return error.partition(". ")[0].rstrip(".")


def _groups(trials: Iterable[Trial]) -> Iterator[str]:
    """Yield one line for the modules that raise alike."""
    groups: defaultdict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[f"{trial.type}, {_what(trial)}"].append(trial)
    for text, alike in groups.items():
        by_others = [one.culprit not in (one.module, "") and not one.line for one in alike]
        names = [
            f"{one.module or one.type} (by {one.culprit})" if other else one.module or one.type
            for one, other in zip(alike, by_others, strict=True)
        ]
        yield f"{f'{len(alike)}x ' if len(alike) > 1 else ''}{text}: {_names(names)}"


def _what(trial: Trial, *, by_name: bool = False) -> str:
    """Say why a hook on a module raises; the culprit by its class, or by its name as well."""
    culprit = trial.culprit_type
    if by_name and trial.culprit:
        culprit = f"{trial.culprit} ({culprit})"
    if trial.cause == "in place":
        which = "input" if trial.inside else "output"
        if trial.culprit_type and trial.line:
            file = trial.line.replace("\\", "/").rpartition("/")[2]
            return f"whose {which} is overwritten by code in {culprit}, {file}"
        if trial.inside and trial.culprit == trial.module:
            return "which overwrites its input"
        return f"whose {which} is overwritten by {culprit or 'other code'}"
    if trial.cause == "output":
        return "of which PyTorch cannot make views"
    if trial.cause == "torch.func":
        return "called in a transform of torch.func"
    if trial.cause == "registration":
        return "which refuses the hook"
    if trial.cause == "together":
        return "only beside such hooks on other modules"
    return _said(trial.error)


def _silences(trials: Iterable[Trial]) -> Iterator[str]:
    """Yield one line for the modules whose hooks never fire for one reason."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for trial in trials:
        called = trial.outcome != "not called"
        groups[trial.reason if called else "it is not called"].append(trial.label)
    for reason, names in groups.items():
        yield f"{reason}: {_names(names)}"


def _any(trials: list[Trial], count: int) -> str:
    return trials[0].label if len(trials) == 1 else f"any of {len(trials)} of {count} modules"


def _count(trials: list[Trial]) -> str:
    return trials[0].label if len(trials) == 1 else f"{len(trials)} modules"


def _names(names: list[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
