"""Parameters that were used, and got no gradient, because the path to the loss is cut."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.circumstances import in_reentrant
from hooktrace.doctor.rule import Rule, rule
from hooktrace.doctor.training import Break, by_module, floats
from hooktrace.findings import Finding
from hooktrace.views.call import Call

__all__ = ["GraphBroken"]


@rule
class GraphBroken(Rule):
    """Parameters that were used got no gradient, because the path to the loss is cut.

    What it finds: parameters that require a gradient, and whose modules ran, and that no backward
        run reached, because something on the way has no graph: ``.data``, ``.detach()``,
        ``.item()``, numpy, ``torch.tensor(...)`` of a tensor, ``torch.no_grad()``. It names the
        call after which the path ends, and the one that was given a tensor without a graph.
    Why it matters: these parameters are not trained, and no error tells.
    Instead: let the values pass as tensors from call to call and into the loss; use ``.item()``,
        ``.detach()`` and numpy for what you print or store only.
    Limits: code between modules is not seen: that the tensor without a graph was computed from what
        the call before it returned is known only where both hold the same few numbers. Nothing is
        said of parameters that no optimizer that stepped has, nor of blocks with ``backward(inputs=
        ...)`` or compiled modules.
    Source: https://docs.pytorch.org/docs/stable/notes/autograd.html
    Fires:
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.last = nn.Linear(2, 2), nn.Linear(2, 1)

            def forward(self, x):
                return self.last(torch.tensor(self.first(x).tolist()))

        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        with ht.trace(net) as t:
            net(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    Silent:
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.last = nn.Linear(2, 2), nn.Linear(2, 1)

            def forward(self, x):
                return self.last(self.first(x))

        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        with ht.trace(net) as t:
            net(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    """

    name = "graph-broken"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look where the paths end, and which modules ran without autograd."""
        for found in case.training.breaks:
            if not _by_hook(case, found):
                yield self._broken(case, found)
        if case.training.stepped:
            yield from self._without_autograd(case)

    def _broken(self, case: Case, found: Break) -> Finding:
        last, following = found.last, found.following
        count = len(found.lacking)
        got = f"{count} parameter{'s' * (count != 1)} got no gradient: {by_module(found.lacking)}"
        events = [last.exited.seq] if last.exited is not None else []
        ends = (
            f"{last} returned {_shown(last)}, which requires grad and was not reached by backward"
        )
        if found.where == "within":
            message = f"The graph is broken inside {last}: what it returned does not require grad"
            evidence = [f"{last} returned {_shown(last)}, which does not require grad"]
        elif found.where == "outside":
            root = last.root
            message = f"The loss was not computed from what {root} returned, or not by autograd"
            evidence = [f"{root} returned {_shown(root)}, which backward did not reach"]
        elif following is not None:
            message = f"The graph is broken between {last} and {following}"
            evidence = [ends, f"{following} was given {_given(following)}, which does not"]
            events.append(following.called.seq)
        else:
            message = f"The graph is broken after {last}"
            evidence = [
                ends,
                f"{last.root} returned {_shown(last.root)}, which does not require grad",
            ]
        return self.finding(
            f"{message}; {got}.",
            call=following or last,
            events=(*events, *(run.started.seq for run in case.runs[:3])),
            evidence=tuple(evidence),
            severity="note" if case.training.doubt else None,
            possible=case.training.doubt or _doubt(found),
        )

    def _without_autograd(self, case: Case) -> Iterator[Finding]:
        """Find modules that an optimizer is to train, and that ran under no_grad only."""
        training = case.training
        blind: dict[str, list[str]] = {}
        first: dict[str, Call] = {}
        for module, own in training.owners.items():
            calls = training.calls_of(module)
            if calls and not any(call.mode.grad or call.recomputations for call in calls):
                around = _outermost(calls[0])
                first.setdefault(str(around), around)
                blind.setdefault(str(around), []).extend(own.values())
        for label, names in blind.items():
            call = first[label]
            count = len(names)
            mode, instead = "without autograd, as under torch.no_grad()", _AUTOGRAD_ON
            if in_reentrant(case, call) and not case.log.reentrant[call.id]:
                mode = "in checkpoint(use_reentrant=True) with no input that requires grad"
                instead = "pass use_reentrant=False to checkpoint()"
            yield self.finding(
                f"{label} ran {mode}, so that {count} "
                f"parameter{'s' * (count != 1)} got no gradient, though an optimizer is to train "
                f"them: {by_module(names)}.",
                call=call,
                events=(call.called.seq,),
                evidence=(f"{', '.join(case.log.optimized)} took a step and has them",),
                instead=instead,
            )


_AUTOGRAD_ON = (
    "call the module with autograd on, or leave its parameters out of the optimizer and set "
    "requires_grad_(False)"
)


def _outermost(call: Call) -> Call:
    """Return the outermost call around one that ran without autograd too."""
    while call.parent is not None and not call.parent.mode.grad:
        call = call.parent
    return call


def _shown(call: Call) -> str:
    return ", ".join(str(one.summary) for one in floats(call.seen_outputs)[:2])


def _given(call: Call) -> str:
    seen = [one for one in floats(call.seen_inputs) if not one.summary.requires_grad]  # type: ignore[union-attr]
    return f"{seen[0].role}: {seen[0].summary}"


def _doubt(found: Break) -> str:
    if found.sure:
        return ""
    if found.following is not None:
        return (
            f"that {found.following} was given what was computed from the output of {found.last} "
            f"is concluded from its size only"
        )
    return "what became of it between the calls was not seen"


def _by_hook(case: Case, found: Break) -> bool:
    """Whether a hook made the cut: then another rule tells it."""
    cut = {one.call.id for cuts in case.training.cuts.values() for one in cuts}
    call: Call | None = found.last
    while call is not None:
        if call.id in cut:
            return True
        call = call.parent
    return found.following is not None and found.following.id in cut
