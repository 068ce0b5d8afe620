"""Hooks that stored a gradient which is also somewhere else."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.overwriting import overwriter, writes_since
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import (
    GradientAccumulated,
    HookFired,
    HookId,
    TensorId,
    TracedHook,
    Value,
)
from hooktrace.findings import Finding
from hooktrace.held import Held
from hooktrace.kinds import KINDS

__all__ = ["StoredGradientIsNotASnapshot"]


@rule
class StoredGradientIsNotASnapshot(Rule):
    """A hook stored a gradient that PyTorch goes on to use, so it changes afterwards.

    What it finds: hooks that stored a gradient, or what ``detach()`` of it returns, where it shares
        memory with a ``.grad`` (a note), or was written to later (a warning).
    Why it matters: autograd hands the gradient of a leaf on as its ``.grad``, without a copy. The
        next backward run adds to it, ``clip_grad_norm_`` scales it and ``zero_grad`` may clear
        it, and with it what the hook stored.
    Instead: store a copy: ``grad.detach().clone()``; ``detach()`` alone makes none, nor does
        ``cpu()`` on the CPU.
    Limits: of gradients of more than 1 MiB only the version counter is compared.
    Source: PyTorch's source, torch/csrc/autograd/functions/accumulate_grad.h.
    Fires:
        w = torch.ones(2, requires_grad=True)
        grads = []
        w.register_hook(lambda grad: grads.append(grad.detach()))
        with ht.trace() as t:
            (w * 2).sum().backward()
            (w * 2).sum().backward()
    Silent:
        w = torch.ones(2, requires_grad=True)
        grads = []
        w.register_hook(lambda grad: grads.append(grad.clone()))
        with ht.trace() as t:
            (w * 2).sum().backward()
            (w * 2).sum().backward()
    """

    name = "stored-gradient-is-not-a-snapshot"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at what was stored by hooks that were given gradients."""
        groups: dict[tuple[HookId, str, bool], list[Held]] = {}
        for held in case.log.holdings:
            hook = case.log.hooks[held.hook]
            if KINDS[hook.kind].gradient and (held.written or held.leaf is not None):
                if not case.log.tensors[held.values[0].tensor].parameter:
                    key = held.hook, held.container, held.written
                    groups.setdefault(key, []).append(held)
        for (row, _, written), group in groups.items():
            hook = case.log.hooks[row]
            yield (self._written if written else self._shared)(case, hook, group)

    def _written(self, case: Case, hook: TracedHook, group: list[Held]) -> Finding:
        held = next((one for one in group if not one.doubt), group[0])
        found = list(_events(case, held))
        by = f", by {found[0][1]}" if found else ""
        return self.finding(
            f"The {case.spoken(hook)} stored {_what(held)} in "
            f"{held.path}, which was changed later{by}.",
            hook=hook,
            source=hook.defined_at,
            events=(held.firing, *(seq for seq, _ in found)),
            evidence=tuple(_evidence(case, held, group, [text for _, text in found])),
            possible=held.doubt,
        )

    def _shared(self, case: Case, hook: TracedHook, group: list[Held]) -> Finding:
        held = group[0]
        assert held.leaf is not None
        return self.finding(
            f"The {case.spoken(hook)} stored {_what(held)} in "
            f"{held.path}, whose memory is that of {case.name(held.leaf)}.grad.",
            hook=hook,
            severity="note",
            source=hook.defined_at,
            events=(held.firing,),
            evidence=(_untouched(held),),
            possible=held.doubt,
        )


def _untouched(held: Held) -> str:
    """Say why it still holds what it held."""
    before, after = held.values
    if before.version == after.version:
        return "nothing has written to it yet: the next backward run may"
    return "it was written to since, and happens to hold the same values again"


def _what(held: Held) -> str:
    return held.role if "." in held.role else f"its {held.role} without a copy"


def _events(case: Case, held: Held) -> list[tuple[int, str]]:
    """Return what wrote to a stored gradient, as far as it was seen: seq and words."""
    fired = case.log.at(held.firing)
    assert isinstance(fired, HookFired)
    tensors = {held.values[0].tensor}
    tensors |= {one.value.tensor for one in fired.inputs if one.role == held.role and one.value}
    found: list[tuple[int, str]] = []
    for event in case.accumulated.get(held.leaf, ()) if held.leaf is not None else ():
        if event.seq > held.firing:
            if _in_place(event, tensors):
                name = case.name(event.tensor)
                found.append(
                    (event.seq, f"backward run {event.backward}, which added to {name}.grad")
                )
            if event.after.value is not None:
                tensors.add(event.after.value.tensor)
    writes = writes_since(case, tensors, held.values[0].version, held.firing)
    return sorted([*found, *((one.seq, overwriter(one)) for one in writes)])


def _in_place(event: GradientAccumulated, tensors: set[TensorId]) -> bool:
    """Whether autograd added to what was there, instead of putting a new tensor in its place."""
    before, after = event.before, event.after
    if before is None or before.value is None or after.value is None:
        return False
    same: tuple[Value, Value] = before.value, after.value
    return same[0].tensor == same[1].tensor and same[0].version != same[1].version


def _evidence(case: Case, held: Held, group: list[Held], by: list[str]) -> Iterator[str]:
    change, (before, after) = held.change, held.values
    if change is not None and change.changed is not None:
        yield (
            f"{change.changed} of {change.total} elements of {held.path} are not what the hook "
            f"was given ({change.text}), by up to {change.max_difference:.3g}"
        )
    else:
        yield f"stored at version {before.version}, version {after.version} now"
    if held.leaf is not None:
        yield f"it shares memory with {case.name(held.leaf)}.grad"
    yield from (f"then {text}" for text in [*dict.fromkeys(by)][1:4])
    if len(group) > 1:
        yield f"so it is with {len(group)} gradients that the hook stored in {held.container}"
