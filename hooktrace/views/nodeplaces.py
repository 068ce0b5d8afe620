"""Which part of a picture stands for each autograd node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from hooktrace.events import CallId, NodeId
from hooktrace.log import EventLog
from hooktrace.views.links import Operation, operation_name
from hooktrace.views.outline import Item, Outline

__all__ = ["Places"]


class Places:
    """Gives every autograd node the box of its call, or makes it an operation of its own.

    Nodes of the repeats of a folded row have the place of their like in the first one; those of
    calls that are not among `shown` have none (None stands for code outside of all calls).

    Attributes:
        of: By node: the key of its box or operation; leaves have none.
        operations: The nodes that no box stands for, by key.
        item_of: For each operation in a call, the item of that call.
    """

    def __init__(
        self,
        log: EventLog,
        plan: Outline,
        shown: set[CallId | None],
        box: Callable[[CallId | None], str | None],
    ) -> None:
        self.of: dict[NodeId, str] = {}
        self.operations: dict[str, Operation] = {}
        self.item_of: dict[str, Item] = {}
        self._plan = plan
        opened: dict[CallId | None, list[NodeId]] = defaultdict(list)
        for node in log.nodes:
            if node.leaf is not None or node.name.endswith("AccumulateGrad"):
                continue
            if node.call not in shown:
                continue
            place = box(node.call)
            if place is not None:
                self.of[node.id] = place
            else:
                opened[node.call].append(node.id)
        for call, numbers in opened.items():
            first = self.like(call)
            self._place(log, numbers, opened.get(first, numbers), first)

    def _place(
        self, log: EventLog, numbers: list[NodeId], models: list[NodeId], call: CallId | None
    ) -> None:
        for position, number in enumerate(numbers):
            model = models[position] if len(models) == len(numbers) else models[0]
            key = self.of[number] = f"op-{model}"
            if model == number:
                self.operations[key] = Operation(key, call, [operation_name(log.nodes[number])])
                if call is not None:
                    self.item_of[key] = self._plan.home[call]

    def like(self, call: CallId | None) -> CallId | None:
        """Return the call that is shown for a call of a folded row."""
        item = self._plan.home.get(call) if call is not None else None
        return call if item is None else item.call.id
