"""What the modules of a model returned: the values with spatial extent, and how they hang together.

Only sightings are used, so neither values nor a graph need to have been kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch

from hooktrace.cam.layouts import Layout, find_layout, image_of
from hooktrace.errors import MapShapeError
from hooktrace.events import Observation, TensorSummary, Value
from hooktrace.views.calls import Call

__all__ = ["Returned", "Returns"]


@dataclass
class Returned:
    """A value that modules returned.

    Attributes:
        value: The value.
        calls: The calls that returned it, in the order in which they did.
        call: The one by which it goes: the outermost that returned the tensor itself, rather than
            a tuple or a dict with it.
        shape: Of the tensor.
        layout: Of its axes.
        made: Number of the event by which it was first seen.
    """

    value: Value
    calls: list[Call]
    call: Call
    shape: tuple[int, ...]
    layout: Layout
    made: int

    @property
    def maker(self) -> Call:
        """The call that made it.  Where versions are not counted, the last one that had a say."""
        if self.value.version is None:
            return next((one for one in reversed(self.calls) if not one.children), self.calls[-1])
        return self.calls[0]

    @cached_property
    def arranged(self) -> tuple[int, ...]:
        """(N, C, *S), the sizes of the value laid out for maps."""
        return tuple(self.layout.arrange(torch.empty(self.shape, device="meta")).shape)


@dataclass
class Returns:
    """All that the calls inside an outermost call took and returned.

    Attributes:
        root: The outermost call.
        calls: The calls inside, in the order in which they began; recomputations are left out.
        found: The values with spatial extent, in the order in which they were made.
        readers: The calls that took a value, in order.
        refused: Why what a call returned is no value with spatial extent, in order.
    """

    root: Call
    calls: list[Call] = field(default_factory=list)
    found: dict[Value, Returned] = field(default_factory=dict)
    readers: dict[Value, list[Call]] = field(default_factory=lambda: defaultdict(list))
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.calls = [one for one in _inside(self.root) if one.exited and one.exception is None]
        self._seen: dict[Value, int] = {}
        for call in self.calls:
            for seen in _tensors(call.seen_inputs):
                self._see(seen, call.called.seq)
            for value in self.taken(call):
                self.readers[value].append(call)
        returned: dict[Value, list[tuple[Call, Observation]]] = defaultdict(list)
        for call in sorted(self.calls, key=_end):
            for seen in _tensors(call.seen_outputs):
                self._see(seen, _end(call))
            first = next(_tensors(call.seen_outputs), None)
            if first is not None and call.module.name:
                returned[_value(first)].append((call, first))
        image = image_of(self.root)
        self.images = _batch(self.root, len(image))
        for value, sightings in returned.items():
            self._enter(value, sightings, image)
        self._latest = {value.tensor: one for value, one in self.found.items()}

    def _see(self, seen: Observation, number: int) -> None:
        value = _value(seen)
        self._seen[value] = min(number, self._seen.get(value, number))

    def _enter(
        self, value: Value, sightings: list[tuple[Call, Observation]], image: tuple[int, ...]
    ) -> None:
        call, seen = min(sightings, key=_naming)
        assert isinstance(seen.summary, TensorSummary)
        shape = seen.summary.shape
        try:
            layout = find_layout(call, shape, image)
        except MapShapeError as error:
            self.refused.append(str(error))
            return
        calls = [one for one, _ in sightings]
        one = Returned(value, calls, call, shape, layout, self._seen[value])
        if self.images in (None, one.arranged[0]):
            self.found[value] = one
        else:
            self.refused.append(
                f"{call} returned {one.arranged[0]} maps for {self.images} images, such as the "
                f"windows or heads of an attention."
            )

    # -------------------------------------------------------------- how they hang together

    def taken(self, call: Call) -> list[Value]:
        """Return the tensors that a call took."""
        return list(dict.fromkeys(_value(seen) for seen in _tensors(call.seen_inputs)))

    def weights_after(self, one: Returned) -> bool:
        """Whether what a call with weights took may have been computed from a value."""
        return any(
            self._seen[value] >= one.made
            for call in self.calls
            if _mixes(call) and call.called.seq > one.made
            for value in self.taken(call)
        )

    def weights_before(self, call: Call) -> bool:
        """Whether a call with weights had ended before another began."""
        return any(_mixes(one) and _end(one) < call.called.seq for one in self.calls)

    def later(self, one: Returned) -> Returned | None:
        """Return what a module left in the place of a value, by writing to it."""
        latest = self._latest[one.value.tensor]
        return None if latest is one or one.value.version is None else latest


def _inside(root: Call) -> Iterator[Call]:
    for call in root.children:
        if not call.recomputed:
            yield call
            yield from _inside(call)


def _tensors(seen: tuple[Observation, ...]) -> Iterator[Observation]:
    """Yield the sightings of tensors of floating-point numbers."""
    for one in seen:
        summary = one.summary
        if isinstance(summary, TensorSummary) and "float" in summary.dtype and one.value:
            yield one


def _batch(root: Call, axes: int) -> int | None:
    """Return how many images a model took in one tensor (N, C, *S); None if it took none such."""
    for seen in _tensors(root.seen_inputs):
        assert isinstance(seen.summary, TensorSummary)
        shape = seen.summary.shape
        if len(shape) > 2:
            return shape[0] if len(shape) == axes + 2 else None
    return None


def _value(seen: Observation) -> Value:
    assert seen.value is not None
    return seen.value


def _end(call: Call) -> int:
    assert call.exited is not None
    return call.exited.seq


def _naming(sighting: tuple[Call, Observation]) -> tuple[bool, bool, int, int]:
    call, seen = sighting
    return bool(call.container), seen.role != "output", call.depth, _end(call)


def _mixes(call: Call) -> bool:
    """Whether a call has weights of its own that mix channels: norms and PReLU have not."""
    module = call.module
    return module.parameters > 0 and "Norm" not in module.base and module.base != "PReLU"
