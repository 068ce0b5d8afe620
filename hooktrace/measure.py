"""How the two sides of an edit differ, measured from their copies when the trace is read."""

from __future__ import annotations

from collections.abc import Callable

import torch

from hooktrace.events import (
    Change,
    Edit,
    GradientOverwritten,
    HookFired,
    Observation,
    TensorSummary,
)
from hooktrace.log import EventLog
from hooktrace.recorder import COPY_LIMIT_BYTES

__all__ = ["difference", "settle"]


def settle(log: EventLog) -> None:
    """Fill ``log.changes`` for every edit that has not been measured, and for what it hit."""
    changed: list[Edit | GradientOverwritten]
    changed = [edit for event in log.of(HookFired) for edit in event.edits]
    for one in (*changed, *log.of(GradientOverwritten)):
        before, after = one.before.value, one.after.value
        if before is None or after is None or (before, after) in log.changes:
            continue
        then, now = _copy(log, one.before), _copy(log, one.after)
        if then is None or now is None:
            log.changes[before, after] = _unmeasured(log, one.before, one.after)
        else:
            log.changes[before, after] = difference(then, now)


def _copy(log: EventLog, seen: Observation) -> torch.Tensor | None:
    """Return a copy of what was seen; of a small tensor in a state_dict its numbers will do."""
    copy = None if seen.value is None else log.snapshots.get(seen.value)
    if copy is not None or seen.numbers is None or "state_dict[" not in seen.role:
        return copy
    assert isinstance(seen.summary, TensorSummary)
    dtype = getattr(torch, seen.summary.dtype)
    return torch.tensor(seen.numbers, dtype=dtype).reshape(seen.summary.shape)


def _unmeasured(log: EventLog, before: Observation, after: Observation) -> Change:
    one, other = before.summary, after.summary
    if isinstance(one, TensorSummary) and isinstance(other, TensorSummary):
        if one.shape != other.shape or one.dtype != other.dtype:
            return Change("replaced", f"{one} -> {other}", reason="shape or dtype changed")
        if one.requires_grad and before.role.startswith("grad"):
            why = "a gradient that itself requires grad is not copied"
        elif "state_dict[" in before.role:
            why = "large tensors of a state_dict are not copied"
        elif not log.copies:
            why = "edits='versions' copies nothing"
        elif one.size_bytes > COPY_LIMIT_BYTES or other.size_bytes > COPY_LIMIT_BYTES:
            why = "larger than 1 MiB, so not copied"
        else:
            why = "its data cannot be read: a subclass, a wrapper of functorch, fake or sparse"
        return Change("unknown", f"changed, not compared ({why})", reason=why)
    return Change("replaced", f"{before} -> {after}")


@torch.no_grad()
def difference(before: torch.Tensor, after: torch.Tensor) -> Change:
    """Say how `after` differs from `before`.

    Args:
        before: (*S), any dtype.
        after: (*S); of another shape or dtype it counts as replaced.

    Returns:
        The change.  ``factor`` is c where ``after == c * before`` within 8 units of rounding of
        every element; a tensor of zeros that stays zero has none.
    """
    if before.shape != after.shape or before.dtype != after.dtype:
        text = f"{tuple(before.shape)} {before.dtype} -> {tuple(after.shape)} {after.dtype}"
        return Change("replaced", text.replace("torch.", ""), reason="shape or dtype changed")
    total = before.numel()
    same = (before == after) | ((before != before) & (after != after))
    changed = total - int(same.sum())
    if changed == 0:
        return Change("unchanged", "same values", 1.0 if before.any() else None, 0, total, 0.0)
    if _beyond_double(before, after):
        pairs = zip(before.reshape(-1).tolist(), after.reshape(-1).tolist(), strict=True)
        furthest = float(max(abs(two - one) for one, two in pairs))
        return Change("changed", _share(changed, total), None, changed, total, furthest)
    wide = torch.complex128 if before.is_complex() else torch.float64
    one, other = before.to(wide).reshape(-1), after.to(wide).reshape(-1)
    largest = float((other - one).abs().max())
    if before.is_complex() or before.dtype == torch.bool:
        return Change("changed", _share(changed, total), None, changed, total, largest)
    for kind, text, factor in (
        _scaled(one, other, before.dtype),
        _shifted(one, other, before.dtype),
        _clamped(one, other),
    ):
        if kind:
            return Change(kind, text, factor, changed, total, largest)
    return Change("changed", _share(changed, total), None, changed, total, largest)


def _beyond_double(before: torch.Tensor, after: torch.Tensor) -> bool:
    """Whether these integers are too large for exact arithmetic in double precision."""
    if before.dtype != torch.int64:
        return False
    return any(int(one.min()) < -(2**53) or int(one.max()) > 2**53 for one in (before, after))


_NO: tuple[str, str, float | None] = ("", "", None)


def _rounding(dtype: torch.dtype) -> float:
    return 8 * torch.finfo(dtype).eps if dtype.is_floating_point else 0.0


def _scaled(
    one: torch.Tensor, other: torch.Tensor, dtype: torch.dtype
) -> tuple[str, str, float | None]:
    finite = bool(torch.isfinite(one).all())
    if not bool(other.any()):
        return "zeroed", "zeroed", 0.0 if finite else None  # 0 * NaN is no 0
    if not finite:
        return _NO
    largest = int(one.abs().argmax())
    if not bool(one[largest]) or not bool(torch.isfinite(other).all()):
        return _NO
    factor = float(other[largest] / one[largest])
    near = (other - factor * one).abs() <= _rounding(dtype) * (factor * one).abs()
    if not bool(near.all()):
        return _NO
    factor = _as_written(factor, lambda short: (one * short).to(dtype), other.to(dtype))
    return "scaled", f"x{factor:.6g}", factor


def _shifted(
    one: torch.Tensor, other: torch.Tensor, dtype: torch.dtype
) -> tuple[str, str, float | None]:
    if one.numel() < 2 or not bool(torch.isfinite(one).all() & torch.isfinite(other).all()):
        return _NO
    shift = float((other - one).median())
    near = (other - one - shift).abs() <= _rounding(dtype) * torch.maximum(one.abs(), other.abs())
    if not shift or not bool(near.all()):
        return _NO
    shift = _as_written(shift, lambda short: (one + short).to(dtype), other.to(dtype))
    return "shifted", f"{shift:+.6g}", None


def _clamped(one: torch.Tensor, other: torch.Tensor) -> tuple[str, str, float | None]:
    low, high = float(other.min()), float(other.max())
    cut_below, cut_above = bool((one < low).any()), bool((one > high).any())
    if low == high or not bool((one.clamp(low, high) == other).all()):
        return _NO
    if cut_below and cut_above:
        return "clamped", f"clamped to [{low:.6g}, {high:.6g}]", None
    side = f">= {low:.6g}" if cut_below else f"<= {high:.6g}"
    return "clamped", f"clamped to {side}", None


def _as_written(
    number: float, redo: Callable[[float], torch.Tensor], result: torch.Tensor
) -> float:
    """Prefer the short decimal that the author will have written, if it gives the very result."""
    for digits in range(1, 7):
        short = float(f"{number:.{digits}g}")
        if bool((redo(short) == result).all()):
            return short
    return number


def _share(changed: int, total: int) -> str:
    return f"{changed} of {total} elements changed"
