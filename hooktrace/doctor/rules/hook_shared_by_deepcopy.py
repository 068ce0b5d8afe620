"""Hooks that copying a module has given to the copy as well."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import TracedHook
from hooktrace.findings import Finding
from hooktrace.kinds import spoken

__all__ = ["HookSharedByDeepcopy"]


@rule
class HookSharedByDeepcopy(Rule):
    """A hook was carried over to the copy of a module, and now serves both.

    What it finds: a hook of one function and one number on several modules; each registration has
        a number of its own, so a copy of the module took it along.
    Why it matters: the function fires for each of the modules, and mixes up what it records: a
        dict of activations holds those of whichever ran last. To remove the hook by its
        handle takes it off the first module only.
    Instead: copy the model before hooks are registered on it, or remove them around the
        copying; tell modules apart in the hook by its first argument.
    Limits: `ht.check` compares the modules that it is given; a trace knows of those for which the
        hook fired. A hook that is a method of what was copied is copied with it and not shared.
    Source: https://docs.python.org/3/library/copy.html: functions are not copied, and PyTorch's
        source, torch/nn/modules/module.py: hooks are a part of what is copied.
    Fires:
        import copy
        layer = nn.Linear(2, 2)
        layer.register_forward_hook(lambda module, args, output: None)
        net = nn.Sequential(layer, copy.deepcopy(layer))
        found = ht.check(net)
    Silent:
        import copy
        layer = nn.Linear(2, 2)
        net = nn.Sequential(layer, copy.deepcopy(layer))
        layer.register_forward_hook(lambda module, args, output: None)
        found = ht.check(net)
    """

    name = "hook-shared-by-deepcopy"
    severity = "warning"
    static = True

    def find(self, case: Case) -> Iterator[Finding]:
        """Group the hooks by kind, number and function."""
        groups: defaultdict[tuple[str, int, int], list[TracedHook]] = defaultdict(list)
        for hook in case.hooks:
            known = case.log.registrations.get(hook.id)
            if known is not None and known.number >= 0 and hook.module is not None:
                groups[hook.kind, known.number, known.function].append(hook)
        for (kind, number, _), hooks in groups.items():
            owners = list(dict.fromkeys(case.owner(hook) for hook in hooks))
            if len(owners) > 1:
                first = ", ".join(owners[:4])
                more = f" and {len(owners) - 4} more" if len(owners) > 4 else ""
                firings = [case.firings.get(hook.id, ())[:1] for hook in hooks]
                yield self.finding(
                    f"The {spoken(kind)} {hooks[0].name} is on {len(owners)} "
                    f"modules under one number: a copy took it along.",
                    hook=hooks[0],
                    events=tuple(fired.seq for some in firings for fired in some),
                    evidence=(f"number {number} on {first}{more}",),
                )
