"""Parameters that do not require a gradient, and that an optimizer changes all the same."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.doctor.training import by_module
from hooktrace.events import StepFinished, StepStarted, TensorId
from hooktrace.findings import Finding

__all__ = ["FrozenButTrained"]


@rule
class FrozenButTrained(Rule):
    """An optimizer's step changed a parameter that is frozen.

    What it finds: parameters with ``requires_grad=False`` at the end of an optimizer's step, to
        which that step wrote.
    Why it matters: the optimizer goes by ``.grad``, not by ``requires_grad``: what was in ``.grad``
        when the parameter was frozen is still there, and momentum and weight decay go on with it.
    Instead: set ``.grad = None`` when you freeze, or give the optimizer only what requires grad.
    Limits: what hooks wrote around the step is not counted. Was a parameter frozen by something
        inside of the step, such as a closure, the step may have been right.
    Source: https://docs.pytorch.org/docs/stable/notes/autograd.html, and PyTorch's source,
        torch/optim/sgd.py.
    Fires:
        net = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        net(torch.ones(1, 2)).sum().backward()
        net.weight.requires_grad_(False)
        with ht.trace(net) as t:
            optimizer.step()
    Silent:
        net = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        net(torch.ones(1, 2)).sum().backward()
        net.weight.requires_grad_(False).grad = None
        with ht.trace(net) as t:
            optimizer.step()
    """

    name = "frozen-but-trained"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at what each optimizer's steps wrote to."""
        started = {one.step: one for one in case.log.of(StepStarted)}
        steps: dict[str, list[StepFinished]] = {}
        changed: dict[str, dict[TensorId, None]] = {}
        for step in case.log.of(StepFinished):
            mine = [one for one in step.frozen if not _by_hook(case, started[step.step], step, one)]
            if mine:
                steps.setdefault(step.optimizer, []).append(step)
                changed.setdefault(step.optimizer, {}).update(dict.fromkeys(mine))
        for optimizer, numbers in changed.items():
            names = [case.training.names.get(one) or case.name(one) for one in numbers]
            count = len(names)
            verb = "are" if count > 1 else "is"
            yield self.finding(
                f"{optimizer} changed {by_module(names)}, which {verb} frozen.",
                where=f"parameter{'s' * (count > 1)} {', '.join(names[:3])}",
                events=tuple(one.seq for one in steps[optimizer]),
                evidence=(
                    f"requires_grad=False and written to in {len(steps[optimizer])} "
                    f"step{'s' * (len(steps[optimizer]) > 1)} of {optimizer}",
                ),
            )


def _by_hook(case: Case, started: StepStarted, finished: StepFinished, tensor: TensorId) -> bool:
    """Whether only hooks wrote to a tensor while a step lasted."""
    writes = [one for one in case.written.get(tensor, ()) if started.seq < one.seq < finished.seq]
    return bool(writes) and all(one.hook is not None for one in writes)
