"""The picture of module calls: what flows between them, and what hooks did to it."""

from __future__ import annotations

from hooktrace.events import BackwardStarted
from hooktrace.log import EventLog
from hooktrace.render.asked import Asked, view
from hooktrace.render.badges import badge_row, count_row, framed
from hooktrace.render.columns import wrap_columns
from hooktrace.render.dot import Arrow, Box, Frame, Scene, row, table
from hooktrace.render.flowing import arrow
from hooktrace.render.legend import Extent, Seen, title
from hooktrace.render.pieces import caption, heading_row, pill
from hooktrace.render.wording import clip, configuration, path, short_numbers, within, wrap
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.dataflow import flow
from hooktrace.views.hookuse import HookUse
from hooktrace.views.links import Flow, Operation, Terminal
from hooktrace.views.outline import Item, Outline, around, inside, outlines
from hooktrace.views.rounds import step_of

__all__ = ["ModulePainter", "module_scene", "remarked_scene"]

_MOST_BADGES = 4


@view("modules", "depth", "expand", "step", "budget")
def module_scene(log: EventLog, calls: CallIndex, asked: Asked) -> Scene:
    """Compose the picture of the outermost calls of one step."""
    return remarked_scene(log, calls, asked, HookUse(log, calls))


def remarked_scene(log: EventLog, calls: CallIndex, asked: Asked, uses: HookUse) -> Scene:
    """Compose the same with the remarks that `uses` holds."""
    roots, step = step_of(log, calls, asked.step or 0)
    plan, links, less = within_budget(log, roots, uses, asked)
    painter = ModulePainter(log, roots, uses, plan, links)
    return painter.scene(Extent(roots, plan, step, asked.most if less else 0))


def within_budget(
    log: EventLog, roots: list[Call], uses: HookUse, asked: Asked
) -> tuple[Outline, Flow, bool]:
    """Return what to show, what flows in it, and whether it is less than was asked for."""
    plans = outlines(roots, uses, asked.depth, asked.expand)
    for number, plan in enumerate(plans):
        if len(plan.boxes()) <= asked.most:
            found = flow(log, roots, plan)
            if len(found.links) <= asked.most:
                return plan, found, number > 0
    return plan, flow(log, roots, plan), True


class ModulePainter:
    """Turns items, operations and links into boxes, frames and arrows."""

    def __init__(
        self, log: EventLog, roots: list[Call], uses: HookUse, plan: Outline, links: Flow
    ) -> None:
        self.log = log
        self.roots = roots
        self.uses = uses
        self.plan = plan
        self.flow = links
        self.backward = bool(log.of(BackwardStarted))
        self.seen = Seen()
        self.folded = {
            item.key for box in plan.boxes() for item in around(box)[::-1] if item.repeats
        }

    def scene(self, extent: Extent) -> Scene:
        """Return the picture, wrapped if it is long."""
        members: list[Box | Frame] = []
        for item in self.plan.items:
            shown = self._member(item, 0)
            if isinstance(shown, Frame) and self._needless(item):
                members += shown.members
            else:
                members.append(shown)
        members += [self._operation(one) for one in self._operations(None)]
        members, arrows, names = self._between_ends(members), self._arrows(), self._names()
        heading = title(self.log, extent, self.uses, self.seen)
        return wrap_columns(Scene(heading, members, arrows), _sign, names)

    def level(self) -> Scene:
        """Return the picture of a single level: the only item opened, or all of them closed."""
        item = self.plan.items[0] if self.plan.items[0].children else None
        inner = self.plan.items if item is None else item.children
        members: list[Box | Frame] = [self._box(one) for one in inner]
        members += [self._operation(one) for one in self._operations(item.call if item else None)]
        if item is not None and item.call.parent is None:
            members += [self._operation(one) for one in self._operations(None)]
        heading = '""' if item is None else self._frame_label(item, "LEFT")
        return Scene(heading, self._between_ends(members), self._arrows())

    def _between_ends(self, members: list[Box | Frame]) -> list[Box | Frame]:
        """Put the inputs before the members, and the outputs after them."""
        ends: dict[str, list[Box]] = {"input": [], "output": []}
        for one in self.flow.terminals.values():
            ends[one.text].append(self._terminal(one))
        return [*ends["input"], *members, *ends["output"]]

    def _arrows(self) -> list[Arrow]:
        return [
            arrow(link, not (self._folded(link.tail) or self._folded(link.head)), self.seen)
            for link in self.flow.links
        ]

    def _folded(self, key: str) -> bool:
        """Whether what is shown stands for several, so that numbers of one would mislead."""
        return any(one.key in self.folded for one in around(self.flow.item_of.get(key)))

    def _needless(self, item: Item) -> bool:
        """Whether the frame of the whole says nothing that the title does not say."""
        call = item.call
        plain = not (self.uses.at(call) or self._failure(call) or call.recomputations)
        return len(self.plan.items) == 1 and plain

    def _names(self) -> dict[str, str]:
        names = {item.key: path(item.call.name) for item in self.plan.boxes()}
        for key, operation in self.flow.operations.items():
            names[key] = clip(", ".join(operation.names), 30)
        for key, terminal in self.flow.terminals.items():
            names[key] = terminal.text
        return names

    # -------------------------------------------------------------- boxes and frames

    def _member(self, item: Item, level: int) -> Box | Frame:
        if not item.children:
            return self._box(item)
        frame = Frame(
            item.key,
            self._frame_label(item),
            f"call container depth{level}",
            str(item.call),
            fill=f"cluster{level % 2}",
            continued=caption([heading_row(_shown_name(item), "(continued)")]),
        )
        frame.members = [self._member(child, level + 1) for child in item.children]
        frame.members += [self._operation(one) for one in self._operations(item.call)]
        return frame

    def _operations(self, call: Call | None) -> list[Operation]:
        number = None if call is None else call.id
        return [one for one in self.flow.operations.values() if one.call == number]

    def _frame_label(self, item: Item, side: str = "RIGHT") -> str:
        call = item.call
        kind = clip(call.module.type, 40)
        rows = [heading_row(_shown_name(item), "" if call.name == kind else kind, side)]
        rows += self._repeats(item)
        rows += self._badges(item)
        rows += self._recomputed(call)
        rows += self._failure(call)
        return caption(rows)

    def _box(self, item: Item) -> Box:
        call = item.call
        hidden = len(inside([call])) - 1
        rows = [row(_shown_name(item), size=11, bold=True)]
        config = configuration(call.module.type, call.module.config)
        if call.name != call.module.type:
            rows.append(row(clip(call.module.type, 34), ink="soft"))
        rows += [row(line, size=9, ink="soft") for line in wrap(config, 34)]
        if hidden:
            count = f"{hidden} call{'s' * (hidden > 1)} inside"
            rows.append(row(count, size=9, ink="soft"))
        rows += self._repeats(item)
        rows += self._badges(item) + self._hidden_badges(item)
        rows += self._notes(item)
        failed = bool(call.exception) or call.exited is None
        label = table(
            rows,
            fill="raised_fill" if failed else "box" if hidden else "leaf",
            border="raised" if failed else "line",
            width=2 if failed else 1,
        )
        kinds = f"call {'box' if hidden else 'leaf'}{' failed' if failed else ''}"
        return Box(item.key, label, kinds, f"{call} {call.module.type}({call.module.config})")

    def _repeats(self, item: Item) -> list[str]:
        """Say for how many calls a folded row stands."""
        count = len(item.repeats)
        if not count:
            return []
        if item.same_module:
            self.seen.add("times")
            return [row(f"x{count + 1}: called {count + 1} times in a row", bold=True)]
        self.seen.add("more")
        first, last = path(item.repeats[0].name, 20), path(item.repeats[-1].name, 20)
        names = first if count == 1 else f"{first} to {last}"
        return [row(f"+{count} more like it", bold=True), row(names, size=9)]

    # -------------------------------------------------------------- hooks and notes

    def _badges(self, item: Item) -> list[str]:
        stories = self.uses.at(item.call)
        rows = [badge_row(story, self.seen) for story in stories[:_MOST_BADGES]]
        if len(stories) > _MOST_BADGES:
            rows.append(row(f"and {len(stories) - _MOST_BADGES} more hooks", size=9, ink="soft"))
        remarks = self.uses.remarks.get(item.call.id, [])
        if remarks:
            self.seen.add("differs")
        return rows + [framed(clip(one, 60), "differs") for one in remarks]

    def _hidden_badges(self, item: Item) -> list[str]:
        """Count the hooks on the modules that the box hides."""
        hidden = inside([item.call])[1:]
        stories = [story for call in hidden for story in self.uses.at(call)]
        rows = [count_row(stories, self.seen)] if stories else []
        differing = sum(bool(self.uses.remarks.get(call.id)) for call in hidden)
        if differing:
            self.seen.add("differs")
            rows.append(framed(f"{differing} inside differ{'s' * (differing == 1)}", "differs"))
        return rows

    def _notes(self, item: Item) -> list[str]:
        call = item.call
        rows = [
            row(f"output {note}", size=9, ink="written", bold=True)
            for note in self.flow.overwritten.get(item.key, [])[:2]
        ]
        if rows:
            self.seen.add("written")
        return rows + self._recomputed(call) + self._gradient(item) + self._failure(call)

    def _recomputed(self, call: Call) -> list[str]:
        """Say that checkpointing ran the call again."""
        count = len(call.recomputations)
        if not count:
            return []
        self.seen.add("recomputed")
        times = f" {count} times" if count > 1 else ""
        return [framed(f"recomputed in backward{times}", "recomputed")]

    def _gradient(self, item: Item) -> list[str]:
        """Say what arrived on the way back, where that is worth a line."""
        call = item.call
        if not self.backward or call.exited is None or call.exception or self._folded(item.key):
            return []
        wanted = any(
            not isinstance(seen.summary, str) and seen.summary.requires_grad
            for seen in call.seen_outputs
        )
        gradients = [g.gradient for one in (call, *call.recomputations) for g in one.gradients]
        arrived = [one for one in gradients if one.role == "grad_output[0]"]
        if not arrived:
            return [row("no gradient arrived", size=9, ink="raised")] if wanted else []
        last = arrived[-1]
        if last.numbers is None or len(last.numbers) > 4:
            return []
        return [row(f"grad_output {short_numbers(last.numbers)}", size=9, ink="seen")]

    def _failure(self, call: Call) -> list[str]:
        """Say that a call raised, at the innermost one; or that it is still open."""
        if any(child.exception == call.exception is not None for child in call.children):
            return []
        if call.exception:
            self.seen.add("failed")
            return [
                row(line, size=9, ink="raised", bold=True)
                for line in wrap(f"raised {call.exception}", 44, 3)
            ]
        if call.exited is None:
            self.seen.add("failed")
            return [row("did not return while the trace was open", size=9, ink="raised")]
        return []

    # -------------------------------------------------------------- the rest

    def _operation(self, operation: Operation) -> Box:
        rows = [row(line, ink="ink") for line in wrap(", ".join(operation.names), 30)]
        rows += [
            row(f"reads {path(name, 30)}", size=9, ink="soft") for name in operation.parameters[:2]
        ]
        rows += [
            row(f"output {note}", size=9, ink="written", bold=True)
            for note in self.flow.overwritten.get(operation.key, [])[:1]
        ]
        label = table(rows, fill="operation", border="frame", dashed=True)
        self.seen.add("operation")
        what = ", ".join(operation.names)
        return Box(operation.key, label, "operation", f"code between modules: {what}")

    def _terminal(self, terminal: Terminal) -> Box:
        words = terminal.text if terminal.count == 1 else f"{terminal.count} {terminal.text}s"
        return pill(terminal.key, words, f"terminal {terminal.text}", words)


def _shown_name(item: Item) -> str:
    return within(item.call.name, item.parent.call.module.name if item.parent else "")


def _sign(name: str, words: str, tooltip: str) -> Box:
    return pill(name, words, "sign", tooltip, border="line")
