"""Hooks that fire again for what they have seen already."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from hooktrace.doctor.again import Repeat, repeats, same_graph
from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import TracedHook
from hooktrace.findings import Finding

__all__ = ["FiresMoreThanOnce"]

_BECAUSE = {
    "recomputed": "checkpointing runs forward again in the backward, and its hooks with it",
    "shared": "its module is called several times in one step",
    "second-backward": "a second backward went through the same graph",
    "create-graph": "the gradients were differentiated again",
    "inner-backward": "checkpointing runs a backward of its own for each region",
}

_INSTEAD = {
    "recomputed": "let the hook overwrite what it keeps for a call, rather than append or count; "
    "or hook a module outside of the checkpointed region",
    "shared": "keep one entry for each call, rather than one for the module",
    "second-backward": "add the losses up and call backward() once, or remove the hook in between",
    "create-graph": "remove the hook after the first backward, or let it look at "
    "torch.is_grad_enabled(), which is True only where create_graph=True",
    "inner-backward": "use checkpoint(..., use_reentrant=False), or add up what the hook is given",
}


@rule
class FiresMoreThanOnce(Rule):
    """A hook fired several times for one call, or several times in one step.

    What it finds: hooks that fired again although no new step began, and for each firing the
        reason: recomputation by checkpointing; a module that is called several times in one
        step; a second backward through the same graph (``retain_graph``); the backward of a
        gradient (``create_graph``); the inner backward runs of reentrant checkpointing.
    Why it matters: a hook that counts, appends or adds up does so more often than expected, and
        one that changes a gradient changes it again.
    Instead: let the hook tell its firings apart: by the call, or by the backward run.
    Limits: it is a note, for all of this is as PyTorch means it; the steps of a loop are none.
    Source: https://docs.pytorch.org/docs/stable/checkpoint.html and issues
        https://github.com/pytorch/pytorch/issues/81296,
        https://github.com/pytorch/pytorch/issues/143573.
    Fires:
        layer = nn.Linear(2, 2)
        net = nn.Sequential(layer, nn.ReLU(), layer)
        layer.register_forward_hook(lambda module, args, output: None)
        with ht.trace(net) as t:
            net(torch.ones(1, 2))
    Silent:
        net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        net[0].register_forward_hook(lambda module, args, output: None)
        with ht.trace(net) as t:
            for step in range(3):
                net(torch.ones(1, 2))
    """

    name = "fires-more-than-once"
    severity = "note"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at the firings of each hook; hooks that one line registered make one finding."""
        graphs = same_graph(case)
        groups: defaultdict[Any, list[tuple[TracedHook, list[Repeat]]]] = defaultdict(list)
        for hook in case.hooks:
            found = repeats(case, hook, graphs)
            if found:
                names = tuple(sorted({one.name for one in found}))
                line = hook.kind, hook.name, hook.defined_at, hook.registered_at
                groups[(*line, names)].append((hook, found))
        for members in groups.values():
            yield self._told(case, members)

    def _told(self, case: Case, members: list[tuple[TracedHook, list[Repeat]]]) -> Finding:
        hook, found = members[0]
        names = list(dict.fromkeys(one.name for one in found))
        count = len(case.firings[hook.id])
        others = f" (and {len(members) - 1} like it)" if len(members) > 1 else ""
        because = "; ".join(_because(case, hook, name) for name in names)
        more = (f"and {len(found) - 4} more like these",) if len(found) > 4 else ()
        return self.finding(
            f"The {case.spoken(hook)}{others} fired {count} times, of "
            f"which {len(found)} again: {because}.",
            hook=hook,
            events=tuple(one.firing.seq for one in found),
            evidence=(*(f"#{one.firing.seq}: {one.text}" for one in found[:4]), *more),
            instead="; ".join(_INSTEAD[name] for name in names),
        )


def _because(case: Case, hook: TracedHook, name: str) -> str:
    """Say why it fired again; of a module under several names say so."""
    row = None if hook.module is None else case.log.modules[hook.module]
    if name != "shared" or row is None or not row.aliases:
        return _BECAUSE[name]
    places = [row.label, *row.aliases]
    shown = ", ".join(places[:-1][:4]) + (" ..." if len(places) > 5 else "")
    return f"{shown} and {places[-1]} are one module, which is called several times in one step"
