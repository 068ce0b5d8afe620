"""Which autograd nodes were created in which module call, told by their sequence numbers.

Every autograd node gets the next number of its thread's counter.  So the number at which a call
began and the one at which it ended tell its nodes from all others, at any later time and
without a reference to any of them.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from hooktrace.events import CallId, NodeId, Value
from hooktrace.identity import Seen

__all__ = ["Output", "Span", "Spans"]

Edge = tuple[int, int]
"""Where a gradient goes: (sequence number of the node, output number), or (-1, id of a leaf)."""


class Span:
    """The nodes of one call.

    Attributes:
        call: The call.
        parent: The span around it.
        first: Sequence number of the first node that could be its own.
        inputs: For each argument that requires a gradient: the edge it came with, and its place
            among the leaves of the arguments.
    """

    __slots__ = ("call", "first", "inputs", "parent")

    def __init__(self, call: CallId, parent: Span | None, first: int) -> None:
        self.call = call
        self.parent = parent
        self.first = first
        self.inputs: dict[Edge, tuple[int, ...]] | None = None


Output = tuple[CallId, str, int, Seen, Value, str]
"""A gradient to look out for: call, role, output number of the node, tensor, value, and a note."""


class Spans:
    """All spans of one thread.

    Attributes:
        outputs: What to look out for at the node of a sequence number.
        rows: Rows of the nodes that are in the log, by sequence number.
    """

    __slots__ = ("_bounds", "_owners", "outputs", "rows")

    def __init__(self) -> None:
        self._bounds: list[int] = []  # ascending; owners[i] owns the numbers from bounds[i] on
        self._owners: list[Span | None] = []
        self.outputs: dict[int, list[Output]] = {}
        self.rows: dict[Any, NodeId] = {}

    def __bool__(self) -> bool:
        return bool(self._bounds)

    def switch(self, sequence: int, owner: Span | None) -> None:
        """From `sequence` on, nodes belong to `owner`."""
        if self._bounds and self._bounds[-1] == sequence:
            self._owners[-1] = owner
        else:
            self._bounds.append(sequence)
            self._owners.append(owner)

    def owner(self, sequence: int) -> Span | None:
        """Return the innermost span that the node of this number was created in."""
        place = bisect_right(self._bounds, sequence) - 1
        return self._owners[place] if place >= 0 else None
