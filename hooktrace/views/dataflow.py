"""What flows between the calls that a picture shows.

A value that one call returned and another one took is a link between them.  Code between
modules (a residual sum, a ``flatten``) is known from the autograd graph: its nodes, by the call
in which they were made.  Where neither tells, because autograd was off, the same memory does.
A value that a hook changed is followed back to what it was before.
"""

from __future__ import annotations

from collections import defaultdict

from hooktrace.events import CallId, NodeId, Observation, TensorWritten, TracedNode, Value
from hooktrace.log import EventLog
from hooktrace.views.calls import Call
from hooktrace.views.links import Flow, Link, Terminal
from hooktrace.views.nodeplaces import Places
from hooktrace.views.outline import Outline, around, inside
from hooktrace.views.sources import Sources
from hooktrace.views.tidying import Tidier

__all__ = ["flow"]


def flow(log: EventLog, roots: list[Call], plan: Outline, *, part: bool = False) -> Flow:
    """Work out what flows between the items of an outline.

    Args:
        log: The trace.
        roots: The calls of which the outline is.
        plan: The outline.
        part: Whether they are but a part of what ran: then code outside of them is not shown,
            and what they take from it is an input.
    """
    return _Weaver(log, roots, plan, part).weave()


class _Weaver:
    """Looks up where each value came from, then ties the links."""

    def __init__(self, log: EventLog, roots: list[Call], plan: Outline, part: bool) -> None:
        self.log = log
        self.roots = roots
        self.plan = plan
        self.calls = inside(roots)
        self.by_id = {call.id: call for call in self.calls}
        self.sources = Sources(log, roots, self.calls, plan, part)
        self.item_of = {item.key: item for item in plan.boxes()}
        self.links: list[Link] = []
        self.untied: dict[str, list[tuple[Observation, list[str]]]] = defaultdict(list)
        self.terminals: dict[str, Terminal] = {}
        self.made_by: dict[tuple[NodeId, int], list[Value]] = defaultdict(list)
        for value, source in log.producers.items():
            self.made_by[source].append(value)
        self.sights = {seen.value: seen for call in self.calls for seen in call.seen_outputs}
        shown: set[CallId | None] = {*self.by_id} if part else {None, *self.by_id}
        self.places = Places(log, plan, shown, self.sources.box)
        self.sources.node_place = self.places.of
        self.operations = self.places.operations
        self.item_of.update(self.places.item_of)

    # -------------------------------------------------------------- tying

    def weave(self) -> Flow:
        for call in self.calls:
            box = self.sources.box(call.id)
            if box is not None and self._outermost_in_box(call):
                self._take_inputs(call, box)
        self._take_nodes()
        self._take_changes()
        self._give_outputs()
        self._guess_order()
        overwritten = self._mark_writes()
        tidy = Tidier(self.links, self.operations).tidy()
        return Flow(tidy.links, tidy.operations, self.terminals, overwritten, self.item_of)

    def _outermost_in_box(self, call: Call) -> bool:
        return call.parent is None or self.sources.box(call.parent.id) is None

    def _take_inputs(self, call: Call, box: str) -> None:
        for seen in call.seen_inputs:
            if seen.value is None:
                continue
            tail, edits, value = self.sources.source(seen.value, call.called.seq)
            if tail is None and not self._has_node(call):
                tail, other = self.sources.memory(seen, call.called.seq)
                value = other or value
            if tail is not None and tail != box and not self._across(tail, call.id):
                edits = edits + self._edits_on_entry(call, seen.value)
                self.links.append(Link(tail, box, [seen], value, edits))
                self._terminal(tail)
            elif tail is None:
                self.untied[box].append((seen, self._edits_on_entry(call, seen.value)))

    def _has_node(self, call: Call) -> bool:
        return any(seen.value in self.log.producers for seen in call.seen_outputs if seen.value)

    def _edits_on_entry(self, call: Call, value: Value) -> list[str]:
        """Return what the pre-hooks of a call did to one of its arguments."""
        texts: list[str] = []
        for event in call.hooks:
            for edit in event.edits:
                if edit.role.startswith(("args", "kwargs")) and edit.before.value == value:
                    texts += filter(None, [self.sources.edit_text(event, edit)])
                    value = edit.after.value or value
        return texts

    def _across(self, tail: str, call: CallId | None) -> bool:
        """Whether a link from `tail` to this call, folded away, stays inside its row."""
        rows = self.plan.hidden.get(call) if call is not None else None
        if not rows:
            return False
        return any(item.row in rows for item in around(self.item_of.get(tail)))

    def _terminal(self, key: str) -> None:
        if key.startswith("input-"):
            self.terminals.setdefault(key, Terminal(key, "input"))

    def _take_nodes(self) -> None:
        """Tie what only the autograd graph knows: code between modules."""
        explained = self._explained()
        for node in self.log.nodes:
            place = self.sources.node_place.get(node.id)
            if place is None:
                continue
            for source in node.next:
                if (place, source) not in explained:
                    self._take_edge(place, node, source)

    def _explained(self) -> set[tuple[str, tuple[NodeId, int]]]:
        """The edges of the autograd graph that a recorded argument stands for already."""
        found = set()
        for call in self.calls:
            box = self.sources.box(call.id)
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
        tail, edits, value = self.sources.node_place.get(source[0]), [], None
        latest = self._end(node)
        for one in values:
            found, changes, before = self.sources.source(one, latest)
            if found is not None:
                tail, edits, value = found, changes, before
        if tail is not None and tail != place and not self._across(tail, node.call):
            seen = self.sights.get(value) if value is not None else None
            self.links.append(Link(tail, place, [seen] if seen else [], value, edits))
            self._terminal(tail)

    def _take_changes(self) -> None:
        """Put what pre-hooks did to an argument onto the arrow from the code that made it.

        Which arrow that is is certain where there is one argument and one arrow.
        """
        for box, arguments in self.untied.items():
            from_code = {
                link.tail: link
                for link in self.links
                if link.head == box and link.tail in self.operations and not link.seen
            }
            if len(from_code) == len(arguments) == 1:
                (link,), ((seen, edits),) = from_code.values(), arguments
                if edits and not isinstance(seen.summary, str) and seen.summary.requires_grad:
                    link.seen, link.edits = [seen], edits

    def _end(self, node: TracedNode) -> int:
        """Return when the call ended that made a node: what it took was there before that."""
        call = self.by_id.get(node.call) if node.call is not None else None
        if call is None or call.exited is None:
            return len(self.log.events)
        while call.parent is not None and self.sources.box(call.parent.id) is not None:
            call = call.parent
        return call.exited.seq if call.exited is not None else len(self.log.events)

    def _only_output(self, node: TracedNode) -> list[Value]:
        """Guess the value that a node made from the box it is in, if that returned just one.

        A value that was overwritten before its node was looked up is not among the producers.
        """
        call = self.by_id.get(node.call) if node.call is not None else None
        if call is None or self.sources.box(call.id) is None:
            return []
        while call.parent is not None and self.sources.box(call.parent.id) is not None:
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
        for value, key in self.sources.external.items():
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
                tail, edits, value = self.sources.source(seen.value, call.exited.seq + 1)
                if tail is None:
                    tail, other = self.sources.memory(seen, call.exited.seq + 1)
                    value = other or value
                if tail is not None:
                    self.links.append(Link(tail, key, [seen], value, edits))
                    self.terminals.setdefault(key, Terminal(key, "output"))
                    self._terminal(tail)

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
                tail, _, _ = self.sources.source(event.before, event.seq)
                text = f"overwritten in place in {self.by_id[event.call]}"
                if tail is not None and text not in notes[tail]:
                    notes[tail].append(text)
        return notes

    def _mark_write(self, event: TensorWritten) -> bool:
        assert event.call is not None
        shown = self.places.like(event.call)
        words = "overwritten in place" if event.certain else "possibly overwritten (shared memory)"
        inner = self.by_id[event.call]
        if self.sources.box(event.call) != f"call-{event.call}" and inner.children == []:
            words += f" by {inner.name}"
        made = self.log.producers.get(event.after)
        exact = self.sources.node_place.get(made[0]) if made is not None else None
        found = False
        for link in self.links:
            operation = self.operations.get(link.head)
            here = link.head == self.sources.box(event.call) or (
                operation is not None and operation.call == shown and exact in (None, link.head)
            )
            if here and link.value == event.before:
                link.written = words
                found = True
        return (
            found or self.sources.box(event.call) == self.sources.source(event.before, event.seq)[0]
        )


def _takes_numbers(call: Call) -> bool:
    summaries = (seen.summary for seen in call.seen_inputs)
    return any(not isinstance(one, str) and "float" in one.dtype for one in summaries)
