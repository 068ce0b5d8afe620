"""Where a value came from: the box that returned it, the code that made it, or an input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from hooktrace.events import CallId, Edit, HookFired, NodeId, Observation, Value
from hooktrace.log import EventLog
from hooktrace.views.calls import Call
from hooktrace.views.effects import EditView
from hooktrace.views.outline import Outline

__all__ = ["Sources"]


class Sources:
    """Follows values back, through what hooks made of them.

    Attributes:
        external: The inputs of the outermost calls that nothing in the picture made; of a part
            of a run, whatever it takes from outside.
        node_place: The box or operation of every autograd node; whoever places them fills it.
    """

    def __init__(
        self, log: EventLog, roots: list[Call], calls: list[Call], plan: Outline, part: bool
    ) -> None:
        self.log = log
        self.part = part
        self.roots = roots
        self.calls = calls
        self.plan = plan
        self.boxes = {item.key for item in plan.boxes()}
        self.returned = self._returned()
        self.edited = self._edited()
        self.external = self._external()
        self.storages = self._storages()
        self.node_place: dict[NodeId, str] = {}

    def box(self, call: CallId | None) -> str | None:
        """Return the box that stands for a call; None if the call is shown opened."""
        item = self.plan.home.get(call) if call is not None else None
        return item.key if item is not None and item.key in self.boxes else None

    def _returned(self) -> dict[Value, list[tuple[int, str]]]:
        """For each value, the boxes that returned it, with the time at which they did."""
        found: dict[Value, list[tuple[int, str]]] = defaultdict(list)
        for call in self.calls:
            box = self.box(call.id)
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
            box = self.box(call.id)
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
                    found[after] = (before, self.edit_text(event, edit), event.call)
        return found

    def edit_text(self, event: HookFired, edit: Edit) -> str:
        """Say what a hook did to a value; empty if it only copied it."""
        view = EditView(self.log, event, edit)
        same = view.change.kind == "unchanged"
        return "" if same else f"{view.change.text} by hook {view.hook.name.rpartition('.')[2]}"

    def _external(self) -> dict[Value, str]:
        """The inputs of the outermost calls that nothing in the picture made."""
        found: dict[Value, str] = {}
        for call in self.roots:
            for seen in call.seen_inputs:
                if seen.value is not None and not self.returned.get(seen.value):
                    key = f"input-{len(set(found.values()))}"
                    found.setdefault(seen.value, key)
        return found

    def source(self, seen: Value, before: int) -> tuple[str | None, list[str], Value]:
        """Return what a value came from, what hooks did to it since, and as what it left."""
        edits: list[str] = []
        value, passed = seen, {seen}
        while True:
            box = _latest(self.returned.get(value, ()), before)
            if box is not None:
                return box, self._edits_by_box(value, box) + edits, value
            if value not in self.edited or self.edited[value][0] in passed:
                break
            value, text, _ = self.edited[value]
            passed.add(value)
            edits[:0] = [text] if text else []
        made = self.log.producers.get(value)
        place = self.node_place.get(made[0]) if made is not None else None
        return place or self.external.get(value) or self._entering(value), edits, value

    def _entering(self, value: Value) -> str | None:
        """Make an input of what a part of the run takes from outside, but not as an argument."""
        made = self.log.producers.get(value) if self.part else None
        if made is None or self.log.nodes[made[0]].leaf is not None:
            return None
        key = f"input-{len(set(self.external.values()))}"
        return self.external.setdefault(value, key)

    def _edits_by_box(self, value: Value, box: str) -> list[str]:
        """Return what the forward hooks of a box itself did to the value that it returned."""
        texts: list[str] = []
        passed: set[Value] = set()
        while value in self.edited and value not in passed:
            passed.add(value)
            value, text, call = self.edited[value]
            if self.box(call) != box:
                break
            texts[:0] = [text] if text else []
        return texts

    def memory(self, seen: Observation, before: int) -> tuple[str | None, Value | None]:
        """Find the latest box that returned a tensor in the same memory."""
        entries = self.storages.get(seen.storage, []) if seen.storage is not None else []
        earlier = [entry for entry in entries if entry[0] < before]
        return (earlier[-1][1], earlier[-1][2]) if earlier else (None, None)


def _latest(entries: Iterable[tuple[int, str]], before: int) -> str | None:
    earlier = [box for seq, box in entries if seq < before]
    return earlier[-1] if earlier else None
