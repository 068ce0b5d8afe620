"""The picture of plain tensor code: values, operations, and each gradient with what hooks did.

A value's box tells the story of its gradient from top to bottom: what arrived, what each hook
made of it, and what ``.grad`` held in the end.
"""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.events import (
    BackwardStarted,
    Event,
    GradientAccumulated,
    GradientComputed,
    GradientRetained,
    HookFired,
    NodeId,
    Observation,
    TensorId,
    TensorWritten,
    TracedTensor,
    Value,
)
from hooktrace.log import EventLog
from hooktrace.render.asked import Asked, view
from hooktrace.render.badges import badge_row, framed
from hooktrace.render.columns import wrap_columns
from hooktrace.render.dot import Arrow, Box, Frame, Scene, row, table
from hooktrace.render.legend import heading
from hooktrace.render.pieces import label, line, pill, stroke
from hooktrace.render.wording import clip, hook_name, path, shape
from hooktrace.views.calls import CallIndex
from hooktrace.views.effects import EditView
from hooktrace.views.hookuse import HookStory, HookUse
from hooktrace.views.links import operation_name

__all__ = ["tensor_scene"]


@view("tensors")
def tensor_scene(log: EventLog, calls: CallIndex, asked: Asked) -> Scene:
    """Compose the picture of the named tensors and the operations between them."""
    return _Painter(log, HookUse(log, calls)).scene()


class _Painter:
    def __init__(self, log: EventLog, uses: HookUse) -> None:
        self.log = log
        self.uses = uses
        self.seen: set[str] = set()
        self.several = len(log.of(BackwardStarted)) > 1
        self.made_by = {source: value for value, source in log.producers.items()}
        self.values = self._values()
        self.latest = {value.tensor: value for value in self.values}

    def _values(self) -> list[Value]:
        """Return the values that take part: named ones, and every leaf of the autograd graph."""
        log = self.log
        leaves = {node.leaf for node in log.nodes if node.leaf is not None}
        found = [value for value in log.contents if self._shown(value, leaves)]
        found += [
            value
            for value in log.producers
            if value not in log.contents and log.tensors[value.tensor].name
        ]
        known = {value.tensor for value in found}
        return found + [Value(leaf, 0) for leaf in sorted(leaves) if leaf not in known]

    def _shown(self, value: Value, leaves: set[TensorId]) -> bool:
        """Whether a value takes part: it was computed with, or something happened to it."""
        row = self.log.tensors[value.tensor]
        return value in self.log.producers or row.leaf or value.tensor in leaves

    def scene(self) -> Scene:
        members: list[Box | Frame] = [self._value(value) for value in self.values]
        there = {f"node-{number}" for number in self._operations()}
        there |= {box.name for box in members}
        arrows = [one for one in self._arrows() if one.tail in there and one.head in there]
        used = {arrow.head for arrow in arrows} | {arrow.tail for arrow in arrows}
        members += [
            self._operation(number) for number in self._operations() if f"node-{number}" in used
        ]
        notes = [
            ("never", f"{clip(story.hook.owner, 40)}: {hook_name(story.hook)} never fired")
            for story in self.uses.elsewhere()
            if story.hook.tensor not in self.latest and not story.order
        ]
        names = {f"value-{v.tensor}-{v.version}": self._name(v) for v in self.values}
        words = f"{len(self.values)} tensors: their values, and below the line their gradients"
        title = heading(words, notes, self.seen)
        return wrap_columns(Scene(title, members, arrows), _sign, names)

    def _operations(self) -> list[NodeId]:
        return [
            node.id
            for node in self.log.nodes
            if node.leaf is None and not node.name.endswith("AccumulateGrad")
        ]

    # -------------------------------------------------------------- arrows

    def _arrows(self) -> Iterator[Arrow]:
        for number in self._operations():
            for source in self.log.nodes[number].next:
                yield self._into(number, source)
        for value in self.values:
            made = self.log.producers.get(value)
            if made is not None:
                yield Arrow(f"node-{made[0]}", _key(value))
        for event in self.log.of(TensorWritten):
            if event.before in self.values and event.after in self.values:
                self.seen.add("written")
                yield Arrow(
                    _key(event.before),
                    _key(event.after),
                    label([line("overwritten in place", "written")]),
                    "edge written",
                    "overwritten in place",
                    stroke("written", 1.6) | {"arrowhead": "normalnormal"},
                )

    def _into(self, number: NodeId, source: tuple[NodeId, int]) -> Arrow:
        node = self.log.nodes[source[0]]
        value = self.made_by.get(source)
        if node.leaf is not None:
            value = next((one for one in self.values if one.tensor == node.leaf), None)
        if value is None or value not in self.values:
            return Arrow(f"node-{source[0]}", f"node-{number}")
        seen = self.log.contents.get(value)
        words = [shape(seen)] if seen is not None and seen.numbers is None else []
        return Arrow(_key(value), f"node-{number}", label([line(one, "soft") for one in words]))

    # -------------------------------------------------------------- boxes

    def _name(self, value: Value) -> str:
        row = self.log.tensors[value.tensor]
        versions = sum(one.tensor == value.tensor for one in self.values)
        name = path(row.name, 34) or f"t{row.id}"
        return f"{name} (version {value.version})" if versions > 1 else name

    def _value(self, value: Value) -> Box:
        tensor = self.log.tensors[value.tensor]
        seen = self.log.contents.get(value)
        rows = [row(self._name(value), size=11, bold=True)]
        if seen is not None:
            rows.append(row(f"value {_short(seen)}" if seen.numbers else shape(seen)))
        kind = "leaf" if tensor.leaf else "made by an operation"
        rows.append(row("parameter" if tensor.parameter else kind, size=9, ink="soft"))
        if self.latest[value.tensor] == value:
            story = list(self._story(tensor))
            rows += ["<HR/>", *story] if story else []
        text = table(rows, fill="leaf", border="line")
        return Box(_key(value), text, "value", self._name(value))

    def _operation(self, number: NodeId) -> Box:
        node = self.log.nodes[number]
        rows = [row(clip(operation_name(node), 30))]
        if not any(source[0] == number for source in self.made_by):
            rows += [
                row(f"gradient {_short(event.gradient)}", size=9, ink="seen")
                for event in self.log.of(GradientComputed)
                if event.node == number
            ][:2]
        label = table(rows, fill="operation", border="frame", dashed=True)
        return Box(f"node-{number}", label, "operation", node.name)

    # -------------------------------------------------------------- the story of a gradient

    def _story(self, tensor: TracedTensor) -> Iterator[str]:
        kept = False
        for event in self.log.events:
            kept |= isinstance(event, GradientRetained) and event.tensor == tensor.id
            yield from self._chapter(event, tensor)
        computed = any(one.tensor == tensor.id for one in self.log.of(GradientComputed))
        if computed and not tensor.leaf and not kept:
            yield row(".grad: None (not a leaf, no retain_grad())", size=9, ink="soft")
        for hook in self.log.hooks:
            if hook.tensor == tensor.id and hook.id not in self.uses.order:
                yield badge_row(HookStory(hook, 0, []), self.seen)

    def _chapter(self, event: Event, tensor: TracedTensor) -> Iterator[str]:
        if isinstance(event, BackwardStarted) and self.several:
            if self._takes_part(tensor.id, event.backward):
                yield row(f"backward {event.backward + 1}", size=9, ink="soft", bold=True)
        elif isinstance(event, GradientComputed) and event.tensor == tensor.id:
            yield row(f"gradient {_short(event.gradient)}", ink="seen")
        elif isinstance(event, HookFired) and self.log.hooks[event.hook].tensor == tensor.id:
            yield from self._firing(event)
        elif isinstance(event, GradientAccumulated) and event.tensor == tensor.id:
            was = f"{_short(event.before)} -> " if event.before is not None else "None -> "
            yield row(f".grad: {was}{_short(event.after)}", bold=True, ink="seen")
        elif isinstance(event, GradientRetained) and event.tensor == tensor.id:
            yield row(f".grad: {_short(event.gradient)} (retain_grad)", bold=True, ink="seen")

    def _takes_part(self, tensor: TensorId, backward: int) -> bool:
        kinds = (GradientComputed, GradientAccumulated, GradientRetained)
        return any(
            isinstance(one, kinds) and one.tensor == tensor and one.backward == backward
            for one in self.log.events
        )

    def _firing(self, event: HookFired) -> Iterator[str]:
        hook = self.log.hooks[event.hook]
        words = f"#{self.uses.order[event.hook]} {hook.kind} hook {hook_name(hook)}"
        if event.exception:
            self.seen.add("raised")
            yield framed(f"{words} raised {clip(event.exception, 40)}", "raised")
        elif not event.edits:
            self.seen.add("observed")
            what = _short(event.inputs[0]) if event.inputs else ""
            yield framed(f"{words} observed {what}", "observed")
        for edit in event.edits:
            self.seen.add("changed")
            view = EditView(self.log, event, edit)
            how = {"in_place": "in place", "returned": "returned", "assigned": "assigned"}
            numbers = f"{_short(edit.before)} -> {_short(edit.after)}"
            change = f"{view.change.text} {how[edit.how]}"
            yield framed(f"{words} changed {numbers} ({clip(change, 40)})", "changed")


def _key(value: Value) -> str:
    return f"value-{value.tensor}-{value.version}"


def _short(seen: Observation) -> str:
    if seen.numbers is not None and len(seen.numbers) <= 6:
        return str(seen)
    return shape(seen)


def _sign(name: str, words: str, tooltip: str) -> Box:
    return pill(name, words, "sign", tooltip, border="line")
