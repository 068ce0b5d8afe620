"""Which autograd nodes were created in which module call, told by their numbers.

Every autograd node gets the next sequence number of its thread's counter.  So the number at which
a call began and the one at which it ended tell its nodes from all others, at any later time and
without a reference to any of them.  Threads count apart: a node's `Key` is its sequence number
with the number of the thread in the upper bits.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, NamedTuple

from hooktrace.events import CallId, Value
from hooktrace.identity import Seen

__all__ = [
    "NOBODYS",
    "THREAD_BITS",
    "Alias",
    "Edge",
    "Geometry",
    "Output",
    "Span",
    "Spans",
    "chain",
]

THREAD_BITS = 40  # a thread makes fewer than 2**40 nodes

Edge = tuple[int, int]
"""Where a gradient goes: (key of the node, output number), or (-1, id of a leaf)."""

Geometry = tuple[Any, Any, int, Any, Any]
"""How a view lies in its base: sizes, strides and offset of it; sizes and strides of the base."""


class Span:
    """The nodes of one call.

    Attributes:
        call: The call.
        parent: The span around it.
        first: Key of the first node that could be its own.
        inputs: For each argument that requires a gradient: the edge it came with, and its place
            among the leaves of the arguments.
        bases: For each argument that is a view and was written to in place: the edge of what it
            was a view of, its place, and its geometry.
    """

    __slots__ = ("bases", "call", "first", "inputs", "parent")

    def __init__(self, call: CallId, parent: Span | None, first: int) -> None:
        self.call = call
        self.parent = parent
        self.first = first
        self.inputs: dict[Edge, tuple[int, ...]] | None = None
        self.bases: dict[Edge, list[tuple[int, Geometry]]] | None = None


Output = tuple[CallId, str, int, Seen, Value, str]
"""A gradient to look out for: call, role, output number of the node, tensor, value, and a note."""


class Alias(NamedTuple):
    """An output whose gradient does not simply arrive at a node that the call made.

    Attributes:
        call: The call that returned it.
        place: Its place among the leaves of what was returned.
        seen: The tensor, and `value` what it held.
        last: Key of the first node after the call.
        passed: Of an argument that was returned as it is: its places among the arguments.
        geometry: Of a view: how it lies in its base.
        own: Of a view: the edge it came with.
        written: Whether it is a view that the call itself wrote to.
        used: Whether it is one that the call may have used itself, for it made nodes afterwards.
    """

    call: CallId
    place: int
    seen: Seen
    value: Value
    last: int
    passed: tuple[int, ...] = ()
    geometry: Geometry | None = None
    own: Edge | None = None
    written: bool = False
    used: bool = False


class Spans:
    """All spans of one thread."""

    __slots__ = ("bounds", "owners")

    def __init__(self) -> None:
        self.bounds: list[int] = []  # ascending; owners[i] owns the keys from bounds[i] on,
        self.owners: list[Span | None] = []  # and of several from the same on the last

    def __bool__(self) -> bool:
        return bool(self.bounds)

    @property
    def latest(self) -> int:
        """The key at which the latest call began or ended; -1 if there was none."""
        return self.bounds[-1] if self.bounds else -1

    def owner(self, key: int) -> Span | None:
        """Return the innermost span that the node of this key was created in."""
        place = bisect_right(self.bounds, key) - 1
        return self.owners[place] if place >= 0 else None


NOBODYS = Spans()
"""Those of a thread that called no module."""


def chain(span: Span | None) -> list[Span]:
    """Return a span and those around it, innermost first."""
    found = []
    while span is not None:
        found.append(span)
        span = span.parent
    return found
