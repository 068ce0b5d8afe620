"""Experiments: what empty full backward hooks do to a copy of a model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from torch import nn

from hooktrace.events import TensorId, TensorWritten, TracedHook
from hooktrace.experiments.stage import Outcome, SpentError, Stage
from hooktrace.log import EventLog
from hooktrace.trials import Trial
from hooktrace.views.calls import Call, CallIndex

__all__ = ["rehearse"]


def rehearse(
    model: nn.Module, example: Any, hooked: dict[str, list[TracedHook]], limit: int
) -> list[Trial]:
    """Try full backward hooks on the modules of a copy of a model.

    Args:
        model: Neither it nor `example` is touched.
        example: A tensor, a tuple of arguments, or a dict of keyword arguments.
        hooked: The user's full backward (pre) hooks by the name of their module.
        limit: How often the copy may run.

    Returns:
        One trial for each module, in the order of ``named_modules()``.

    Raises:
        CopyError: The model or the example cannot be copied.
        Exception: What the model itself raises with this example.
    """
    stage = Stage(model, example, limit)
    with stage.set():
        log = stage.plain_run()
        trials = _Trials(stage, log, hooked)
        trials.take()
    return trials.found()


class _Trials:
    """Decides which modules get a hook in which run, and keeps what came of it.

    One on which a hook is expected to raise, for something writes there in place, has a run of
    its own; all others share one, and are halved as long as it raises.

    Args:
        stage: Runs the model.
        log: Of the plain run.
        hooked: The user's hooks by the name of their module.
    """

    def __init__(self, stage: Stage, log: EventLog, hooked: dict[str, list[TracedHook]]) -> None:
        calls = CallIndex(log).refresh()
        self.stage = stage
        self.hooked = hooked
        self.called: defaultdict[str, list[Call]] = defaultdict(list)
        for call in calls:
            self.called[call.module.name].append(call)
        self.expected = _expected(log, calls)
        self.types = {name: type(one).__name__ for name, one in stage.model.named_modules()}
        self._found: dict[str, Trial] = {}

    def take(self) -> None:
        """Try every module that was called, as far as the limit allows."""
        try:
            expected = self._order()
            for name in expected:
                if name in self.hooked:
                    self._alone(name)
            left = [name for name in self.called if name not in self.expected]
            self._together([name for name in left if name in self.types])
            for name in expected:
                if name not in self.hooked:
                    self._alone(name)
        except SpentError:
            pass

    def found(self) -> list[Trial]:
        """Return the trials in the order of the modules."""
        return [self._found.get(name) or self._untried(name) for name in self.types]

    def _order(self) -> list[str]:
        """Return those that should raise, one of each kind in turn."""
        counts: Counter[Any] = Counter()
        places: dict[str, int] = {}
        for name, kind in self.expected.items():
            places[name] = counts[kind]
            counts[kind] += 1
        return sorted((one for one in places if one in self.types), key=lambda one: places[one])

    def _alone(self, name: str) -> bool:
        outcome = self.stage.run([name])
        self._note(name, outcome)
        return bool(outcome.raised)

    def _together(self, names: list[str]) -> None:
        while names:
            outcome = self.stage.run(names)
            if not outcome.raised:
                for name in names:
                    self._note(name, outcome)
                return
            bad = self._search(names)
            if not self._alone(bad):
                self._enter(bad, "raises", **{**outcome.raised, "cause": "together"})
            names = [one for one in names if one != bad]

    def _search(self, names: list[str]) -> str:
        """Return a module without which the modules before it do not raise."""
        low, high = 0, len(names)
        while high - low > 1:
            middle = (low + high) // 2
            if self.stage.run(names[:middle]).raised:
                high = middle
            else:
                low = middle
        return names[low]

    def _note(self, name: str, outcome: Outcome) -> None:
        if outcome.raised:
            self._enter(name, "raises", inside=name in outcome.open, **outcome.raised)
        elif name in outcome.fired:
            self._enter(name, "fires")
        else:
            nothing = "the model returns nothing that requires a gradient"
            reason = _silence(self.called[name]) if self.stage.backward else nothing
            self._enter(name, "never fires", reason=reason)

    def _untried(self, name: str) -> Trial:
        if name not in self.called:
            return self._enter(name, "not called")
        reason = "something writes to it in place" if name in self.expected else ""
        return self._enter(name, "not tried", reason=reason)

    def _enter(self, name: str, outcome: str, **facts: Any) -> Trial:
        hooks = tuple(self.hooked.get(name, ()))
        self._found[name] = Trial(name, self.types[name], outcome, hooks=hooks, **facts)
        return self._found[name]


def _expected(log: EventLog, calls: CallIndex) -> dict[str, tuple[str, str]]:
    """Return the modules whose inputs or outputs are written to in place; with a kind for each."""
    touching: defaultdict[Any, list[tuple[Call, bool]]] = defaultdict(list)
    storages: dict[TensorId, Any] = {}
    for call in calls:
        for sightings, output in ((call.seen_inputs, False), (call.seen_outputs, True)):
            for seen in sightings:
                if seen.value is not None:
                    storages[seen.value.tensor] = seen.storage
                    touching[seen.storage].append((call, output))
    found: dict[str, tuple[str, str]] = {}
    for event in log.of(TensorWritten):
        tensor = event.before.tensor
        writer = calls.calls.get(event.call) if event.call is not None else None
        around = set(_around(writer))
        for call, output in touching[storages.get(tensor, tensor)]:
            later = call.exited is not None and call.exited.seq < event.seq
            if (call.id not in around and later) if output else call.id in around:
                kind = (call.module.type, "" if writer is None else writer.module.type)
                found.setdefault(call.module.name, kind)
    return found


def _around(call: Call | None) -> Iterator[int]:
    while call is not None:
        yield call.id
        call = call.parent


def _silence(calls: list[Call]) -> str:
    """Say why the hook of a module that was called did not fire."""
    if any(call.container for call in calls):
        kind = next(call.container for call in calls if call.container)
        return f"it returns a {kind}, and PyTorch looks only for tensors and tuples of them"
    seen = [one for call in calls for one in call.seen_outputs if one.value is not None]
    asking = [one for one in seen if getattr(one.summary, "requires_grad", False)]
    if not asking:
        return "nothing that it returns requires a gradient"
    if all(one.role.count("[") + one.role.count(".") > 1 for one in asking):
        return "the tensors that it returns are nested in its output"
    return "nothing that it returns is used for what the model returns"
