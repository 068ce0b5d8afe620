"""Hooks that stored a tensor together with its autograd graph."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import HookFired, HookId
from hooktrace.findings import Finding
from hooktrace.held import Held

__all__ = ["HookKeepsGraphAlive"]


@rule
class HookKeepsGraphAlive(Rule):
    """A hook stored a tensor that has an autograd graph, which keeps the graph alive.

    What it finds: tensors with a ``grad_fn`` that a hook stored and that are there when the block
        ends: a warning if there are more with each step, a note if there is only the last
        step's, and its graph has saved tensors for a backward run that has not come.
    Why it matters: all that autograd saved for backward on the way to that tensor stays in memory
        until it has run through there, or the tensor is gone. In a training loop that is the usual
        way to run out of memory slowly.
    Instead: store ``output.detach()``, or ``output.detach().clone()`` if it may be overwritten;
        clear the container after each step.
    Limits: the size is what PyTorch shows of saved tensors, which releases before 2.10 do not; it
        does not count what hooks on saved tensors packed. Only tensors are seen that share memory
        with what the hook was given: not what it computed from that and stored, such as
        ``output.mean()``, nor what else keeps the graph alive, such as a stored loss.
    Source: https://docs.pytorch.org/docs/stable/notes/faq.html, "My model reports CUDA out of
        memory".
    Fires:
        net = nn.Linear(2, 2)
        saved = []
        net.register_forward_hook(lambda module, args, output: saved.append(output))
        with ht.trace(net) as t:
            for _ in range(3):
                net(torch.ones(1, 2)).sum().backward()
    Silent:
        net = nn.Linear(2, 2)
        saved = []
        net.register_forward_hook(lambda module, args, output: saved.append(output.detach()))
        with ht.trace(net) as t:
            for _ in range(3):
                net(torch.ones(1, 2)).sum().backward()
    """

    name = "hook-keeps-graph-alive"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at what is stored when the block ends and has a graph."""
        groups: dict[tuple[HookId, str], list[Held]] = {}
        for held in case.log.holdings:
            if held.graph_bytes is not None and held.still is not False:
                groups.setdefault((held.hook, held.container), []).append(held)
        for group in groups.values():
            steps = len({_step(case, held) for held in group})
            if steps > 1 or any(held.graph_bytes for held in group):
                yield self._of_group(case, group, steps)

    def _of_group(self, case: Case, group: list[Held], steps: int) -> Finding:
        last = group[-1]
        hook = case.log.hooks[last.hook]
        size = max(held.graph_bytes or 0 for held in group)
        total = sum(held.graph_bytes or 0 for held in group) if steps > 1 else size
        where = last.path if len(group) == 1 else f"{len(group)} tensors in {last.container}"
        kept = f", at least {_bytes(total)}" if total else ""
        grows = f", more with each of {steps} steps" if steps > 1 else ""
        return self.finding(
            f"The {case.spoken(hook)} stored {where} with "
            f"{'its' if len(group) == 1 else 'their'} autograd graph, which stays in memory"
            f"{kept}{grows}.",
            hook=hook,
            source=hook.defined_at,
            severity="warning" if steps > 1 else "note",
            events=tuple(held.firing for held in group),
            evidence=tuple(_evidence(group)),
            possible=next((held.doubt for held in group if held.doubt), ""),
        )


def _evidence(group: list[Held]) -> Iterator[str]:
    for held in group[:3]:
        size = f", {_bytes(held.graph_bytes)} saved" if held.graph_bytes else ""
        yield f"{held.path} has a grad_fn{size}"
    if len(group) > 3:
        yield f"and {len(group) - 3} more"


def _step(case: Case, held: Held) -> tuple[str, int]:
    """Return in which step a tensor was stored: by the outermost call, or the backward run."""
    fired = case.log.at(held.firing)
    assert isinstance(fired, HookFired)
    if fired.call is not None and fired.call in case.calls.calls:
        return "call", case.calls.calls[fired.call].root.id
    return "run", bisect([run.started.seq for run in case.runs], held.firing)


def _bytes(size: int) -> str:
    """Write a size: ``512 bytes``, ``1.5 MiB``.

    >>> _bytes(512), _bytes(1536), _bytes(3 << 20)
    ('512 bytes', '1.5 KiB', '3 MiB')
    """
    if size < 1024:
        return f"{size} bytes"
    number, units = size / 1024, ["KiB", "MiB", "GiB"]
    while number >= 1024 and len(units) > 1:
        number, units = number / 1024, units[1:]
    return f"{number:.3g} {units[0]}"
