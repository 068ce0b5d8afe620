"""The graph that TensorBoard shows, as plain nodes: each module call, and each hook, is one.

TensorBoard makes a box that opens out of every part of a name before a slash, so the names say
which module is in which.  A hook that runs in forward stands between its module and what comes
before or after; other hooks hang on their module by a dotted line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from hooktrace.events import CallId, Observation, TensorSummary
from hooktrace.log import EventLog
from hooktrace.render.wording import badge, hook_name
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.dataflow import flow
from hooktrace.views.hookuse import HookStory, HookUse
from hooktrace.views.links import Flow, Link, Operation, Terminal
from hooktrace.views.outline import Item, Outline, around, inside, outline

__all__ = ["BoardNode", "board_nodes"]

_EVERY_LEVEL = 1_000_000


@dataclass
class BoardNode:
    """One node.

    Attributes:
        name: Its place: ``ResNet/layer1/0/conv1``.
        operation: What it is, such as ``Conv2d`` or ``forward hook``.
        inputs: Names of the nodes it takes values from, in order.
        controls: Names of nodes that it only comes after.
        shapes: Of what it gives.
        device: Where that is.
        attributes: What else is known: texts and lists of them.
    """

    name: str
    operation: str
    inputs: list[str] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    device: str = ""
    attributes: dict[str, str | list[str]] = field(default_factory=dict)


def board_nodes(log: EventLog, calls: CallIndex, roots: Sequence[Call]) -> list[BoardNode]:
    """Return the nodes of the outermost calls `roots`, all levels, nothing folded."""
    uses = HookUse(log, calls)
    plan = outline(roots, uses, _EVERY_LEVEL, folds=False)
    return _Weaver(roots, uses, plan, flow(log, list(roots), plan)).nodes()


class _Weaver:
    """Turns items, operations and links into nodes."""

    def __init__(self, roots: Sequence[Call], uses: HookUse, plan: Outline, found: Flow) -> None:
        self.again = _numbered(roots)
        self.uses = uses
        self.plan = plan
        self.flow = found
        self.made: dict[str, BoardNode] = {}
        self.first: dict[str, BoardNode] = {}  # by key: what takes the inputs
        self.last: dict[str, BoardNode] = {}  # by key: what gives the outputs

    def nodes(self) -> list[BoardNode]:
        for terminal in self.flow.terminals.values():
            self._terminal(terminal)
        for item in self.plan.items:
            self._item(item)
        for operation in self.flow.operations.values():
            self._operation(operation)
        for link in self.flow.links:
            self._tie(link)
        for place, stories in (
            ("hooks_on_every_module", self.uses.globally()),
            ("hooks_elsewhere", self.uses.elsewhere()),
        ):
            for story in stories:
                self._hook(place, story)
        return list(self.made.values())

    # -------------------------------------------------------------- nodes

    def _node(self, name: str, operation: str) -> BoardNode:
        """Make a node; a name that is taken gets a number."""
        name, free, number = _clean(name), _clean(name), 1
        while free in self.made:
            number += 1
            free = f"{name}_{number}"
        node = self.made[free] = BoardNode(free, operation)
        return node

    def _terminal(self, terminal: Terminal) -> None:
        self.first[terminal.key] = self.last[terminal.key] = self._node(
            terminal.text, terminal.text
        )

    def _item(self, item: Item) -> None:
        for child in item.children:
            self._item(child)
        scope, stories = self._scope(item), self.uses.at(item.call)
        if item.children:
            inner = self._innermost(item)
            for story in stories:
                self._hook(scope, story).controls.append(inner.name)
            return
        kind = item.call.module.type
        before = [self._hook(scope, one) for one in stories if one.hook.kind == "forward_pre"]
        node = self._node(f"{scope}/{kind}" if stories else scope, kind)
        after = [self._hook(scope, one) for one in stories if one.hook.kind == "forward"]
        for story in stories:
            if story.hook.kind not in ("forward_pre", "forward"):
                self._hook(scope, story).controls.append(node.name)
        self._describe(node, item.call, stories)
        chain = [*before, node, *after]
        for earlier, later in pairwise(chain):
            later.inputs.append(earlier.name)
        for hook in after:
            hook.shapes, hook.device = node.shapes, node.device
        self.first[item.key], self.last[item.key] = chain[0], chain[-1]

    def _innermost(self, item: Item) -> BoardNode:
        """Return the last node in a container."""
        while item.children:
            item = item.children[-1]
        return self.last[item.key]

    def _describe(self, node: BoardNode, call: Call, stories: list[HookStory]) -> None:
        node.shapes = _shapes(call.seen_outputs)
        node.device = _device(call.seen_outputs)
        told: dict[str, str | list[str]] = {
            "configuration": call.module.config,
            "parameters": f"{call.module.parameters:,}" if call.module.parameters else "",
            "hooks": [badge(one) for one in stories],
            "raised": call.exception or "",
        }
        node.attributes = {name: one for name, one in told.items() if one}

    def _hook(self, scope: str, story: HookStory) -> BoardNode:
        kind = f"{story.hook.kind} hook"
        name = re.sub(r"\W+", "_", hook_name(story.hook)).strip("_")
        node = self._node(f"{scope}/{story.hook.kind}_hook_{name}", kind)
        where = {"defined_at": story.hook.defined_at, "registered_at": story.hook.registered_at}
        node.attributes = {"what": badge(story), **{key: one for key, one in where.items() if one}}
        return node

    def _operation(self, operation: Operation) -> None:
        item = self.flow.item_of.get(operation.key)
        inside = f"{self._scope(item)}/" if item is not None and operation.call is not None else ""
        node = self._node(inside + "_".join(operation.names[:3]), ", ".join(operation.names))
        if operation.parameters:
            node.attributes["reads"] = list(operation.parameters)
        self.first[operation.key] = self.last[operation.key] = node

    # -------------------------------------------------------------- links

    def _tie(self, link: Link) -> None:
        tail, head = self.last.get(link.tail), self.first.get(link.head)
        if tail is None or head is None:
            return
        ends = head.inputs if link.certain else head.controls
        if tail.name not in ends:
            ends.append(tail.name)
        if not tail.shapes:
            tail.shapes, tail.device = _shapes(link.seen), _device(link.seen)
        if link.written:
            head.attributes["writes"] = link.written

    def _scope(self, item: Item) -> str:
        """Return the place of an item: the names of what it is in, each within the one around."""
        parts = []
        for one in around(item):
            name = one.call.module.name or one.call.module.type
            outer = one.parent.call.module.name if one.parent is not None else ""
            if outer and name.startswith(f"{outer}."):
                name = name[len(outer) + 1 :]
            parts.append(name.replace(".", "/") + self.again[one.call.id])
        return "/".join(reversed(parts))


def _numbered(roots: Sequence[Call]) -> dict[CallId, str]:
    """Return for each call what its name ends in: a number where its module is called again."""
    met: dict[str, list[CallId]] = {}
    for call in inside(roots):
        met.setdefault(call.name, []).append(call.id)
    return {
        call: f"_call{number + 1}" if len(own) > 1 else ""
        for own in met.values()
        for number, call in enumerate(own)
    }


def _clean(name: str) -> str:
    """Write a name with the signs that TensorBoard takes."""
    return re.sub(r"[^\w./-]", "_", name, flags=re.ASCII).strip("/") or "_"


def _shapes(seen: Iterable[Observation]) -> list[tuple[int, ...]]:
    return [one.summary.shape for one in seen if isinstance(one.summary, TensorSummary)]


def _device(seen: Iterable[Observation]) -> str:
    return next((one.summary.device for one in seen if isinstance(one.summary, TensorSummary)), "")
