"""One run of a step under a trace of its own, and copies of all that it leaves behind."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from hooktrace import _torch
from hooktrace.events import HookFired, TensorId, TracedHook
from hooktrace.experiments.differences import Values
from hooktrace.experiments.offhooks import Candidate, enter
from hooktrace.experiments.switches import Registrations
from hooktrace.firing import describe_error
from hooktrace.hooktable import caller_frame
from hooktrace.identity import leaves
from hooktrace.log import EventLog
from hooktrace.patches import Patch
from hooktrace.probes import Probes
from hooktrace.recorder import Recorder
from hooktrace.scope import Scope
from hooktrace.views.calls import CallIndex

__all__ = ["Outcome", "run_once"]


@dataclass
class Outcome:
    """What one run came to.

    Attributes:
        log: What was recorded.
        raised: What it raised, as ``Type: message``; None if it returned.
        values: Copies of what it computed and left behind.
    """

    log: EventLog
    raised: str | None = None
    values: Values = field(default_factory=dict)

    @property
    def fired(self) -> list[TracedHook]:
        """The row of the hook for each firing."""
        return [self.log.hooks[event.hook] for event in self.log.of(HookFired)]


def run_once(
    step: Callable[[], Any],
    things: Sequence[Any],
    registrations: Registrations,
    candidates: list[Candidate],
) -> Outcome:
    """Run a step and return what it came to.

    Args:
        step: What to run; an `Exception` of its is told, any other goes on.
        things: Models, optimizers and tensors whose values are copied.
        registrations: What becomes of hooks that the step registers.
        candidates: Hooks that there are already, and those that the step registers, are entered
            with the rows that they have in the log.
    """
    log = EventLog()
    pairs = named_models(things)
    recorder = Recorder(
        log,
        Scope(log, pairs, everything=True, keep=True),
        copies=False,
        strict=os.environ.get("HOOKTRACE_STRICT", "") == "1",
    )
    outcome = Outcome(log)
    ledger = _Ledger(pairs, things, recorder)
    with ExitStack() as stack:
        _install(stack, registrations.sensor())
        probes = Probes(recorder, caller_frame(2))
        probes.begin()
        stack.callback(probes.finish)
        for patch in (*registrations.attend(recorder), *ledger.patches()):
            _install(stack, patch)
        try:
            ledger.returned(step())
        except Exception as error:
            outcome.raised = describe_error(error)
        enter(candidates, recorder, registrations)
        ledger.close()
    log.sealed = True
    outcome.values = {**ledger.outputs(), **ledger.values()}
    for held in (log.snapshots, log.overwritten, log.edges):
        held.clear()
    return outcome


def _install(stack: ExitStack, patch: Patch) -> None:
    patch.install()
    stack.callback(patch.restore)


def named_models(things: Sequence[Any]) -> list[tuple[str, nn.Module]]:
    """Return the modules with prefixes for the names in them: of a single one there is none."""
    models = [thing for thing in things if isinstance(thing, nn.Module)]
    if len(models) == 1:
        return [("", models[0])]
    named: dict[str, nn.Module] = {}
    for model in models:
        kind = type(model).__name__
        name = kind if kind not in named else f"{kind}-{len(named) + 1}"
        named[name] = model
    return list(named.items())


class _Ledger:
    """Copies what a run computes, as it goes on and when it has ended."""

    def __init__(
        self, pairs: list[tuple[str, nn.Module]], things: Sequence[Any], recorder: Recorder
    ) -> None:
        self.recorder = recorder
        self.log = recorder.log
        self.losses: list[torch.Tensor] = []
        self.results: list[tuple[str, Any]] = []
        self.named = dict(_members(pairs))
        known = {id(one) for _, one in self.named.values()}
        self.loose = [one for one in _loose(things) if id(one) not in known]
        self.copies: dict[str, Values] = {}
        self._cleared: dict[int, torch.Tensor] = {}
        self._arrived = False  # whether a backward run came since gradients were last cleared
        recorder.on_backward_start.append(self._backward_started)

    def patches(self) -> Iterator[Patch]:
        """Yield what sees gradients before they are cleared."""
        for owner in (Optimizer, nn.Module):
            yield Patch(owner, "zero_grad", self._clearing)

    def returned(self, result: Any) -> None:
        """Copy what the step returned."""
        self.results = [
            (role.removeprefix("returned"), _copy(one)) for role, one in leaves(result, "returned")
        ]

    def close(self) -> None:
        """Copy what the run has left behind; before the trace ends."""
        self._ids = [self.recorder.identities.known(one) for one in self.loose]
        self._kept = [
            (what, name, _copy(tensor), self._gradient(tensor))
            for name, (what, tensor) in self.named.items()
        ]
        self._loose = [(_copy(one), self._gradient(one)) for one in self.loose]

    def outputs(self) -> Values:
        """Return what each module call returned, as long as the log holds it."""
        calls = [call for call in CallIndex(self.log).refresh() if not call.recomputed]
        calls.sort(key=lambda call: call.exited.seq if call.exited else math.inf)
        twice = {call.name for call in calls if call.index}
        found: Values = {}
        for call in calls:
            label = str(call) if call.name in twice else call.name
            several = len(call.seen_outputs) > 1
            for seen, content in zip(call.seen_outputs, call.outputs, strict=True):
                if isinstance(content, torch.Tensor):
                    role = seen.role.removeprefix("output")
                    found["output", f"{label}{role}" if several else label] = content
        return found

    def values(self) -> Values:
        """Return everything else."""
        found: Values = {}
        for place, loss in enumerate(self.losses):
            found["loss", "" if len(self.losses) == 1 else f"[{place}]"] = loss
        if not self._is_loss():
            found.update({("returned", role): one for role, one in self.results})
        rows = [*self._kept, *self._of_loose()]
        found.update({("gradient", name): one for _, name, _, one in rows if one is not None})
        found.update({(what, name): one for what, name, one, _ in rows})
        return found

    # -------------------------------------------------------------- inner workings

    def _is_loss(self) -> bool:
        """Whether what was returned is the one loss, or nothing."""
        if len(self.results) != 1:
            return False
        result = self.results[0][1]
        if result is None:
            return True
        if len(self.losses) != 1 or not isinstance(result, (float, torch.Tensor)):
            return False
        return torch.as_tensor(result).numel() == 1 and float(result) == float(self.losses[0])

    def _of_loose(self) -> Iterator[tuple[str, str, Any, Any]]:
        for place, (seen, (copy, gradient)) in enumerate(zip(self._ids, self._loose, strict=True)):
            name = "" if seen is None else self.log.tensors[TensorId(seen.id)].name
            yield "parameter", name or f"state[{place}]", copy, gradient

    @_torch.unseen
    def _backward_started(self, _: int, roots: Any, accumulates: bool) -> list[Any]:
        self._arrived = True
        if accumulates and not self.recorder.state().backwards:
            for root in roots:
                if isinstance(root, torch.Tensor) and root.numel() == 1:
                    self.losses.append(_copy(root))
        return []

    def _clearing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def zero_grad(*args: Any, **kwargs: Any) -> Any:
            if self._arrived:
                self._arrived = False
                for tensor in (*(one for _, one in self.named.values()), *self.loose):
                    gradient = _torch.gradient_of(tensor) if tensor.is_leaf else None
                    if gradient is not None:
                        self._cleared[id(tensor)] = _copy(gradient)
            return original(*args, **kwargs)

        return zero_grad

    def _gradient(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return a copy of ``.grad``, or of what it was when it was cleared after backward."""
        gradient = _torch.gradient_of(tensor) if tensor.is_leaf else None
        if not self._arrived and id(tensor) in self._cleared:
            return self._cleared[id(tensor)]
        return None if gradient is None else _copy(gradient)


def _members(pairs: list[tuple[str, nn.Module]]) -> Iterator[tuple[str, tuple[str, torch.Tensor]]]:
    for prefix, model in pairs:
        start = f"{prefix}." if prefix else ""
        for name, parameter in model.named_parameters():
            yield start + name, ("parameter", parameter)
        for name, buffer in model.named_buffers():
            yield start + name, ("buffer", buffer)


def _loose(things: Sequence[Any]) -> Iterator[torch.Tensor]:
    """Yield tensors of the state that belong to no model: given ones, and an optimizer's."""
    for thing in things:
        if isinstance(thing, torch.Tensor):
            yield thing
        elif isinstance(thing, Optimizer):
            for group in thing.param_groups:
                yield from group["params"]


def _copy(thing: Any) -> Any:
    if not isinstance(thing, torch.Tensor):
        return thing
    return thing if _torch.is_wrapped(thing) else _torch.content_copy(thing)
