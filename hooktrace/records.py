"""The records that events are made of: ids, values, observations, edits.

Everything here is an immutable value.  No record holds a tensor, a module, a hook or a
frame, so a log can be kept, saved and shown without keeping any of them alive.  This file
does not import torch: dtypes and devices are strings.

The central idea is `Value`: *a tensor at one version* (``Tensor._version``), which is what
static single assignment calls a value.  An in-place ReLU takes one value of a tensor and
leaves the next one behind.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, NewType

import msgspec

__all__ = [
    "CallId",
    "Change",
    "Edit",
    "Event",
    "HookId",
    "ModuleId",
    "NodeId",
    "Observation",
    "Record",
    "StorageId",
    "TensorId",
    "TensorSummary",
    "Value",
    "format_numbers",
]

ModuleId = NewType("ModuleId", int)
TensorId = NewType("TensorId", int)
CallId = NewType("CallId", int)
HookId = NewType("HookId", int)
NodeId = NewType("NodeId", int)
StorageId = NewType("StorageId", int)

if TYPE_CHECKING:
    Number = float
else:
    Number = Any  # an element of a tensor, which may be a bool or complex as well


class Record(msgspec.Struct, frozen=True, gc=False):
    """Base of all records: immutable and, holding only plain values, invisible to the gc."""


class Event(Record, frozen=True, gc=False, tag=True):
    """One row of the timeline.

    Attributes:
        seq: Its identity and its place in the order.
        time_ns: Monotonic clock when it began, in nanoseconds.
        thread: Small number of the thread it happened on, in order of appearance.
    """

    label: ClassVar[str] = "event"

    seq: int
    time_ns: int
    thread: int


# ------------------------------------------------------------------ what was seen


class Value(Record, frozen=True, gc=False):
    """A tensor at one version.

    Attributes:
        tensor: Row of the tensor in the log.
        version: ``Tensor._version`` at the time; None for inference tensors, which have none.
    """

    tensor: TensorId
    version: int | None

    def __str__(self) -> str:
        return f"t{self.tensor}" if self.version is None else f"t{self.tensor}.{self.version}"


class TensorSummary(Record, frozen=True, gc=False):
    """What can be read of a tensor without touching its data.

    Attributes:
        shape: Sizes of the dimensions; ``()`` for a scalar.
        dtype: Such as ``"float32"``.
        device: Such as ``"cpu"`` or ``"cuda:0"``.
        requires_grad: As at the time of the observation.
    """

    shape: tuple[int, ...]
    dtype: str
    device: str
    requires_grad: bool

    @property
    def dimensions(self) -> str:
        """The shape as people write it: ``1x3x224x224``, or ``scalar``."""
        return "x".join(map(str, self.shape)) if self.shape else "scalar"

    @property
    def size_bytes(self) -> int:
        """Size of the elements in bytes, as far as the dtype tells."""
        bits = "".join(one for one in self.dtype.partition("_")[0] if one.isdigit())
        return math.prod(self.shape) * (int(bits) // 8 if bits else 1)

    def __str__(self) -> str:
        text = f"{self.dimensions} {self.dtype}"
        return text if self.device == "cpu" else f"{text} {self.device}"


class Observation(Record, frozen=True, gc=False):
    """One sighting of one argument, output or gradient.

    Attributes:
        role: Where it was, such as ``args[0]``, ``kwargs['mask']``, ``output.logits``,
            ``grad_input[0]``.
        value: The tensor at its version; None when what was seen is not a tensor.
        summary: Of a tensor its `TensorSummary`, of anything else a short text.
        storage: Tensors with the same number shared memory; None where there is no storage.
        numbers: All elements in row-major order, recorded for CPU tensors of at most 16.
        stats: Number of its statistics in ``log.stats``, where such were taken.
    """

    role: str
    value: Value | None
    summary: TensorSummary | str
    storage: StorageId | None = None
    numbers: tuple[Number, ...] | None = None
    stats: int | None = None

    def __str__(self) -> str:
        if self.numbers is None:
            return str(self.summary)
        if isinstance(self.summary, TensorSummary) and self.summary.shape == ():
            return f"{self.numbers[0]:.6g}"
        return format_numbers(self.numbers)


class Change(Record, frozen=True, gc=False):
    """How a tensor differs from what it was, measured when the trace is read.

    Attributes:
        factor: c when ``after == c * before`` up to rounding, else None.
        kind: One of ``scaled``, ``zeroed``, ``shifted``, ``clamped``, ``changed``, ``replaced``,
            ``unchanged``, ``unknown``.
        text: The change in a few characters, such as ``x2`` or ``clamped to [-1, 1]``.
        changed: Number of elements that differ; None if it was not measured.
        total: Number of elements; None if it was not measured.
        max_difference: Largest absolute difference; None if it was not measured.
        reason: Why nothing was measured; empty otherwise.
    """

    kind: str
    text: str
    factor: float | None = None
    changed: int | None = None
    total: int | None = None
    max_difference: float | None = None
    reason: str = ""


class Edit(Record, frozen=True, gc=False):
    """One change by one hook.

    Attributes:
        role: What it changed, such as ``grad``, ``output`` or ``args[0]``.
        how: ``in_place``, ``returned`` or ``assigned`` (to ``param.grad``).
        before: The argument as the hook found it.
        after: What it left behind.
    """

    role: str
    how: str
    before: Observation
    after: Observation


def format_numbers(numbers: tuple[float, ...], limit: int = 6) -> str:
    """Write a few numbers shortly: ``[0.25, 0.5]``; more than `limit` end in an ellipsis.

    >>> format_numbers((5.0,))
    '[5]'
    >>> format_numbers((0.1, 2, 3, 4), limit=2)
    '[0.1, 2, ...]'
    """
    shown = ", ".join(f"{number:.6g}" for number in numbers[:limit])
    return f"[{shown}, ...]" if len(numbers) > limit else f"[{shown}]"
