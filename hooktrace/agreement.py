"""Whether two traces of one architecture computed the same.

"Equal" means bit for bit.  What a trace did not record is not
guessed: then the answer is None and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import torch

from hooktrace import _torch
from hooktrace.events import (
    BackwardStarted,
    GradientAccumulated,
    HookFired,
    Observation,
    TensorId,
    TensorSummary,
)
from hooktrace.log import EventLog
from hooktrace.measure import difference
from hooktrace.pairing import SIDES
from hooktrace.views.calls import Call

if TYPE_CHECKING:
    from hooktrace.recording import Recording

__all__ = [
    "Agreement",
    "kept_gradients",
    "measured",
    "outputs",
    "parameter_gradients",
    "same_bits",
]


class Agreement(msgspec.Struct, frozen=True):
    """Whether tensors of the two traces are equal.

    Attributes:
        equal: None where it cannot be told.
        count: Number of pairs that were compared.
        differing: Number of pairs that are not equal.
        max_difference: Largest absolute difference of all; NaN if some have no counterpart.
        worst: Name of the pair with the largest difference; empty if all are equal.
        reason: Why it cannot be told; empty otherwise.
    """

    equal: bool | None
    count: int = 0
    differing: int = 0
    max_difference: float = 0.0
    worst: str = ""
    reason: str = ""

    def __str__(self) -> str:
        if self.equal is None:
            return f"not available: {self.reason}"
        if self.equal:
            return f"equal, bit for bit ({self.count} tensor{'s' * (self.count != 1)})"
        return (
            f"differ in {self.differing} of {self.count} tensors, "
            f"by up to {self.max_difference:.3g} ({self.worst})"
        )


_Triples = list[tuple[str, Any, Any]]  # name, and a tensor of each trace or None


def outputs(pairs: Iterable[tuple[Call, Call]], logs: Sequence[EventLog]) -> Agreement:
    """Compare what the outermost calls returned."""
    triples: _Triples = []
    for calls in pairs:
        if calls[0].parent is not None:
            continue
        sides = [{seen.role: seen for seen in call.seen_outputs} for call in calls]
        for role in dict.fromkeys([*sides[0], *sides[1]]):
            seen = [side.get(role) for side in sides]
            found = [_content(log, one) for log, one in zip(logs, seen, strict=True)]
            for one, content in zip(seen, found, strict=True):
                if one is not None and one.value is not None and content is None:
                    return Agreement(None, reason=_OUTPUT.format(calls[0]))
            if found != [None, None]:
                triples.append((f"{role} of {calls[0]}", found[0], found[1]))
    return _agree(triples, "the models returned no tensor")


_OUTPUT = "the output of {} was not kept; name it, or a module in it, in keep="


def kept_gradients(kept: Iterable[tuple[Call, Call]], logs: Sequence[EventLog]) -> Agreement:
    """Compare the grad_outputs and grad_inputs of the kept calls, of the last backward run each."""
    missing = _no_backward(logs)
    if missing:
        return Agreement(None, reason=missing)
    triples: _Triples = []
    for calls in kept:
        sides = [{one.gradient.role: one.gradient for one in call.gradients} for call in calls]
        for role in dict.fromkeys([*sides[0], *sides[1]]):
            found = [_content(log, side.get(role)) for log, side in zip(logs, sides, strict=True)]
            if found == [None, None]:
                return Agreement(None, reason="the traces were released")
            triples.append((f"{role} of {calls[0]}", found[0], found[1]))
    return _agree(triples, "no gradient reached a kept call")


def parameter_gradients(first: Recording, second: Recording) -> Agreement:
    """Compare the parameters' ``.grad``, as long as they hold what the traces saw last.

    Of a trace that was loaded, only gradients of a few elements are known.

    The tensors are those that the models hold now.  They count as what a trace saw if they are
    the same tensor objects at the same version.
    """
    missing = _no_backward((first.log, second.log))
    if missing:
        return Agreement(None, reason=missing)
    final = [_final_gradients(trace.log) for trace in (first, second)]
    if first.log.origin is not None or second.log.origin is not None:
        return _recorded_gradients((first.log, second.log), final)
    scopes: list[Any] = [vars(trace)["_scope"] for trace in (first, second)]
    alive = [dict(scope.parameters()) for scope in scopes]
    triples: _Triples = []
    for name in dict.fromkeys([*final[0], *final[1]]):
        if any(name not in side for side in final):
            triples.append((name, None, None))
            continue
        owners = [side.get(name) for side in alive]
        if owners[0] is not None and owners[0] is owners[1]:
            reason = "both traces are of the same model, whose .grad holds the later gradients"
            return Agreement(None, reason=reason)
        for side, owner in enumerate(owners):
            reason = _changed_since(owner, final[side][name])
            if reason:
                return Agreement(None, reason=f"{reason} ({name}, {SIDES[side]} trace)")
        one, other = (owner.grad for owner in owners if owner is not None)
        triples.append((f"{name}.grad", one, other))
    return _agree(triples, "no parameter received a gradient")


def _recorded_gradients(logs: Sequence[EventLog], final: Sequence[dict[str, _Final]]) -> Agreement:
    """Compare what was recorded of the parameters' ``.grad``, which for a large one is nothing."""
    triples: _Triples = []
    for name in dict.fromkeys([*final[0], *final[1]]):
        sides = [side.get(name) for side in final]
        found = [
            None if one is None else _content(log, one.seen)
            for log, one in zip(logs, sides, strict=True)
        ]
        for one, content in zip(sides, found, strict=True):
            if one is not None and content is None:
                return Agreement(None, reason=f"a file holds no parameters ({name})")
        triples.append((f"{name}.grad", found[0], found[1]))
    return _agree(triples, "no parameter received a gradient")


def _no_backward(logs: Sequence[EventLog]) -> str:
    without = [SIDES[side] for side, log in enumerate(logs) if not log.of(BackwardStarted)]
    if not without:
        return ""
    traces = f"the {without[0]} trace" if len(without) == 1 else "either trace"
    return f"no backward() ran inside {traces}"


class _Final(NamedTuple):
    """What a trace saw last in the ``.grad`` of a parameter."""

    seen: Observation
    tensor: Callable[[], Any] | None  # weak reference to the tensor that was there


def _final_gradients(log: EventLog) -> dict[str, _Final]:
    """Return by name what was last seen in the ``.grad`` of each parameter."""
    final: dict[TensorId, Observation] = {}
    for event in log.events:
        if isinstance(event, GradientAccumulated):
            final[event.tensor] = event.after
        elif isinstance(event, HookFired):
            hook = log.hooks[event.hook]
            if hook.kind == "post_accumulate_grad" and hook.tensor is not None:
                for edit in event.edits:
                    if edit.role == "param.grad":
                        final[hook.tensor] = edit.after
    return {
        log.tensors[number].name: _Final(seen, log.accumulated.get(number))
        for number, seen in final.items()
        if log.tensors[number].parameter
    }


def _changed_since(owner: torch.Tensor | None, final: _Final) -> str:
    """Say why the ``.grad`` of a parameter is not what a trace saw last; empty if it is."""
    if owner is None:
        return "the model is gone, and its gradients with it"
    if owner.grad is None:
        return ".grad was cleared after the trace"
    if final.tensor is None or final.tensor() is not owner.grad:
        return ".grad was replaced after the trace"
    if final.seen.value is None or _torch.version_of(owner.grad) != final.seen.value.version:
        return ".grad was changed after the trace"
    return ""


def _content(log: EventLog, seen: Observation | None) -> torch.Tensor | None:
    """Return the recorded content of an observation, if it was recorded."""
    if seen is None or seen.value is None:
        return None
    kept: torch.Tensor | None = log.snapshots.get(seen.value)
    return _as_tensor(seen) if kept is None and seen.numbers is not None else kept


def _as_tensor(seen: Observation) -> torch.Tensor:
    """Build the small tensor that was recorded whole."""
    assert isinstance(seen.summary, TensorSummary)
    dtype = getattr(torch, seen.summary.dtype)
    return torch.tensor(seen.numbers, dtype=dtype).reshape(seen.summary.shape)


def _agree(triples: Iterable[tuple[str, Any, Any]], nothing: str) -> Agreement:
    """Compare named pairs of tensors; one that has no counterpart (None) differs."""
    count = differing = 0
    largest, worst = 0.0, ""
    for name, one, other in triples:
        count += 1
        if one is not None and other is not None:
            if same_bits(one, other):
                continue
            by = measured(one, other)[1]
        else:
            by = float("nan")
        differing += 1
        if not worst or by > largest or by != by:
            largest, worst = by, name
    if not count:
        return Agreement(None, reason=nothing)
    return Agreement(differing == 0, count, differing, largest, worst)


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have one shape, dtype and content, bit for bit."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    sides = (side.detach().cpu().contiguous().reshape(-1) for side in (one, other))
    return torch.equal(*(side.view(torch.uint8) for side in sides))


def measured(one: torch.Tensor, other: torch.Tensor) -> tuple[int, float]:
    """Return how many elements differ and by how much; of other shapes all, by NaN.

    NaN differs from NaN as little as 0 from -0.
    """
    if same_bits(one, other):
        return 0, 0.0
    found = difference(one.detach().cpu(), other.detach().cpu())
    if found.changed is None or found.max_difference is None:
        return max(one.numel(), 1), float("nan")
    return found.changed, found.max_difference
