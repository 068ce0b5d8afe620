"""Parameters that no computation used."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.doctor.training import Training, by_module
from hooktrace.findings import Finding

__all__ = ["UnusedParameter"]


@rule
class UnusedParameter(Rule):
    """A parameter is to be trained, and nothing that led to the loss used it.

    What it finds: parameters that require a gradient, of modules that never ran in the block, or
        that ran and computed their output without them, in a model of which other parameters got
        gradients.
    Why it matters: they stay what they were at the beginning. Often a call is missing in
        ``forward()``; ``DistributedDataParallel`` raises because of them.
    Instead: use them in ``forward()``, remove them, or set ``requires_grad_(False)``.
    Limits: a module may run in other steps only, such as one of several heads or experts. Where no
        optimizer took a step in the block it is not known what is to be trained, and where one did,
        nothing is said of parameters that it does not have.
    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html,
        of ``find_unused_parameters``.
    Fires:
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.used, self.spare = nn.Linear(2, 1), nn.Linear(2, 1)

            def forward(self, x):
                return self.used(x)

        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        with ht.trace(net) as t:
            net(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    Silent:
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.used, self.other = nn.Linear(2, 2), nn.Linear(2, 1)

            def forward(self, x):
                return self.other(self.used(x))

        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        with ht.trace(net) as t:
            net(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    """

    name = "unused-parameter"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at the parameters without a gradient whose modules never ran, or were reached."""
        training = case.training
        idle: dict[str, list[str]] = {}
        cut = {one.call.id for cuts in training.cuts.values() for one in cuts}
        for module, own in training.owners.items():
            names = [one for one in own.values() if training.root_of(one) in training.trained_roots]
            calls = training.calls_of(module)
            if names and not calls:
                idle.setdefault(_topmost(training, module), []).extend(names)
            elif names and any(training.is_reached(call) for call in calls):
                if any(call.id in cut for call in calls):
                    continue  # a hook is to blame, and another rule says so
                yield self._finding(
                    case,
                    module,
                    names,
                    f"{calls[0].module.title} was called, but did not use {_count(names)} of its "
                    f"own for what it returned: {by_module(names)}",
                    "forward() does not use it, or by way of .data or .detach()",
                )
        lists = _in_lists(case)
        chosen: dict[str, dict[str, list[str]]] = {}
        for module, names in idle.items():
            if _ran_beside(lists, training, module):
                chosen.setdefault(module.rpartition(".")[0], {})[module] = names
                continue
            was = "was never called" if module else "never ran"
            yield self._finding(
                case,
                module,
                names,
                f"{_title(case, module)} {was}, and nothing that led to the loss used its "
                f"{_count(names)}: {by_module(names)}",
                "",
            )
        for around, alike in chosen.items():
            yield self._of_list(case, around, alike, lists[around][0])

    def _of_list(self, case: Case, around: str, alike: dict[str, list[str]], ran: str) -> Finding:
        """Tell of modules of one list of which others ran, such as experts."""
        names = [name for own in alike.values() for name in own]
        first, count = next(iter(alike)), len(alike)
        many = f"{count} modules of {around}" if around else f"{count} modules"
        return self._finding(
            case,
            first,
            names,
            f"{many if count > 1 else first} {'were' if count > 1 else 'was'} never called, and "
            f"nothing that led to the loss used {'their' if count > 1 else 'its'} "
            f"{_count(names)}: {by_module(names)}",
            "",
            f"{ran} of the same list ran: forward() may choose among them in each step",
        )

    def _finding(
        self,
        case: Case,
        module: str,
        names: list[str],
        message: str,
        reason: str,
        possible: str = "",
    ) -> Finding:
        training = case.training
        runs = len(case.runs)
        evidence = [
            f"{runs} backward run{'s' * (runs != 1)} reached {len(training.reached)} leaves"
        ]
        if training.stepped:
            evidence.append(f"{', '.join(case.log.optimized)} took a step and has it")
        return self.finding(
            f"{message}.",
            where=f"module {module}" if module else f"parameter {names[0]}",
            events=tuple(run.started.seq for run in case.runs[:4]),
            evidence=(*evidence, *([reason] if reason else [])),
            severity="note" if training.doubt or possible else None,
            possible=training.doubt or possible,
        )


def _count(names: list[str]) -> str:
    return f"{len(names)} parameter{'s' * (len(names) != 1)}"


def _title(case: Case, module: str) -> str:
    number = case.module_named.get(module)
    if number is None or not module.isdigit():
        return module or "A module"
    return case.log.modules[number].title


def _ran_beside(lists: dict[str, list[str]], training: Training, module: str) -> bool:
    """Whether others of the same list ran: then forward() may choose among them."""
    around, _, own = module.rpartition(".")
    return own.isdigit() and around in lists and not training.calls_of(around)


def _in_lists(case: Case) -> dict[str, list[str]]:
    """Return the modules with numbers for names that ran, by the name of what is around them."""
    found: dict[str, list[str]] = {}
    for row in case.log.modules:
        around, _, own = row.name.rpartition(".")
        if own.isdigit() and row.id in case.calls_of:
            found.setdefault(around, []).append(row.name)
    return found


def _topmost(training: Training, module: str) -> str:
    """Return the outermost module around one in which no parameter was reached either."""
    while "." in module:
        around = module.rpartition(".")[0]
        inside = [
            number for number, name in training.trainable.items() if name.startswith(f"{around}.")
        ]
        if training.calls_of(around) or not all(one in training.lacking for one in inside):
            break
        module = around
    return module
