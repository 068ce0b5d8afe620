"""The picture of module calls: what flows between them, and what hooks did to it."""

from __future__ import annotations

from collections.abc import Sequence

from hooktrace.events import BackwardStarted
from hooktrace.log import EventLog
from hooktrace.render.columns import wrap_columns
from hooktrace.render.dot import Arrow, Box, Frame, Scene, colour, row, table, text
from hooktrace.render.legend import Seen, title
from hooktrace.render.wording import badge, clip, configuration, path, shape, wrap
from hooktrace.views.calls import Call, CallIndex
from hooktrace.views.dataflow import Flow, Link, Operation, Terminal, flow
from hooktrace.views.hookuse import HookStory, HookUse
from hooktrace.views.outline import Item, Outline, inside, outline

__all__ = ["module_scene"]

_MOST_BADGES = 4
_INKS = {"changed": "changed", "observed": "seen", "never": "never", "raised": "raised"}
_FILLS = {"changed": "changed_fill", "observed": "seen_fill", "never": "", "raised": "raised_fill"}


def module_scene(
    log: EventLog, calls: CallIndex, roots: Sequence[Call], depth: int | None = None
) -> Scene:
    """Compose the picture of the outermost calls `roots`.

    Args:
        log: The trace.
        calls: Its calls.
        roots: The outermost calls to draw, normally those of one step.
        depth: Levels of nesting to open; None for as many as can be read on one screen.
    """
    uses = HookUse(log, calls)
    plan = outline(roots, uses, depth)
    return _Painter(log, list(roots), uses, plan).scene()


class _Painter:
    """Turns items, operations and links into boxes, frames and arrows."""

    def __init__(self, log: EventLog, roots: list[Call], uses: HookUse, plan: Outline) -> None:
        self.log = log
        self.roots = roots
        self.uses = uses
        self.plan = plan
        self.flow: Flow = flow(log, roots, plan)
        self.backward = bool(log.of(BackwardStarted))
        self.seen = Seen()

    def scene(self) -> Scene:
        ends: dict[str, list[Box]] = {"input": [], "output": []}
        for one in self.flow.terminals.values():
            ends[one.text].append(self._terminal(one))
        members: list[Box | Frame] = [*ends["input"]]
        for item in self.plan.items:
            shown = self._member(item, 0)
            needless = isinstance(shown, Frame) and self._needless(item)
            members += shown.members if needless else [shown]
        members += [self._operation(one) for one in self._operations(None)]
        members += ends["output"]
        arrows = [self._arrow(link) for link in self.flow.links]
        names = self._names()
        heading = title(self.log, self.roots, self.plan, self.uses, self.seen)
        return wrap_columns(Scene(heading, members, arrows), _sign, names)

    def _needless(self, item: Item) -> bool:
        """Whether the frame of the whole says nothing that the title does not say."""
        plain = not self.uses.at(item.call) and not self._failure(item.call)
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
            continued=_caption([_heading(path(item.call.name, 34), "(continued)")]),
        )
        frame.members = [self._member(child, level + 1) for child in item.children]
        frame.members += [self._operation(one) for one in self._operations(item.call)]
        return frame

    def _operations(self, call: Call | None) -> list[Operation]:
        number = None if call is None else call.id
        return [one for one in self.flow.operations.values() if one.call == number]

    def _frame_label(self, item: Item) -> str:
        call = item.call
        words = clip(call.module.type, 40)
        rows = [_heading(path(call.name, 48), words if call.module.name else "")]
        rows += [row(self._repeats(item), ink="soft", bold=True)] if item.repeats else []
        rows += self._badges(item)
        rows += self._failure(call)
        return _caption(rows)

    def _box(self, item: Item) -> Box:
        call = item.call
        hidden = len(inside([call])) - 1
        rows = [row(path(call.name), size=11, bold=True)]
        config = configuration(call.module.type, call.module.config)
        if call.module.name:
            rows.append(row(clip(call.module.type, 34), ink="soft"))
        rows += [row(line, size=9, ink="soft") for line in wrap(config, 34)]
        if hidden:
            count = f"{hidden} call{'s' * (hidden > 1)} inside"
            rows.append(row(count, size=9, ink="soft"))
        rows += [row(self._repeats(item), bold=True)] if item.repeats else []
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

    def _repeats(self, item: Item) -> str:
        count = len(item.repeats)
        if item.same_module:
            self.seen.add("times")
            return f"x{count + 1}: called {count + 1} times in a row"
        self.seen.add("more")
        names = [item.repeats[0].name, item.repeats[-1].name]
        return f"+{count} more like it: {path(names[0], 24)} ... {path(names[1], 24)}"

    # -------------------------------------------------------------- hooks and notes

    def _badges(self, item: Item) -> list[str]:
        stories = self.uses.at(item.call)
        rows = [self._badge(story) for story in stories[:_MOST_BADGES]]
        if len(stories) > _MOST_BADGES:
            rows.append(row(f"and {len(stories) - _MOST_BADGES} more hooks", size=9, ink="soft"))
        return rows

    def _badge(self, story: HookStory) -> str:
        self.seen.add(story.state)
        return row(
            badge(story),
            size=9,
            ink=_INKS[story.state] if story.state == "never" else "ink",
            bold=story.state in ("changed", "raised"),
            fill=_FILLS[story.state],
            border=_INKS[story.state],
            dashed=story.state == "never",
        )

    def _hidden_badges(self, item: Item) -> list[str]:
        """Count the hooks on the modules that the box hides."""
        states = [story.state for call in inside([item.call])[1:] for story in self.uses.at(call)]
        if not states:
            return []
        words = {"changed": "changed values", "observed": "only looked", "raised": "raised"}
        parts = [
            f"{states.count(state)} {words.get(state, 'never fired')}"
            for state in ("raised", "changed", "observed", "never")
            if state in states
        ]
        worst = next(s for s in ("raised", "changed", "observed", "never") if s in states)
        self.seen.add(worst)
        line = f"{len(states)} hook{'s' * (len(states) > 1)} inside: {', '.join(parts)}"
        if len(parts) == 1:
            line = line.replace(f": {len(states)}", "")
        return [row(line, size=9, fill=_FILLS[worst], border=_INKS[worst])]

    def _notes(self, item: Item) -> list[str]:
        call = item.call
        rows = [
            row(f"output {note}", size=9, ink="written", bold=True)
            for note in self.flow.overwritten.get(item.key, [])[:2]
        ]
        if rows:
            self.seen.add("written")
        return rows + self._gradient(call) + self._failure(call)

    def _gradient(self, call: Call) -> list[str]:
        """Say what arrived on the way back, where that is worth a line."""
        if not self.backward or call.exited is None or call.exception:
            return []
        wanted = any(
            not isinstance(seen.summary, str) and seen.summary.requires_grad
            for seen in call.seen_outputs
        )
        arrived = [one.gradient for one in call.gradients if one.gradient.role == "grad_output[0]"]
        if not arrived:
            return [row("no gradient arrived", size=9, ink="raised")] if wanted else []
        last = arrived[-1]
        if last.numbers is None or len(last.numbers) > 4:
            return []
        return [row(f"grad_output {last}", size=9, ink="seen")]

    def _failure(self, call: Call) -> list[str]:
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
        return _pill(terminal.key, terminal.text, f"terminal {terminal.text}", terminal.text)

    def _arrow(self, link: Link) -> Arrow:
        shapes = list(dict.fromkeys(shape(one) for one in link.seen))
        lines = [_line(clip(one, 44), "soft") for one in shapes[:3]]
        if len(shapes) > 3:
            lines.append(_line(f"and {len(shapes) - 3} more", "soft"))
        options: dict[str, str] = {}
        classes = ["edge"]
        if link.written:
            self.seen.add("written")
            classes.append("written")
            lines.append(_line(link.written, "written"))
            options = _stroke("written", 1.6) | {"arrowhead": "normalnormal"}
        if link.edits:
            self.seen.add("changed")
            classes.append("changed")
            lines = [_line(clip(one, 48), "changed", bold=True) for one in link.edits[:3]] + lines
            options = options | _stroke("changed", 3)
        if not link.certain:
            self.seen.add("guess")
            classes.append("guess")
            options = {"style": "dashed"}
        label = "<" + "".join(f' {one}<BR ALIGN="LEFT"/>' for one in lines) + ">" if lines else ""
        words = "; ".join([*link.edits, *shapes])
        return Arrow(link.tail, link.head, label, " ".join(classes), words, options)


def _pill(name: str, words: str, classes: str, tooltip: str, border: str = "ink") -> Box:
    label = f'<<FONT POINT-SIZE="10" COLOR="{colour(border)}">{text(words)}</FONT>>'
    options = {
        "shape": "box", "style": '"rounded,filled"', "height": "0.28", "width": "0.7",
        "margin": '"0.08,0.03"', "fillcolor": f'"{colour("paper")}"',
        "color": f'"{colour(border)}"',
    }  # fmt: skip
    return Box(name, label, classes, tooltip, options)


def _sign(name: str, words: str, tooltip: str) -> Box:
    return _pill(name, words, "sign", tooltip, border="line")


def _caption(rows: list[str]) -> str:
    return (
        '<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="1" CELLPADDING="1">'
        + "".join(rows)
        + "</TABLE>>"
    )


def _stroke(name: str, width: float) -> dict[str, str]:
    return {"color": f'"{colour(name)}"', "penwidth": f"{width:g}"}


def _line(words: str, ink: str, bold: bool = False) -> str:
    inner = f"<B>{text(words)}</B>" if bold else text(words)
    return f'<FONT COLOR="{colour(ink)}">{inner or " "}</FONT>'


def _heading(name: str, kind: str) -> str:
    tail = f'  <FONT COLOR="{colour("soft")}">{text(kind)}</FONT>' if kind else ""
    return (
        f'<TR><TD ALIGN="LEFT"><FONT POINT-SIZE="11" COLOR="{colour("ink")}">'
        f"<B>{text(name) or ' '}</B>{tail}</FONT></TD></TR>"
    )
