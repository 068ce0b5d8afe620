"""What flows between the calls that a picture shows.

A value that one call returned and another one took is a link between them.  Code between
modules (a residual sum, a ``flatten``) is known from the autograd graph: its nodes, by the call
in which they were made.  Where neither tells, because autograd was off, the same tensor at an
earlier version or the same memory does.  A value that a hook changed is followed back to what
it was before.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

from hooktrace.events import (
    CallId,
    Edit,
    HookFired,
    NodeId,
    Observation,
    TensorWritten,
    TracedNode,
    Value,
)
from hooktrace.log import EventLog
from hooktrace.views.calls import Call
from hooktrace.views.effects import EditView
from hooktrace.views.outline import Outline, around, inside

__all__ = ["Flow", "Link", "Operation", "Terminal", "flow", "operation_name"]


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
    """An input or the output of the whole."""

    key: str
    text: str


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
    """All links, and the nodes of the picture that are no calls."""

    links: list[Link]
    operations: dict[str, Operation]
    terminals: dict[str, Terminal]
    overwritten: dict[str, list[str]]


def operation_name(node: TracedNode) -> str:
    """Write a node's name as the function that made it.

    >>> operation_name(TracedNode(0, "AddBackward0"))
    'add'
    >>> operation_name(TracedNode(0, "ReshapeAliasBackward0"))
    'reshape_alias'
    """
    name = re.sub(r"(Backward\d*|Backward)$", "", node.name.rpartition("::")[2]) or node.name
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def flow(log: EventLog, roots: list[Call], plan: Outline) -> Flow:
    """Work out what flows between the items of an outline."""
    return _Weaver(log, roots, plan).weave()


class _Weaver:
    """Looks up where each value came from, then ties the links."""

    def __init__(self, log: EventLog, roots: list[Call], plan: Outline) -> None:
        self.log = log
        self.plan = plan
        self.calls = inside(roots)
        self.by_id = {call.id: call for call in self.calls}
        self.boxes = {item.key for item in plan.boxes()}
        self.item_of = {item.key: item for item in plan.boxes()}
        self.links: list[Link] = []
        self.operations: dict[str, Operation] = {}
        self.terminals: dict[str, Terminal] = {}
        self.roots = roots
        self.made_by: dict[tuple[NodeId, int], list[Value]] = defaultdict(list)
        for value, source in log.producers.items():
            self.made_by[source].append(value)
        self.returned = self._returned()
        self.edited = self._edited()
        self.sights = {seen.value: seen for call in self.calls for seen in call.seen_outputs}
        self.external = self._external()
        self.storages = self._storages()
        self.node_place: dict[NodeId, str] = {}
        self._place_nodes()

    # -------------------------------------------------------------- where things are

    def _box(self, call: CallId | None) -> str | None:
        """Return the box that stands for a call; None if the call is shown opened."""
        item = self.plan.home.get(call) if call is not None else None
        return item.key if item is not None and item.key in self.boxes else None

    def _returned(self) -> dict[Value, list[tuple[int, str]]]:
        """For each value, the boxes that returned it, with the time at which they did."""
        found: dict[Value, list[tuple[int, str]]] = defaultdict(list)
        for call in self.calls:
            box = self._box(call.id)
            if box is not None and call.exited is not None:
                for seen in call.seen_outputs:
                    if seen.value is not None:
                        found[seen.value].append((call.exited.seq, box))
        for entries in found.values():
            entries.sort()
        return found

    def _storages(self) -> dict[int, list[tuple[int, str, Value]]]:
        """For each memory, the boxes that returned a tensor in it, by time."""
        found: dict[int, list[tuple[int, str, Value]]] = defaultdict(list)
        for call in self.calls:
            box = self._box(call.id)
            if box is not None and call.exited is not None:
                for seen in call.seen_outputs:
                    if seen.value is not None and seen.storage is not None:
                        found[seen.storage].append((call.exited.seq, box, seen.value))
        for entries in found.values():
            entries.sort(key=lambda entry: entry[0])
        return found

    def _edited(self) -> dict[Value, tuple[Value, str, CallId | None]]:
        """For each value that a forward hook left behind: what it was before, and the change."""
        found: dict[Value, tuple[Value, str, CallId | None]] = {}
        for event in self.log.of(HookFired):
            if self.log.hooks[event.hook].kind not in ("forward", "forward_pre"):
                continue
            for edit in event.edits:
                before, after = edit.before.value, edit.after.value
                if before is not None and after is not None and before != after:
                    found[after] = (before, self._edit_text(event, edit), event.call)
        return found

    def _edit_text(self, event: HookFired, edit: Edit) -> str:
        view = EditView(self.log, event, edit)
        same = view.change.kind == "unchanged"
        return "" if same else f"{view.change.text} by hook {view.hook.name}"

    def _external(self) -> dict[Value, str]:
        """The inputs of the outermost calls that nothing in the picture made."""
        found: dict[Value, str] = {}
        for call in self.roots:
            for seen in call.seen_inputs:
                if seen.value is not None and not self.returned.get(seen.value):
                    key = f"input-{len(set(found.values()))}"
                    found.setdefault(seen.value, key)
        return found

    # -------------------------------------------------------------- operations

    def _place_nodes(self) -> None:
        """Give every autograd node its box, or make it an operation of its own."""
        opened: dict[CallId | None, list[NodeId]] = defaultdict(list)
        for node in self.log.nodes:
            if node.leaf is not None or node.name.endswith("AccumulateGrad"):
                continue
            if node.call is not None and node.call not in self.by_id:
                continue
            box = self._box(node.call)
            if box is not None:
                self.node_place[node.id] = box
            else:
                opened[node.call].append(node.id)
        for call, numbers in opened.items():
            first = self._like(call)
            models = opened.get(first, numbers)
            for position, number in enumerate(numbers):
                model = models[position] if len(models) == len(numbers) else models[0]
                self.node_place[number] = f"op-{model}"
                if model == number:
                    name = operation_name(self.log.nodes[number])
                    self.operations[f"op-{number}"] = Operation(f"op-{number}", first, [name])
                    if first is not None:
                        self.item_of[f"op-{number}"] = self.plan.home[first]

    def _like(self, call: CallId | None) -> CallId | None:
        """Return the call that is shown for a call of a folded row."""
        item = self.plan.home.get(call) if call is not None else None
        return call if item is None else item.call.id

    # -------------------------------------------------------------- following values back

    def source(self, seen: Value, before: int) -> tuple[str | None, list[str], Value]:
        """Return what a value came from, what hooks did to it since, and as what it left."""
        edits: list[str] = []
        value = seen
        while True:
            box = _latest(self.returned.get(value, ()), before)
            if box is not None:
                own = self._edits_by_box(value, box)
                return box, own + edits, value
            step = self.edited.get(value)
            if step is None:
                break
            value, text, _ = step
            edits[:0] = [text] if text else []
        made = self.log.producers.get(value)
        place = self.node_place.get(made[0]) if made is not None else None
        return place or self.external.get(value), edits, value

    def _edits_by_box(self, value: Value, box: str) -> list[str]:
        """Return what the forward hooks of a box itself did to the value that it returned."""
        texts: list[str] = []
        while value in self.edited:
            value, text, call = self.edited[value]
            if self._box(call) != box:
                break
            texts[:0] = [text] if text else []
        return texts

    def memory(self, seen: Observation, before: int) -> tuple[str | None, Value | None]:
        """Find the latest box that returned a tensor in the same memory."""
        entries = self.storages.get(seen.storage, []) if seen.storage is not None else []
        earlier = [entry for entry in entries if entry[0] < before]
        return (earlier[-1][1], earlier[-1][2]) if earlier else (None, None)

    # -------------------------------------------------------------- tying

    def weave(self) -> Flow:
        for call in self.calls:
            box = self._box(call.id)
            if box is not None and self._outermost_in_box(call):
                self._take_inputs(call, box)
        self._take_nodes()
        self._give_outputs()
        self._guess_order()
        overwritten = self._mark_writes()
        tidy = Tidier(self)
        return Flow(tidy.links, tidy.operations, self.terminals, overwritten)

    def _outermost_in_box(self, call: Call) -> bool:
        return call.parent is None or self._box(call.parent.id) is None

    def _take_inputs(self, call: Call, box: str) -> None:
        for seen in call.seen_inputs:
            if seen.value is None:
                continue
            tail, edits, value = self.source(seen.value, call.called.seq)
            if tail is None and not self._has_node(call):
                tail, other = self.memory(seen, call.called.seq)
                value = other or value
            if tail is not None and tail != box and not self._across(tail, call.id):
                edits = edits + self._edits_on_entry(call, seen.value)
                self.links.append(Link(tail, box, [seen], value, edits))
                self._terminal(tail, seen)

    def _has_node(self, call: Call) -> bool:
        return any(seen.value in self.log.producers for seen in call.seen_outputs if seen.value)

    def _edits_on_entry(self, call: Call, value: Value) -> list[str]:
        """Return what the pre-hooks of a call did to one of its arguments."""
        texts: list[str] = []
        for event in call.hooks:
            for edit in event.edits:
                if edit.role.startswith(("args", "kwargs")) and edit.before.value == value:
                    texts += filter(None, [self._edit_text(event, edit)])
                    value = edit.after.value or value
        return texts

    def _across(self, tail: str, call: CallId | None) -> bool:
        """Whether a link from `tail` to this call, folded away, stays inside its row."""
        rows = self.plan.hidden.get(call) if call is not None else None
        if not rows:
            return False
        return any(item.row in rows for item in around(self.item_of.get(tail)))

    def _terminal(self, key: str, seen: Observation) -> None:
        if key.startswith("input-"):
            self.terminals.setdefault(key, Terminal(key, "input"))

    def _take_nodes(self) -> None:
        """Tie what only the autograd graph knows: code between modules."""
        explained = self._explained()
        for node in self.log.nodes:
            place = self.node_place.get(node.id)
            if place is None:
                continue
            for source in node.next:
                if (place, source) not in explained:
                    self._take_edge(place, node, source)

    def _explained(self) -> set[tuple[str, tuple[NodeId, int]]]:
        """The edges of the autograd graph that a recorded argument stands for already."""
        found = set()
        for call in self.calls:
            box = self._box(call.id)
            if box is not None and self._outermost_in_box(call):
                for seen in call.seen_inputs:
                    made = self.log.producers.get(seen.value) if seen.value else None
                    if made is not None:
                        found.add((box, made))
        return found

    def _take_edge(self, place: str, node: TracedNode, source: tuple[NodeId, int]) -> None:
        target = self.log.nodes[source[0]]
        if target.leaf is not None:
            self._take_leaf(place, target)
            return
        values = self.made_by.get(source) or self._only_output(target)
        tail, edits, value = self.node_place.get(source[0]), [], None
        for one in values:
            found, changes, before = self.source(one, len(self.log.events))
            if found is not None:
                tail, edits, value = found, changes, before
        if tail is not None and tail != place and not self._across(tail, node.call):
            seen = self.sights.get(value) if value is not None else None
            self.links.append(Link(tail, place, [seen] if seen else [], value, edits))

    def _only_output(self, node: TracedNode) -> list[Value]:
        """Guess the value that a node made from the box it is in, if that returned just one.

        A value that was overwritten before its node was looked up is not among the producers.
        """
        call = self.by_id.get(node.call) if node.call is not None else None
        if call is None or self._box(call.id) is None:
            return []
        while call.parent is not None and self._box(call.parent.id) is not None:
            call = call.parent
        values = [seen.value for seen in call.seen_outputs if seen.value is not None]
        return values if len(values) == 1 and values[0] not in self.log.producers else []

    def _take_leaf(self, place: str, target: TracedNode) -> None:
        assert target.leaf is not None
        row = self.log.tensors[target.leaf]
        operation = self.operations.get(place)
        if row.parameter:
            if operation is not None and row.name not in operation.parameters:
                operation.parameters.append(row.name)
            return
        for value, key in self.external.items():
            if value.tensor == row.id:
                self.links.append(Link(key, place, [], value))
                self.terminals.setdefault(key, Terminal(key, "input"))

    def _give_outputs(self) -> None:
        """Tie what the outermost calls returned, unless another one took it."""
        taken = {
            seen.value for call in self.roots for seen in call.seen_inputs if seen.value is not None
        }
        for call in self.roots:
            key = f"output-{call.id}"
            for seen in call.seen_outputs:
                if seen.value is None or seen.value in taken or call.exited is None:
                    continue
                tail, edits, value = self.source(seen.value, call.exited.seq + 1)
                if tail is None:
                    tail, other = self.memory(seen, call.exited.seq + 1)
                    value = other or value
                if tail is not None:
                    self.links.append(Link(tail, key, [seen], value, edits))
                    self.terminals.setdefault(key, Terminal(key, "output"))
                    self._terminal(tail, seen)

    def _guess_order(self) -> None:
        """Tie boxes that nothing leads to after what ran before them, as a guess."""
        reached = {link.head for link in self.links}
        previous = ""
        for item in self.plan.boxes():
            if previous and item.key not in reached and _takes_numbers(item.call):
                self.links.append(Link(previous, item.key, certain=False))
            previous = item.key

    # -------------------------------------------------------------- writes in place

    def _mark_writes(self) -> dict[str, list[str]]:
        """Mark the links whose value their head overwrote; note the others at what was hit."""
        notes: dict[str, list[str]] = defaultdict(list)
        for event in self.log.of(TensorWritten):
            if event.hook is not None or event.call is None or event.call not in self.by_id:
                continue
            if not self._mark_write(event):
                tail, _, _ = self.source(event.before, event.seq)
                text = f"overwritten in place in {self.by_id[event.call]}"
                if tail is not None and text not in notes[tail]:
                    notes[tail].append(text)
        return notes

    def _mark_write(self, event: TensorWritten) -> bool:
        assert event.call is not None
        shown = self._like(event.call)
        words = "overwritten in place" if event.certain else "possibly overwritten (shared memory)"
        inner = self.by_id[event.call]
        if self._box(event.call) != f"call-{event.call}" and inner.children == []:
            words += f" by {inner.name}"
        made = self.log.producers.get(event.after)
        exact = self.node_place.get(made[0]) if made is not None else None
        found = False
        for link in self.links:
            operation = self.operations.get(link.head)
            here = link.head == self._box(event.call) or (
                operation is not None and operation.call == shown and exact in (None, link.head)
            )
            if here and link.value == event.before:
                link.written = words
                found = True
        return found or self._box(event.call) == self.source(event.before, event.seq)[0]


class Tidier:
    """Drops dead ends, absorbs what reads only parameters, joins chains, merges doubles."""

    def __init__(self, weaver: _Weaver) -> None:
        self.operations = weaver.operations
        self.links = weaver.links
        self._drop_dead_ends()
        self._absorb_parameters()
        self._join_chains()
        self._merge()

    def _drop(self, keys: set[str]) -> None:
        self.operations = {key: one for key, one in self.operations.items() if key not in keys}
        self.links = [link for link in self.links if not keys & {link.tail, link.head}]

    def _drop_dead_ends(self) -> None:
        tails: dict[str, list[str]] = defaultdict(list)
        for link in self.links:
            tails[link.head].append(link.tail)
        alive: set[str] = set()
        stack = [link.head for link in self.links if link.head not in self.operations]
        while stack:
            key = stack.pop()
            if key not in alive:
                alive.add(key)
                stack += tails[key]
        self._drop({key for key in self.operations if key not in alive})

    def _absorb_parameters(self) -> None:
        """Merge an operation on parameters alone into what uses its result."""
        while True:
            fed = {link.head for link in self.links}
            alone = [key for key in self.operations if key not in fed]
            if not alone:
                return
            for key in alone:
                for link in self.links:
                    target = self.operations.get(link.head)
                    if link.tail == key and target is not None:
                        names = self.operations[key].parameters
                        target.parameters += [n for n in names if n not in target.parameters]
            self._drop(set(alone))

    def _join_chains(self) -> None:
        for key in list(self.operations):
            while True:
                after = {link.head for link in self.links if link.tail == key}
                head = next(iter(after)) if len(after) == 1 else ""
                target = self.operations.get(head)
                if target is None or target.call != self.operations[key].call:
                    break
                if {link.tail for link in self.links if link.head == head} != {key}:
                    break
                self._join(self.operations[key], target)

    def _join(self, first: Operation, second: Operation) -> None:
        first.names += second.names
        first.parameters += second.parameters
        self.links = [
            link for link in self.links if (link.tail, link.head) != (first.key, second.key)
        ]
        for link in self.links:
            link.tail = first.key if link.tail == second.key else link.tail
        del self.operations[second.key]

    def _merge(self) -> None:
        merged: dict[tuple[str, str], Link] = {}
        for link in self.links:
            known = merged.setdefault((link.tail, link.head), link)
            if known is link:
                continue
            known.seen += [one for one in link.seen if one.value not in _values(known)]
            known.edits += [text for text in link.edits if text not in known.edits]
            known.written = known.written or link.written
        self.links = list(merged.values())


def _takes_numbers(call: Call) -> bool:
    summaries = (seen.summary for seen in call.seen_inputs)
    return any(not isinstance(one, str) and "float" in one.dtype for one in summaries)


def _values(link: Link) -> list[Value | None]:
    return [one.value for one in link.seen]


def _latest(entries: object, before: int) -> str | None:
    earlier = [box for seq, box in entries if seq < before]  # type: ignore[attr-defined]
    return earlier[-1] if earlier else None
