"""Calls whose result nothing used."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.doctor.training import floats
from hooktrace.events import TensorId
from hooktrace.findings import Finding
from hooktrace.views.call import Call

__all__ = ["ModuleCalledButOutputUnused"]

_MAYBE = (
    "code between the modules may have used it without autograd, as argmax(), .item() and "
    ".detach() do, or stored it"
)


@rule
class ModuleCalledButOutputUnused(Rule):
    """A module was called in training, and what it returned led to nothing.

    What it finds: calls of which no output was given to another module, or returned by a module
        around, or lies in the graph of a loss, though the call around it took part in the loss.
    Why it matters: often the result was forgotten, or another variable used in its place; the time
        and the memory are wasted, and a module of which no other call is used is not trained.
    Instead: use the result, or leave the call away.
    Limits: only calls that could get a gradient are looked at, in a block with a backward run: for
        others it is not known what code between the modules does. A use without autograd is not
        seen.
    Source: https://docs.pytorch.org/docs/stable/notes/autograd.html
    Fires:
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.norm, self.last = nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 1)

            def forward(self, x):
                x = self.first(x)
                self.norm(x)
                return self.last(x)

        net = Net()
        with ht.trace(net) as t:
            net(torch.ones(1, 2)).sum().backward()
    Silent:
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.norm, self.last = nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 1)

            def forward(self, x):
                x = self.first(x)
                x = self.norm(x)
                return self.last(x)

        net = Net()
        with ht.trace(net) as t:
            net(torch.ones(1, 2)).sum().backward()
    """

    name = "module-called-but-output-unused"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at the calls that no gradient reached inside of calls that one did."""
        training = case.training
        if not training.complete:
            return
        broken = {around.id for one in training.breaks for around in _upwards(one.last)}
        idle: list[Call] = []
        for call in case.calls:
            around = call.parent
            if around is None or call.recomputed or call.recomputations or call.exception:
                continue
            if training.is_reached(call) or not training.is_reached(around):
                continue
            if _could_be_reached(call) and call.id not in broken:
                idle.append(call)
        taken = _taken(case, idle)
        found: dict[str, list[Call]] = {}
        for call in idle:
            if not _goes_on(call, taken):
                found.setdefault(call.name, []).append(call)
        for calls in found.values():
            ends = [one.exited.seq for one in calls if one.exited is not None]
            all_calls = [one for one in case.calls_of[calls[0].called.module] if not one.recomputed]
            trained = any(map(training.is_reached, all_calls))
            yield self.finding(
                _told(calls, len(all_calls) if trained else 0),
                call=calls[0],
                severity="note" if trained else None,
                events=tuple(ends[:8]),
                evidence=(
                    f"{calls[0]} returned {_shown(calls[0])}: no other call was given it, and no "
                    f"backward run reached it",
                    f"backward reached {calls[0].parent}, in which it was called",
                ),
                possible=_MAYBE,
            )


def _told(calls: list[Call], number: int) -> str:
    """Say which calls these are; of a module that other calls train, how many of how many."""
    title = calls[0].module.title
    if number:
        names = ", ".join(map(str, calls[:4])) + (" and more" if len(calls) > 4 else "")
        return (
            f"Nothing that led to the loss used what {len(calls)} of {number} calls of {title} "
            f"returned: {names}."
        )
    times = "" if len(calls) == 1 else f" ({len(calls)} times)"
    return f"{title} was called{times}, and nothing that led to the loss used what it returned."


def _taken(case: Case, idle: list[Call]) -> dict[TensorId, list[Call]]:
    """Return who was given, or returned, what some calls returned; by tensor."""
    found: dict[TensorId, list[Call]] = {
        one.value.tensor: [] for call in idle for one in call.seen_outputs if one.value is not None
    }
    for call in case.calls if found else ():
        for one in (*call.seen_inputs, *call.seen_outputs):
            if one.value is not None and one.value.tensor in found:
                found[one.value.tensor].append(call)
    return found


def _goes_on(call: Call, taken: dict[TensorId, list[Call]]) -> bool:
    """Whether something that a call returned was given to a call outside of it, or returned."""
    for one in call.seen_outputs:
        users = taken.get(one.value.tensor, ()) if one.value is not None else ()
        if any(user is not call and not _lies_in(user, call) for user in users):
            return True
    return False


def _lies_in(call: Call, other: Call) -> bool:
    return any(around is other for around in _upwards(call))


def _upwards(call: Call | None) -> Iterator[Call]:
    """Yield a call and those around it, from the inside."""
    while call is not None:
        yield call
        call = call.parent


def _could_be_reached(call: Call) -> bool:
    seen = floats(call.seen_outputs)
    return any(one.summary.requires_grad for one in seen)  # type: ignore[union-attr]


def _shown(call: Call) -> str:
    return ", ".join(str(one.summary) for one in floats(call.seen_outputs)[:2])
