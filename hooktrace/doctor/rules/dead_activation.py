"""ReLUs that let nothing through."""

from __future__ import annotations

import math
from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.findings import Finding
from hooktrace.tensorstats import TensorStats
from hooktrace.views.call import Call

__all__ = ["DeadActivation"]

_KINDS = {"ReLU", "ReLU6", "Threshold", "Hardswish"}
"""Activations that are exactly zero for all that is negative enough."""

_BY_CHANCE = 10
"""Fewer channels than this are all negative by chance once in 2^n times, n their number."""


@rule
class DeadActivation(Rule):
    """A ReLU returned zeros only, or most of its channels are zero over the whole batch.

    What it finds: calls of ReLU, ReLU6, Threshold and Hardswish whose output is zero in every
        element; as a note, those in which more than half of the channels, and more than chance
        explains, are zero over the batch and over all places.
    Why it matters: where the output is zero the gradient is zero as well, so that whatever
        feeds a dead unit learns nothing from this batch, and if it is dead for every batch, never
        again.
    Instead: lower the learning rate, start from weights of He's initialisation and biases of zero,
        put a normalisation before the activation, or use LeakyReLU or GELU.
    Limits: it needs ``stats=True``, and speaks of the batches of this trace only. Fewer than 10
        channels may be zero by chance and are a note. Channels are dimension 1 of outputs of 2, 4
        or 5 dimensions; with weights that are symmetric around zero up to half of them may be dead
        when all inputs are alike, so the note begins three standard deviations above a half.
        ``F.relu`` is no module and is not seen.
    Source: Glorot, Bordes and Bengio 2011, Deep Sparse Rectifier Neural Networks
        (https://proceedings.mlr.press/v15/glorot11a.html), and Lu et al. 2019, Dying ReLU and
        Initialization (https://arxiv.org/abs/1903.06733).
    Fires:
        net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
        nn.init.constant_(net[0].bias, -100.0)
        with ht.trace(net, stats=True) as t:
            net(torch.randn(8, 4)).sum().backward()
    Silent:
        net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
        with ht.trace(net, stats=True) as t:
            net(torch.randn(8, 4)).sum().backward()
    """

    name = "dead-activation"
    severity = "warning"
    statistics = True

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at the outputs of the ReLUs, and tell of each the call that is worst."""
        for row in case.log.modules:
            if row.base not in _KINDS:
                continue
            seen = [
                (call, stats)
                for call in case.calls_of.get(row.id, ())
                if (stats := _of(case, call))
            ]
            dead = [(call, stats) for call, stats in seen if stats.zeros == stats.total]
            if dead:
                yield self._all_zero(dead, len(seen))
            else:
                half = [(call, stats) for call, stats in seen if _mostly_dead(call, stats)]
                if half:
                    yield self._channels(half, len(seen))

    def _all_zero(self, dead: list[tuple[Call, TensorStats]], calls: int) -> Finding:
        call, stats = max(dead, key=lambda pair: pair[1].total)
        drawn = stats.total if stats.channels is None else stats.channels
        return self.finding(
            f"{call} ({call.module.type}) returned nothing but zeros: all {stats.total} elements"
            f"{_often(len(dead), calls)}.",
            call=call,
            severity="note" if drawn < _BY_CHANCE else None,
            events=tuple(one.exited.seq for one, _ in dead if one.exited is not None),
            evidence=_came_in(call),
            possible=f"{drawn} channels may be negative by chance" if drawn < _BY_CHANCE else "",
        )

    def _channels(self, half: list[tuple[Call, TensorStats]], calls: int) -> Finding:
        call, stats = max(half, key=lambda pair: pair[1].dead_channels or 0)
        assert stats.channels is not None
        return self.finding(
            f"Of {call} ({call.module.type}), {stats.dead_channels} of {stats.channels} channels "
            f"are zero over the whole batch{_often(len(half), calls)}.",
            call=call,
            severity="note",
            events=tuple(one.exited.seq for one, _ in half if one.exited is not None),
            evidence=(
                f"{stats.zeros} of {stats.total} elements are zero; told above "
                f"{_threshold(stats.channels):.0f} dead channels",
                *_came_in(call),
            ),
        )


def _of(case: Case, call: Call) -> TensorStats | None:
    """Return the statistics of what a call returned; of the only output."""
    seen = call.seen_outputs
    return case.log.stats.of(seen[0]) if len(seen) == 1 else None


def _mostly_dead(call: Call, stats: TensorStats) -> bool:
    shape = getattr(call.seen_outputs[0].summary, "shape", ())
    if stats.channels is None or stats.dead_channels is None or len(shape) not in (2, 4, 5):
        return False
    alike = stats.total // stats.channels < _BY_CHANCE
    return not alike and stats.dead_channels > _threshold(stats.channels)


def _threshold(channels: int) -> float:
    """Half of the channels, and three standard deviations of as many coins that are tossed."""
    return channels / 2 + 1.5 * math.sqrt(channels)


def _often(some: int, calls: int) -> str:
    return f", in {some} of its {calls} calls" if calls > 1 else ""


def _came_in(call: Call) -> tuple[str, ...]:
    """Say what it was given; an in-place ReLU has overwritten that, but it was measured before."""
    found = call.stats.get("args[0]")
    if found is None:
        return ()
    return (f"its input lay between {found.min:.3g} and {found.max:.3g}, mean {found.mean:.3g}",)
