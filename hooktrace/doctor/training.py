"""Which parameters a training step reached, and where the path from the others ends."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from hooktrace.doctor.cuts import FLOATING, Cut, find_cuts
from hooktrace.events import HookId, Observation, TensorId, TensorSummary
from hooktrace.views.calls import Call

if TYPE_CHECKING:
    from hooktrace.doctor.case import Case

__all__ = ["UNKNOWN_AIM", "Break", "Training", "by_module", "floats", "same_data"]

UNKNOWN_AIM = (
    "no optimizer took a step in the block, so that it is not known which parameters are to be "
    "trained"
)
"""Why it is not sure that a parameter without a gradient is a mistake."""


@dataclass(frozen=True)
class Break:
    """Where the path from some parameters to the loss ends.

    Attributes:
        last: The last call on the path whose output requires grad, or which should have one.
        following: The call that was given a tensor without a graph; None if it is not known.
        lacking: The parameters before it that got no gradient.
        where: ``after``: after `last`, and before `following` if that is known; ``outside``:
            between what the outermost call returned and the loss; ``within``: in `last` itself.
        sure: Whether `following` was given the very numbers that `last` returned.
    """

    last: Call
    following: Call | None
    lacking: tuple[str, ...]
    where: str
    sure: bool = True


class Training:
    """What happened to the parameters of the models.

    Args:
        case: Where to look.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.log = case.log

    # -------------------------------------------------------------- parameters

    @cached_property
    def names(self) -> dict[TensorId, str]:
        """The names of the models' parameters."""
        return {number: name for number, (name, _) in self.log.parameters.items()}

    @cached_property
    def trainable(self) -> dict[TensorId, str]:
        """Those that require a gradient."""
        return {number: name for number, (name, wants) in self.log.parameters.items() if wants}

    @cached_property
    def reached(self) -> set[TensorId]:
        """The leaves that lie in the graph of some backward run."""
        leaves = self.log.nodes.leaves
        found = set(self.case.accumulated)
        for run in self.case.runs:
            found |= {leaves[node] for node in self.case.reached(run) if node in leaves}
        return found

    @cached_property
    def stepped(self) -> set[TensorId]:
        """The parameters of the optimizers that took a step."""
        return {number for numbers in self.log.optimized.values() for number in numbers}

    @cached_property
    def complete(self) -> bool:
        """Whether it is known which parameters the backward runs reached.

        Not so if there was none that fills ``.grad``, if one was asked for some gradients only,
        or raised, or if modules ran in compiled code.
        """
        runs = self.case.runs
        whole = all(
            run.finished is not None
            and run.finished.exception is None
            and "inputs" not in run.started.options
            for run in runs
        )
        filling = any(run.started.accumulates for run in runs)
        return filling and whole and "compiled-region" not in self.log.unseen

    @cached_property
    def lacking(self) -> dict[TensorId, str]:
        """Those that require a gradient, are to be trained as far as is known, and got none."""
        if not self.complete:
            return {}
        return {
            number: name
            for number, name in self.trainable.items()
            if number not in self.reached and (not self.stepped or number in self.stepped)
        }

    @property
    def doubt(self) -> str:
        """Why it is not known which parameters are to be trained; empty if it is."""
        return "" if self.stepped else UNKNOWN_AIM

    def root_of(self, name: str) -> str:
        """Return the prefix of the model that a parameter belongs to."""
        fitting = [one for one in self.log.roots if not one or name.startswith(f"{one}.")]
        return max(fitting, key=len, default="")

    @cached_property
    def trained_roots(self) -> set[str]:
        """The prefixes of the models of which some parameter was reached."""
        return {self.root_of(name) for number, name in self.names.items() if number in self.reached}

    # -------------------------------------------------------------- calls

    @cached_property
    def cuts(self) -> dict[HookId, list[Cut]]:
        """The firings of forward hooks that cut the graph, by hook."""
        return find_cuts(self.case)

    def calls_of(self, module: str) -> list[Call]:
        """Return the calls of a module by its name, those of checkpointing left out."""
        number = self.case.module_named.get(module)
        calls = [] if number is None else self.case.calls_of.get(number, [])
        return [call for call in calls if not call.recomputed]

    def is_reached(self, call: Call) -> bool:
        """Whether a gradient arrived for what a call returned."""
        return bool(call.gradients) or any(one.gradients for one in call.recomputations)

    @cached_property
    def owners(self) -> dict[str, dict[TensorId, str]]:
        """The parameters that lack a gradient, by the module that has them."""
        found: dict[str, dict[TensorId, str]] = {}
        for number, name in self.lacking.items():
            found.setdefault(name.rpartition(".")[0], {})[number] = name
        return found

    @cached_property
    def breaks(self) -> list[Break]:
        """Where the path from parameters whose modules ran ends; in order."""
        if not self.lacking:
            return []
        return [found for group in self._groups() if (found := self._break_after(group))]

    def _groups(self) -> Iterator[list[Call]]:
        """Yield neighbouring calls that no backward run reached, though they have parameters."""
        with_own = {name.rpartition(".")[0] for name in self.trainable.values()}
        group: list[Call] = []
        for call in sorted((last for one in with_own if (last := self._last_call(one))), key=_exit):
            names = (call.module.name, *call.module.aliases)
            lacks = any(name in self.owners for name in names) and not self.is_reached(call)
            if group and (not lacks or call.root is not group[-1].root):
                yield group
                group = []
            if lacks:
                group.append(call)
        if group:
            yield group

    def _last_call(self, module: str) -> Call | None:
        calls = [one for one in self.calls_of(module) if one.mode.grad and one.exited is not None]
        return calls[-1] if calls else None

    def _break_after(self, group: list[Call]) -> Break | None:
        names = tuple(
            name
            for call in group
            for module in dict.fromkeys((call.module.name, *call.module.aliases))
            for name in self.owners.get(module, {}).values()
        )
        last = group[-1]
        if not _requires_grad(last.seen_outputs):
            return Break(last, None, names, "within")
        last, following = self._follow(last)
        if following is not None:
            given, given_by = floats(following.seen_inputs), floats(last.seen_outputs)
            alike = [same_data(one, other) for one in given for other in given_by]
            if any(one is not None for one in alike):
                return Break(last, following, names, "after", any(alike))
            return None
        root = last.root
        if not _requires_grad(root.seen_outputs):
            return Break(last, None, names, "after", sure=False)
        return None if self.is_reached(root) else Break(last, None, names, "outside")

    def _follow(self, last: Call) -> tuple[Call, Call | None]:
        """Go on to the last call that the path reaches, and the one that begins without a graph."""
        for call in self._after(last):
            given = floats(call.seen_inputs)
            if _hands_on(last, call) or (not self.is_reached(call) and _all_require(given)):
                if call.exited is None or not _requires_grad(call.seen_outputs):
                    return last, None
                last = call
            elif any(not one.summary.requires_grad for one in given):  # type: ignore[union-attr]
                return last, call
            elif given:
                return last, None
        return last, None

    def _after(self, last: Call) -> Iterator[Call]:
        """Yield the calls that begin after one has ended, in order."""
        first = bisect(self._ordered, _exit(last), key=lambda call: call.called.seq)
        for place in range(first, len(self._ordered)):
            call = self._ordered[place]
            if call.mode.grad and not call.recomputed:
                yield call

    @cached_property
    def _ordered(self) -> list[Call]:
        return sorted(self.case.calls, key=lambda call: call.called.seq)


# ------------------------------------------------------------------ what was seen


def floats(seen: Iterable[Observation]) -> list[Observation]:
    """Return the sightings of tensors that could require a gradient."""
    return [
        one
        for one in seen
        if isinstance(one.summary, TensorSummary) and one.summary.dtype.startswith(FLOATING)
    ]


def same_data(one: Observation, other: Observation) -> bool | None:
    """Whether two sightings show the same numbers; None if they cannot; False if they may."""
    if one.numbers is not None and one.numbers == other.numbers:
        return True
    sizes = [each.summary for each in (one, other) if isinstance(each.summary, TensorSummary)]
    return False if len(sizes) == 2 and sizes[0].size_bytes == sizes[1].size_bytes else None


def by_module(names: Iterable[str], limit: int = 4) -> str:
    """Name parameters by their modules: ``a (weight, bias), b (weight) and 3 more modules``."""
    modules: dict[str, list[str]] = {}
    for name in names:
        module, _, own = name.rpartition(".")
        modules.setdefault(module, []).append(own)
    texts = [
        f"{module} ({', '.join(own)})" if module else ", ".join(own)
        for module, own in modules.items()
    ]
    left = len(texts) - limit
    shown = ", ".join(texts[:limit])
    return f"{shown} and {left} more module{'s' * (left > 1)}" if left > 0 else shown


def _requires_grad(seen: Iterable[Observation]) -> bool:
    return any(one.summary.requires_grad for one in floats(seen))  # type: ignore[union-attr]


def _all_require(seen: list[Observation]) -> bool:
    return bool(seen) and all(one.summary.requires_grad for one in seen)  # type: ignore[union-attr]


def _hands_on(last: Call, call: Call) -> bool:
    """Whether a call was given a tensor that another one returned."""
    given = {one.value.tensor for one in call.seen_inputs if one.value is not None}
    return any(one.value is not None and one.value.tensor in given for one in last.seen_outputs)


def _exit(call: Call) -> int:
    return call.called.seq if call.exited is None else call.exited.seq
