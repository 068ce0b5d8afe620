"""Modules that behave as in training while nothing is trained."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import Rule, rule
from hooktrace.events import StepStarted
from hooktrace.findings import Finding
from hooktrace.views.call import Call

__all__ = ["TrainModeInEvaluation"]

_DROPS = {"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"}
_NORMS = {"BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"}
_MIXED = (
    "the block trains as well, and a model may be meant to run like this beside it: a generator "
    "whose samples another model learns from, a teacher"
)
_RECALIBRATED = "it may be meant, to recompute the statistics as update_bn does"


@rule
class TrainModeInEvaluation(Rule):
    """A model ran without autograd, and its dropout or batch normalization was in train mode.

    What it finds: outermost calls under ``torch.no_grad()`` or ``torch.inference_mode()`` of a
        model in train mode, in which dropout dropped values (p above 0), or batch normalization
        normalized with the statistics of the batch and updated the running ones.
    Why it matters: the result is random, or depends on what else is in the batch, and evaluation
        changes the model: the running statistics take in the data of the test.
    Instead: call ``model.eval()`` before, and ``model.train()`` after.
    Limits: batch statistics are recomputed this way: nothing is said where ``momentum=None``, as in
        ``update_bn``. Nor is anything said of a model in eval mode of which only the dropout was
        put into train mode: that is Monte Carlo dropout. Functional dropout is not seen.
    Source: https://docs.pytorch.org/docs/stable/notes/autograd.html, on evaluation mode.
    Fires:
        net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
        with ht.trace(net) as t, torch.no_grad():
            net(torch.ones(1, 2))
    Silent:
        net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).eval()
        with ht.trace(net) as t, torch.no_grad():
            net(torch.ones(1, 2))
    """

    name = "train-mode-in-evaluation"
    severity = "warning"

    def find(self, case: Case) -> Iterator[Finding]:
        """Look at what runs inside of outermost calls without autograd."""
        inside: dict[int, list[Call]] = {}
        for call in _suspects(case):
            if call.mode.training and not call.recomputed:
                inside.setdefault(_outermost(call).id, []).append(call)
        found: dict[str, tuple[list[Call], list[Call]]] = {}
        for root in case.calls.roots():
            if root.id in inside and _evaluates(root):
                roots, members = found.setdefault(root.name, ([], []))
                roots.append(root)
                members += inside[root.id]
        trains = bool(case.runs or case.log.of(StepStarted))
        for roots, members in found.values():
            if not any(_recalibrates(one) for one in members):
                yield self._finding(roots, members, trains)

    def _finding(self, roots: list[Call], members: list[Call], trains: bool) -> Finding:
        root = roots[0]
        drops = dict.fromkeys(one.module.title for one in members if _is_random(one))
        norms = dict.fromkeys(one.module.title for one in members if _updates(one))
        parts = [f"{_listed(drops)} dropped values"] if drops else []
        parts += [f"{_listed(norms)} updated the running statistics"] if norms else []
        mode = "torch.inference_mode()" if root.mode.inference else "torch.no_grad()"
        times = "" if len(roots) == 1 else f" {len(roots)} times"
        possible = _MIXED if trains else "" if drops else _RECALIBRATED
        return self.finding(
            f"{root.name} ran{times} in train mode under {mode}: {' and '.join(parts)}.",
            call=root,
            events=tuple(one.called.seq for one in (*roots[:2], *members[:6])),
            evidence=tuple(
                f"{one}: {one.module.type}({one.module.config}) with training=True"
                for one in members[:3]
            ),
            severity="note" if trains else None,
            possible=possible,
        )


def _suspects(case: Case) -> Iterator[Call]:
    """Yield the calls of modules that do something else in train mode."""
    for calls in case.calls_of.values():
        if _is_random(calls[0]) or _updates(calls[0]):
            yield from calls


def _evaluates(root: Call) -> bool:
    """Whether an outermost call is one of a model in train mode, without autograd."""
    return (
        root.mode.training
        and not root.mode.grad
        and not root.recomputed
        and not root.recomputations
    )


def _outermost(call: Call) -> Call:
    while call.parent is not None:
        call = call.parent
    return call


def _is_random(call: Call) -> bool:
    if call.module.base not in _DROPS:
        return False
    found = re.search(r"\bp=([0-9.]+)", call.module.config)
    return found is None or float(found[1]) > 0


def _updates(call: Call) -> bool:
    return call.module.base in _NORMS and "track_running_stats=False" not in call.module.config


def _recalibrates(call: Call) -> bool:
    """Whether batch normalization averages over all batches, as it does within update_bn."""
    return _updates(call) and "momentum=None" in call.module.config


def _listed(names: dict[str, None]) -> str:
    shown = ", ".join([*names][:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
