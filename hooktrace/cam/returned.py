"""What the modules of a model returned: the values with spatial extent, and how they hang together.

Only sightings are used, so neither values nor a graph need to have been kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from hooktrace.cam.layouts import Layout, find_layout, image_of, images_of, listed
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


class Returns:
    """All that the calls inside an outermost call took and returned.

    Args:
        root: The outermost call.

    Attributes:
        calls: The calls inside, in the order in which they began; recomputations are left out.
        found: The values with spatial extent, in the order in which they were first returned.
        readers: The calls that took a value, in order.
    """

    def __init__(self, root: Call) -> None:
        self.calls = [one for one in _inside(root) if one.exited and one.exception is None]
        self.found: dict[Value, Returned] = {}
        self.readers: dict[Value, list[Call]] = defaultdict(list)
        self._seen: dict[Value, int] = {}
        self._simple: set[Value] = set()  # returned by calls without calls inside
        returned = self._read()
        image = image_of(root)
        images = _batch(root, len(image))
        for value, sightings in returned.items():
            self._enter(value, sightings, image, images)
        self._latest = {value.tensor: one for value, one in self.found.items()}

    def _read(self) -> dict[Value, list[tuple[Call, Observation]]]:
        """Read all sightings; return those of what calls returned, by value."""
        returned: dict[Value, list[tuple[Call, Observation]]] = defaultdict(list)
        for call in self.calls:
            for value in self.taken(call):
                self._see(value, call.called.seq)
                self.readers[value].append(call)
        for call in sorted(self.calls, key=_end):
            outputs = list(_tensors(call.seen_outputs))
            for seen in outputs:
                self._see(_value(seen), _end(call))
            if not call.children:
                self._simple.update(map(_value, outputs))
            if outputs and call.module.name:
                returned[_value(outputs[0])].append((call, outputs[0]))
        return returned

    def _see(self, value: Value, number: int) -> None:
        self._seen[value] = min(number, self._seen.get(value, number))

    def _enter(
        self,
        value: Value,
        sightings: list[tuple[Call, Observation]],
        image: tuple[int, ...],
        images: int | None,
    ) -> None:
        """Enter a value, unless it has no spatial extent or is of windows or heads."""
        call, seen = min(sightings, key=_naming)
        assert isinstance(seen.summary, TensorSummary)
        shape = seen.summary.shape
        try:
            layout = find_layout(call, shape, image)
        except MapShapeError:
            return
        calls = [one for one, _ in sightings]
        one = Returned(value, calls, call, shape, layout, self._seen[value])
        if images in (None, one.arranged[0]):
            self.found[value] = one

    # -------------------------------------------------------------- how they hang together

    def taken(self, call: Call) -> list[Value]:
        """Return the tensors that a call took."""
        return list(dict.fromkeys(_value(seen) for seen in _tensors(call.seen_inputs)))

    def weights_after(self, one: Returned) -> bool:
        """Whether a call with weights took a value, or what may have been computed from it.

        What code between modules makes of which values is not recorded: later than the value, it
        may be made of it.
        """
        follows = {one.value}
        for call in self.calls:
            if call.called.seq < one.made:
                continue
            if any(value in follows or self._between(value, one) for value in self.taken(call)):
                if _mixes(call):
                    return True
                follows.update(_value(seen) for seen in _tensors(call.seen_outputs))
        return False

    def _between(self, value: Value, one: Returned) -> bool:
        """Whether code between modules made a value, after another one was made."""
        return value not in self._simple and self._seen[value] > one.made

    def weights_before(self, call: Call) -> bool:
        """Whether a call with weights had ended before another began."""
        return any(_mixes(one) and _end(one) < call.called.seq for one in self.calls)

    @cached_property
    def ends_normed(self) -> bool:
        """Whether the last weights of the model are those of a norm, as where the head is off."""
        weighted = [one for one in self.calls if one.module.parameters and not one.children]
        return bool(weighted) and "Norm" in max(weighted, key=_end).module.base

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
    """Return how many images a model took, in a tensor (N, C, *S) or a list; None if none such."""
    for seen in _tensors(root.seen_inputs):
        assert isinstance(seen.summary, TensorSummary)
        shape = seen.summary.shape
        if listed(seen):
            return images_of(root)
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
