"""What kept values look like: histograms, statistics and thumbnails, as JSON can hold them.

A thumbnail is a row of *tiles*, each the last two dimensions at one index of those before them,
such as one channel of one image.  Larger ones are brought down by area: a pixel is the mean of
what lies under it.  Pixels are numbers from 0 to 254 between `lo` and `hi`; 255 stands for what
is not finite.  Where values are negative, the scale reaches equally far to both sides, so that 0
is in the middle.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from math import prod
from typing import Any

import torch
from torch import Tensor

from hooktrace import _torch
from hooktrace.errors import TraceFormatError
from hooktrace.events import HookFired, TensorWritten, Value
from hooktrace.log import EventLog

__all__ = ["BINS", "TILE", "TILES", "Looks", "look", "looks"]

BINS = 32
TILES = 16
TILE = 32  # pixels
_STRIP = 256  # pixels of a tile with a single row
_ODD = 255

Look = dict[str, Any]


@dataclass(frozen=True)
class Looks:
    """What was kept looks like.

    Attributes:
        values: By value.
        differences: By (before, after) of an edit: after minus before.
    """

    values: Mapping[Value, Look] = field(default_factory=dict)
    differences: Mapping[tuple[Value, Value], Look] = field(default_factory=dict)


def looks(log: EventLog) -> Looks:
    """Return the looks of all values of which the content was kept, and of what edits changed.

    Nothing is disturbed: no mode of the user's sees it, autograd does not record it, no random
    number is drawn.  A tensor on a device comes to the CPU, one at a time.
    """
    with _torch.hidden(), torch.no_grad():
        chosen, differences = _differences(log)
        values = {one: _safely(log, one, chosen.get(one)) for one in list(log.snapshots)}
    return Looks(values, differences)


def _safely(log: EventLog, value: Value, choice: _Choice | None) -> Look:
    try:
        chosen = choice or _Choice()
        return look(log.snapshots[value], chosen.item, chosen.tiles)
    except TraceFormatError:  # the file of a loaded trace is gone
        return {"why": "unreadable"}


# ------------------------------------------------------------------ one tensor


def look(
    tensor: Tensor, item: int = 0, tiles: Iterable[int] | None = None, *, signed: bool = False
) -> Look:
    """Return what a tensor looks like.

    Args:
        tensor: (*S).
        item: Index of the first dimension, where there are four or more.
        tiles: Which tiles come first, counted over the dimensions in the middle.
        signed: Whether 0 is in the middle of the colours though nothing is negative.

    Returns:
        ``shape``, and ``why`` there is no more: ``empty``, ``meta``, ``sparse``, ``quantized``,
        ``complex``, ``wrapped``, ``nonfinite``.  Else ``hist``, ``stats`` and ``tiles``.
    """
    with _torch.hidden(), torch.no_grad():
        why = _unfit(tensor)
        found: Look = {"shape": list(tensor.shape)} if why != "nested" else {}
        if why:
            return {**found, "why": why}
        wide = _wide(tensor)
        numbers = wide.reshape(-1)
        finite = numbers if bool(numbers.isfinite().all()) else numbers[numbers.isfinite()]
        found["stats"] = _stats(numbers, finite)
        if not len(finite):
            return {**found, "why": "nonfinite"}
        found["hist"] = _histogram(finite, whole=not tensor.is_floating_point())
        found["tiles"] = _thumbnail(wide, item, tiles, signed=signed)
        return found


def _unfit(tensor: Tensor) -> str:
    if tensor.is_nested:
        return "nested"
    if tensor.is_meta:
        return "meta"
    if tensor.layout is not torch.strided:
        return "sparse"
    if tensor.is_quantized:
        return "quantized"
    if tensor.is_complex():
        return "complex"
    if _torch.is_wrapped(tensor):
        return "wrapped"
    return "" if tensor.numel() else "empty"


def _wide(tensor: Tensor) -> Tensor:
    """Return a tensor on the CPU in a precision that computes."""
    own = tensor.detach().cpu()
    if own.dtype in (torch.float32, torch.float64):
        return own
    exact = own.dtype in (torch.int32, torch.int64, torch.uint32, torch.uint64)
    return own.to(torch.float64 if exact else torch.float32)


def _stats(numbers: Tensor, finite: Tensor) -> Look:
    """Return statistics; minimum, maximum, mean and deviation are those of the finite elements."""
    total, good = len(numbers), len(finite)
    nan = 0 if good == total else int(numbers.isnan().sum())
    found: Look = {
        "total": total,
        "zeros": total - int(torch.count_nonzero(numbers)),
        "nan": nan,
        "inf": total - good - nan,
    }
    if good:
        low, high = finite.aminmax()
        std, mean = torch.std_mean(_tame(finite), correction=0)
        found.update(
            zip(("min", "max", "mean", "std"), map(_json, (low, high, mean, std)), strict=True)
        )
    return found


def _tame(finite: Tensor) -> Tensor:
    """Return numbers of which the squares can be summed, if there is such a precision."""
    huge = float(finite.abs().amax()) > 1e15
    return finite.double() if huge else finite


def _json(number: Tensor) -> float | str:
    """Return a number to six digits; in words if JSON has none."""
    found = float(number)
    return float(f"{found:.6g}") if abs(found) < float("inf") else str(found)


def _histogram(finite: Tensor, *, whole: bool) -> Look:
    """Return counts in bins of one width between the lowest and the highest element."""
    low, high = (float(one) for one in finite.aminmax())
    if low == high:
        return {"lo": low, "hi": high, "counts": [len(finite)]}
    bins = min(BINS, int(high - low) + 1) if whole else BINS
    scale = 1.0
    if high - low > torch.finfo(finite.dtype).max:
        finite, scale = finite.double() * 0.25, 0.25  # exact, and their range is a number
    counts = torch.histc(finite, bins, low * scale, high * scale)
    return {"lo": low, "hi": high, "counts": [int(one) for one in counts.tolist()]}


# ------------------------------------------------------------------ pictures


def _layers(tensor: Tensor) -> Tensor:
    """Return a tensor as (N, tiles, H, W)."""
    shape = (1,) * max(0, 2 - tensor.dim()) + tuple(tensor.shape)
    outer = shape[0] if len(shape) > 3 else 1
    return tensor.reshape(outer, prod(shape[:-2]) // outer, *shape[-2:])


def _thumbnail(wide: Tensor, item: int, tiles: Iterable[int] | None, *, signed: bool) -> Look:
    """Return the tiles of one item."""
    signed = signed or bool((wide < 0).any())
    layers = _layers(wide)[item]
    count = len(layers)
    places = list(dict.fromkeys(chain(tiles or (), range(min(count, TILES)))))[:TILES]
    shown = layers if places == list(range(count)) else layers[places]
    whole = tuple(shown.shape[1:])
    wide_most = _STRIP if whole[0] == 1 else TILE
    size = min(whole[0], TILE), min(whole[1], wide_most)
    if size != whole:
        shown = torch.nn.functional.adaptive_avg_pool2d(shown, size)
    good = shown.isfinite()
    low, high = _scale(shown[good], signed=signed)
    return {
        "size": size,
        "pooled": size != whole,
        "item": item,
        "places": places,
        "of": count,
        "signed": signed,
        "lo": low,
        "hi": high,
        "odd": int((~good).sum()),
        "pixels": base64.b64encode(_bytes(shown, good, low, high)).decode(),
    }


def _scale(pixels: Tensor, *, signed: bool) -> tuple[float, float]:
    """Return the numbers of the lowest and the highest colour."""
    if not len(pixels):
        return 0.0, 0.0
    low, high = (float(one) for one in pixels.aminmax())
    far = max(abs(low), abs(high))
    return (-far, far) if signed else (low, high)


def _bytes(shown: Tensor, good: Tensor, low: float, high: float) -> bytes:
    """Return pixels as numbers; halves are taken so that no range is too large."""
    top = _ODD - 1
    width = (high / 2 - low / 2) or 1.0
    levels = ((shown.double() / 2 - low / 2) / width * top).round().nan_to_num().clamp(0, top)
    return bytes(torch.where(good, levels, _ODD).to(torch.uint8).reshape(-1).tolist())


# ------------------------------------------------------------------ edits


@dataclass
class _Choice:
    """Which item and tiles are shown of values that hooks made of each other: what changed."""

    item: int = 0
    tiles: tuple[int, ...] = ()
    settled: bool = False

    def settle(self, change: Tensor) -> None:
        """Choose by the first change; `change` is (N, tiles, H, W)."""
        if self.settled:
            return
        hit = (change != 0).flatten(2).any(2)
        rows = hit.any(1).nonzero().flatten().tolist()
        if rows:
            self.settled, self.item = True, rows[0]
            self.tiles = tuple(hit[self.item].nonzero().flatten().tolist()[:TILES])


def _differences(
    log: EventLog,
) -> tuple[dict[Value, _Choice], dict[tuple[Value, Value], Look]]:
    """Return which tiles to show of values that hooks edited, and the looks of the differences."""
    chosen: dict[Value, _Choice] = {}
    found: dict[tuple[Value, Value], Look] = {}
    for before, after in _edited(log):
        change = _change(log, before, after)
        if change is not None:
            choice = chosen.setdefault(before, _Choice())
            chosen.setdefault(after, choice)
            choice.settle(_layers(change))
            found[before, after] = look(change, choice.item, choice.tiles, signed=True)
    return chosen, found


def _edited(log: EventLog) -> Iterable[tuple[Value, Value]]:
    """Return the pairs of kept values of which one was made of the other by a hook or in place."""
    pairs = [
        (edit.before.value, edit.after.value) for event in log.of(HookFired) for edit in event.edits
    ]
    pairs += [(event.before, event.after) for event in log.of(TensorWritten)]
    kept = log.snapshots
    return dict.fromkeys((a, b) for a, b in pairs if a in kept and b in kept)  # type: ignore[misc]


def _change(log: EventLog, before: Value, after: Value) -> Tensor | None:
    """Return after minus before; None where they cannot be compared."""
    try:
        then, now = log.snapshots[before], log.snapshots[after]
    except TraceFormatError:
        return None
    if then.shape != now.shape or then.dtype != now.dtype or _unfit(then) or _unfit(now):
        return None
    one, other = _wide(then), _wide(now)
    same = (one == other) | (one.isnan() & other.isnan())
    return torch.where(same, 0, other - one)
