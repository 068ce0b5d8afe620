"""What a picture of module calls is made of beside the calls: links, operations, terminals."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hooktrace.events import CallId, Observation, TracedNode, Value
from hooktrace.views.outline import Item

__all__ = ["Flow", "Link", "Operation", "Terminal", "operation_name"]


@dataclass
class Operation:
    """Functional code between modules, known from the autograd graph.

    Attributes:
        key: Its id in the picture.
        call: The call whose own code it is; None outside of all calls.
        names: Operations in the order of the computation, such as ``["view", "add"]``.
        parameters: Parameters that it reads by itself.
    """

    key: str
    call: CallId | None
    names: list[str]
    parameters: list[str] = field(default_factory=list)


@dataclass
class Terminal:
    """An input or the output of the whole; of inputs that go the same way, all of them."""

    key: str
    text: str
    count: int = 1


@dataclass
class Link:
    """A value on its way.

    Attributes:
        tail, head: Keys of items, operations or terminals.
        seen: What it is; empty where only the autograd graph tells of it.
        value: The tensor at its version, where known.
        edits: What hooks made of it on the way, such as ``x2 (double)``.
        written: Says that the head overwrote it in place; empty if it did not.
        certain: False where only the order of the calls suggests the link.
    """

    tail: str
    head: str
    seen: list[Observation] = field(default_factory=list)
    value: Value | None = None
    edits: list[str] = field(default_factory=list)
    written: str = ""
    certain: bool = True


@dataclass
class Flow:
    """All links, and the nodes of the picture that are no calls.

    Attributes:
        overwritten: By key: who overwrote its output, where no link shows it.
        item_of: By key of a box or an operation: the item that it is, or that it is inside of.
    """

    links: list[Link]
    operations: dict[str, Operation]
    terminals: dict[str, Terminal]
    overwritten: dict[str, list[str]]
    item_of: dict[str, Item]


def operation_name(node: TracedNode) -> str:
    """Write a node's name as the function that made it.

    >>> operation_name(TracedNode(0, "AddBackward0"))
    'add'
    >>> operation_name(TracedNode(0, "ReshapeAliasBackward0"))
    'reshape_alias'
    >>> operation_name(TracedNode(0, ""))  # of a step that is not in the file
    'operation'
    """
    name = re.sub(r"(Backward\d*|Backward)$", "", node.name.rpartition("::")[2]) or node.name
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() or "operation"
