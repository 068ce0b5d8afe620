"""What a naive hook would have captured, against what the modules returned.

A *naive hook* is one that stores ``output`` without a clone: ``captured[name] = output``.  What
it holds when the model has returned is no longer what the module returned, if something wrote to
that tensor in the meantime, as an in-place ReLU does.  A capture is judged when the outermost
call around it returns; writes that come later are not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import torch

from hooktrace.agreement import measured, same_bits
from hooktrace.events import Observation, TensorId, TensorSummary
from hooktrace.log import EventLog
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.effects import writes

__all__ = ["Capture", "Contents", "Overwrite", "captures"]


class Overwrite(msgspec.Struct, frozen=True):
    """How what a naive hook holds at the end differs from what the module returned.

    Attributes:
        wrong: Number of elements that differ.
        total: Number of elements.
        max_difference: Largest absolute difference; NaN if that cannot be told.
        by: Who wrote, in words.
    """

    wrong: int
    total: int
    max_difference: float
    by: str

    @property
    def share(self) -> float:
        """Part of the elements that are wrong, from 0 to 1."""
        return self.wrong / self.total if self.total else 0.0

    @property
    def described(self) -> str:
        """The numbers in a sentence."""
        share = _percent(self.wrong, self.total)
        return f"{share} of {self.total} elements are wrong, by up to {self.max_difference:.3g}"

    def __str__(self) -> str:
        return f"{_percent(self.wrong, self.total)} wrong by up to {self.max_difference:.3g}"


class Capture(msgspec.Struct, frozen=True):
    """One output that both traces kept.

    Attributes:
        name: Name of the call, with its number where the module was called several times.
        role: Which output: ``output``, ``output[0]``, ``output.logits``.
        type: Class of the module.
        summary: Shape, dtype and device of what it returned in the first trace.
        first: What a naive hook would have got wrong in the first trace; None if nothing.
        second: The same for the second trace.
        returned_equal: Whether the module returned the same in both traces, bit for bit.
        returned_difference: Largest absolute difference between the two; NaN if unknown.
    """

    name: str
    role: str
    type: str
    summary: TensorSummary
    first: Overwrite | None
    second: Overwrite | None
    returned_equal: bool
    returned_difference: float

    @property
    def label(self) -> str:
        """The name, and the role where the module returned several tensors."""
        return self.name if self.role == "output" else f"{self.name} {self.role}"


class Contents(NamedTuple):
    """The tensors behind one side of a capture: what was returned, what a naive hook holds."""

    returned: torch.Tensor
    naive: torch.Tensor


_Writers = dict[TensorId, list[tuple[int, str]]]  # tensor -> versions written to, and by whom


def captures(
    kept: Sequence[tuple[Call, Call]], logs: Sequence[EventLog], indexes: Sequence[CallIndex]
) -> Iterator[tuple[Capture, Contents, Contents]]:
    """Yield a record for each output of calls that both traces kept, and its tensors."""
    writers = [_writers(log, calls) for log, calls in zip(logs, indexes, strict=True)]
    names = [call.name for call, _ in kept]
    for calls in kept:
        name = calls[0].name if names.count(calls[0].name) == 1 else str(calls[0])
        for seen in zip(*(call.seen_outputs for call in calls), strict=False):
            first, second = (
                _contents(log, call, one) for log, call, one in zip(logs, calls, seen, strict=True)
            )
            if first is not None and second is not None:
                sides = (first, second)
                found = [_overwrite(sides[n], seen[n], writers[n]) for n in (0, 1)]
                yield _capture(name, calls[0], seen[0], sides, found), *sides


def _contents(log: EventLog, call: Call, seen: Observation) -> Contents | None:
    """Return what the module returned and what a naive hook holds at the end."""
    returned = log.snapshots.get(seen.value) if seen.value is not None else None
    if returned is None:
        return None
    return Contents(returned, log.overwritten.get((call.id, seen.role), returned))


def _writers(log: EventLog, calls: CallIndex) -> dict[TensorId, list[tuple[int, str]]]:
    """Return by tensor who wrote to it in place: pairs of the version written to and words."""
    found: dict[TensorId, list[tuple[int, str]]] = {}
    for write in writes(log, calls):
        found.setdefault(write.before.tensor, []).append((write.before.version or 0, write.by))
    return found


def _capture(
    name: str,
    call: Call,
    seen: Observation,
    sides: tuple[Contents, Contents],
    found: list[Overwrite | None],
) -> Capture:
    summary = seen.summary
    assert isinstance(summary, TensorSummary)
    returned = sides[0].returned, sides[1].returned
    equal, (_, largest) = same_bits(*returned), measured(*returned)
    first, second = found
    return Capture(name, seen.role, call.module.type, summary, first, second, equal, largest)


def _overwrite(contents: Contents, seen: Observation, writers: _Writers) -> Overwrite | None:
    if contents.naive is contents.returned or seen.value is None:
        return None
    wrong, largest = measured(*contents)
    first = seen.value.version or 0
    since = [by for version, by in writers.get(seen.value.tensor, ()) if version >= first]
    by = " and ".join(dict.fromkeys(since)) or "code that PyTorch does not count (.data, NumPy)"
    return Overwrite(wrong, contents.returned.numel(), largest, by) if wrong else None


def _percent(part: int, whole: int) -> str:
    """Write a share so that neither nothing nor everything is claimed by rounding.

    >>> _percent(1, 3), _percent(1, 100_000), _percent(99_999, 100_000), _percent(2, 2)
    ('33.3 %', '< 0.1 %', '> 99.9 %', '100 %')
    """
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.1:
        return "< 0.1 %"
    if 99.9 < share < 100:
        return "> 99.9 %"
    return f"{share:.3g} %"
