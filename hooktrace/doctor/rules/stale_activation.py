"""Hooks that stored a tensor which was overwritten later."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.overwriting import overwriter, source_of, writes_since
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import HookFired, HookId, TracedHook
from hooktrace.findings import Finding
from hooktrace.held import Held
from hooktrace.kinds import KINDS

__all__ = ["StaleActivation"]


@rule
class StaleActivation(Rule):
    """A hook stored a tensor without a copy, and it was overwritten later.

    What it finds: forward hooks and pre-hooks that stored an output or an argument, or what
        ``detach()`` or a slice of it returns, in a container, an attribute or a closure; and whose
        content is another now.
    Why it matters: what is in the store is not what the hook was given, and nothing raises. An
        in-place ReLU, as most image models have them, turns each stored output of the module before
        it into its own.
    Instead: store a copy: ``output.detach().clone()``. Or let hooktrace keep it:
        ``ht.trace(model, keep=["features.0"])``.
    Limits: what hooks do with a tensor other than to store it where their function reaches is not
        seen, nor what is in slots, or deeper than five containers, nor NumPy arrays that share
        memory with a tensor. Of tensors of more than 1 MiB only the version counter is compared.
    Source: https://github.com/pytorch/pytorch/issues/95617
    Fires:
        net = nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(inplace=True))
        saved = {}
        net[0].register_forward_hook(lambda module, args, output: saved.update(conv=output))
        with ht.trace(net) as t:
            net(torch.randn(1, 1, 4, 4))
    Silent:
        net = nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(inplace=True))
        saved = {}
        net[0].register_forward_hook(lambda module, args, output: saved.update(conv=output.clone()))
        with ht.trace(net) as t:
            net(torch.randn(1, 1, 4, 4))
    """

    name = "stale-activation"
    severity = "error"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at what was stored by hooks that were given no gradients."""
        groups: dict[tuple[HookId, str], list[Held]] = {}
        for held in case.log.holdings:
            if held.written and not KINDS[case.log.hooks[held.hook].kind].gradient:
                groups.setdefault((held.hook, held.container), []).append(held)
        for group in groups.values():
            yield from self._of_group(case, group)

    def _of_group(self, case: Case, group: list[Held]) -> Iterator[Finding]:
        held = next((one for one in group if not one.doubt), group[0])
        hook = case.log.hooks[held.hook]
        fired = case.log.at(held.firing)
        assert isinstance(fired, HookFired)
        given = next(one.value for one in fired.inputs if one.role == held.role)
        row = case.log.tensors[held.values[0].tensor if given is None else given.tensor]
        if row.leaf or row.parameter:  # which are there to be overwritten
            return
        before, _ = held.values
        writes = writes_since(case, {before.tensor, row.id}, before.version, held.firing)
        by = overwriter(writes[0]) if writes else "code that was not seen"
        more = f", and {len(writes) - 1} more" if len(writes) > 1 else ""
        stored = "the output" if held.role == "output" else held.role
        if before.tensor != row.id:
            stored = f"what shares memory with {stored}"
        yield self.finding(
            f"The {case.spoken(hook)} stored {stored} in "
            f"{held.path}, which was overwritten later: by {by}{more}.",
            hook=hook,
            source=hook.defined_at,
            events=(held.firing, *(one.seq for one in writes)),
            evidence=tuple(_evidence(held, group, source_of(writes[0]) if writes else "")),
            instead=_instead(case, hook, held),
            possible=held.doubt or _possible(held, any(one.certain for one in writes)),
        )


def _evidence(held: Held, group: list[Held], line: str) -> Iterator[str]:
    change, (before, after) = held.change, held.values
    if change is not None and change.changed is not None:
        yield (
            f"{change.changed} of {change.total} elements of {held.path} are not what the hook "
            f"was given, by up to {change.max_difference:.3g}"
        )
    elif before.version != after.version:
        yield f"stored at version {before.version}, version {after.version} now"
    if line:
        yield f"written at {line}"
    if held.still is False:
        yield "it was no longer there when the block ended"
    if len(group) > 1:
        yield f"so it is with {len(group)} tensors that the hook stored in {held.container}"


def _instead(case: Case, hook: TracedHook, held: Held) -> str:
    advice = f"store a copy: `{held.role}.detach().clone()`."
    if hook.module is None or held.role != "output":
        return advice
    name = case.log.modules[hook.module].name
    kept = f'keep=["{name}"]' if name else "keep=[model]"
    return f"{advice} Or let hooktrace keep what the module returned: `ht.trace(model, {kept})`."


def _possible(held: Held, certain: bool) -> str:
    if held.change is not None or certain:
        return ""
    return "it shares its version counter with other tensors, and is too large to be compared"
