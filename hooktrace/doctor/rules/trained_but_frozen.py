"""Parameters that get gradients, and that no optimizer changes."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.doctor.training import Training, by_module
from hooktrace.events import StepFinished, TensorId
from hooktrace.findings import Finding

__all__ = ["TrainedButFrozen"]

_ELSEWHERE = "another optimizer, which took no step in the block, may have them"


@rule
class TrainedButFrozen(Rule):
    """A parameter gets a gradient, and no optimizer that stepped has it.

    What it finds: parameters whose ``.grad`` was filled, in a model of which an optimizer trains
        other parameters. It is a warning where the optimizer has parameters that no model has any
        more, as after ``model.fc = nn.Linear(...)``, or others of the very same module; else a
        note.
    Why it matters: such a parameter costs a gradient in each step and never changes.
    Instead: make the optimizer after the model is complete, or add them with
        ``optimizer.add_param_group``; freeze what is not to be trained with
        ``requires_grad_(False)``.
    Limits: an optimizer that took no step in the block is not known: the other one of a GAN, say.
    Source: https://docs.pytorch.org/docs/stable/optim.html
    Fires:
        net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        net[1] = nn.Linear(2, 1)
        with ht.trace(net) as t:
            net(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    Silent:
        net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        net[1] = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        with ht.trace(net) as t:
            net(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    """

    name = "trained-but-frozen"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Compare what got a gradient with what the optimizers have."""
        training = case.training
        stepped = training.stepped
        roots = {training.root_of(training.names[one]) for one in stepped & set(training.names)}
        left = {
            number: name
            for number, name in training.trainable.items()
            if number in case.accumulated and number not in stepped
        }
        for root in sorted(roots):
            mine = {one: name for one, name in left.items() if training.root_of(name) == root}
            if mine:
                yield from self._of_root(case, mine)

    def _of_root(self, case: Case, left: dict[TensorId, str]) -> Iterator[Finding]:
        training = case.training
        modules = {
            training.names[one].rpartition(".")[0] for one in training.stepped & set(training.names)
        }
        strangers = len(training.stepped - set(training.names) - _known_elsewhere(training))
        sure = {
            one: name
            for one, name in left.items()
            if strangers or name.rpartition(".")[0] in modules
        }
        rest = {one: name for one, name in left.items() if one not in sure}
        optimizers = ", ".join(case.log.optimized)
        for numbers, certain in ((sure, True), (rest, False)):
            if not numbers:
                continue
            evidence = [f"{optimizers} took a step and has none of them"]
            if certain and strangers:
                evidence.append(
                    f"{optimizers} has {strangers} parameter{'s' * (strangers > 1)} that no traced "
                    f"model has"
                )
            events = [case.accumulated[one][0].seq for one in numbers][:4]
            events += [one.seq for one in case.log.of(StepFinished)][:1]
            count = len(numbers)
            yield self.finding(
                f"{count} parameter{'s' * (count > 1)} got a gradient, and no optimizer that "
                f"stepped has {'them' if count > 1 else 'it'}: {by_module(numbers.values())}.",
                where=f"parameter{'s' * (count > 1)} {', '.join([*numbers.values()][:3])}",
                events=tuple(events),
                evidence=tuple(evidence),
                severity=None if certain else "note",
                possible="" if certain else _ELSEWHERE,
            )


def _known_elsewhere(training: Training) -> set[TensorId]:
    """Return leaves with a name that belong to no model: the user optimizes them by themselves."""
    return {row.id for row in training.log.tensors if row.name and not row.parameter}
