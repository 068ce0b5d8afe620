"""How the two sides of an edit differ, measured from their copies when the trace is read."""

from __future__ import annotations

import torch

from hooktrace.events import Change, HookFired, Observation, TensorSummary
from hooktrace.log import EventLog

__all__ = ["difference", "settle"]


def settle(log: EventLog) -> None:
    """Fill ``log.changes`` for every edit that has not been measured."""
    for event in log.of(HookFired):
        for edit in event.edits:
            before, after = edit.before.value, edit.after.value
            if before is None or after is None or (before, after) in log.changes:
                continue
            one, other = log.snapshots.get(before), log.snapshots.get(after)
            if one is None or other is None:
                log.changes[before, after] = _unmeasured(edit.before, edit.after)
            else:
                log.changes[before, after] = difference(one, other)


def _unmeasured(before: Observation, after: Observation) -> Change:
    one, other = before.summary, after.summary
    if isinstance(one, TensorSummary) and isinstance(other, TensorSummary):
        if one.shape != other.shape or one.dtype != other.dtype:
            return Change("replaced", f"{one} -> {other}", reason="shape or dtype changed")
        if one.requires_grad and before.role.startswith("grad"):
            why = "a gradient that itself requires grad is not copied"
        else:
            why = "not copied: larger than 1 MiB, a wrapped tensor, or edits='versions'"
        return Change("unknown", "changed, values not compared", reason=why)
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
        return Change("unchanged", "same values", 1.0 if total else None, 0, total, 0.0)
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


_NO: tuple[str, str, float | None] = ("", "", None)


def _rounding(dtype: torch.dtype) -> float:
    return 8 * torch.finfo(dtype).eps if dtype.is_floating_point else 0.0


def _scaled(
    one: torch.Tensor, other: torch.Tensor, dtype: torch.dtype
) -> tuple[str, str, float | None]:
    if not bool(other.any()):
        return "zeroed", "zeroed", 0.0
    largest = int(one.abs().argmax())
    if not bool(one[largest]) or not bool(torch.isfinite(one).all()):
        return _NO
    factor = _tidy(float(other[largest] / one[largest]), _rounding(dtype))
    near = (other - factor * one).abs() <= _rounding(dtype) * (factor * one).abs()
    return ("scaled", f"x{factor:.6g}", factor) if bool(near.all()) else _NO


def _shifted(
    one: torch.Tensor, other: torch.Tensor, dtype: torch.dtype
) -> tuple[str, str, float | None]:
    if one.numel() < 2 or not bool(torch.isfinite(one).all()):
        return _NO
    shift = _tidy(float((other - one).median()), _rounding(dtype))
    near = (other - one - shift).abs() <= _rounding(dtype) * torch.maximum(one.abs(), other.abs())
    return ("shifted", f"{shift:+.6g}", None) if shift and bool(near.all()) else _NO


def _clamped(one: torch.Tensor, other: torch.Tensor) -> tuple[str, str, float | None]:
    low, high = float(other.min()), float(other.max())
    cut_below, cut_above = bool((one < low).any()), bool((one > high).any())
    if low == high or not bool((one.clamp(low, high) == other).all()):
        return _NO
    if cut_below and cut_above:
        return "clamped", f"clamped to [{low:.6g}, {high:.6g}]", None
    return (
        "clamped",
        f"clamped to {'>= ' if cut_below else '<= '}{low if cut_below else high:.6g}",
        None,
    )


def _tidy(number: float, rounding: float) -> float:
    """Prefer the short decimal number that the author will have written."""
    for digits in range(1, 7):
        short = float(f"{number:.{digits}g}")
        if abs(short - number) <= rounding * abs(number):
            return short
    return number


def _share(changed: int, total: int) -> str:
    return f"{changed} of {total} elements changed"
