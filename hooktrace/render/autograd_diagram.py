"""The picture of the way back: autograd nodes at the calls that made them, and what flowed.

The width of an arrow is the norm of the gradient that passed, where statistics were taken or the
tensors are small; NaN and zero are said in words.
"""

from __future__ import annotations

import math
from collections import Counter

from hooktrace.errors import RenderError
from hooktrace.kinds import KINDS
from hooktrace.log import EventLog
from hooktrace.render.asked import Asked, view
from hooktrace.render.badges import badge_row
from hooktrace.render.columns import wrap_columns
from hooktrace.render.dot import Arrow, Box, Frame, Scene, row, table
from hooktrace.render.legend import Extent, heading
from hooktrace.render.pieces import caption, heading_row, label, line, pill, stroke
from hooktrace.render.wording import clip, path, shape, within, wrap
from hooktrace.views.backflow import Backflow, norm_of, oddity_of
from hooktrace.views.calls import CallIndex
from hooktrace.views.hookuse import HookUse
from hooktrace.views.links import Link, Operation
from hooktrace.views.outline import Item, Outline, outlines
from hooktrace.views.rounds import step_of

__all__ = ["autograd_scene"]

_MOST_NAMES = 3
_MOST_BADGES = 4


@view("autograd", "depth", "expand", "step", "budget")
def autograd_scene(log: EventLog, calls: CallIndex, asked: Asked) -> Scene:
    """Compose the picture of the backward graph of one step."""
    if not len(log.nodes):
        raise RenderError("No autograd graph was recorded: nothing required a gradient.")
    roots, step = step_of(log, calls, asked.step or 0) if calls.roots() else ([], "")
    uses = HookUse(log, calls)
    less = 0
    for plan in outlines(roots, uses, asked.depth, asked.expand):
        found = Backflow(log, roots, plan)
        if max(len(found.nodes) + len(found.operations), len(found.links)) <= asked.most:
            break
        less = asked.most
    return _Painter(log, uses, plan, found).scene(Extent(roots, plan, step, less))


class _Painter:
    def __init__(self, log: EventLog, uses: HookUse, plan: Outline, found: Backflow) -> None:
        self.log = log
        self.uses = uses
        self.plan = plan
        self.found = found
        self.seen: set[str] = set()
        norms = [self._norm(one) for one in found.links]
        self.norms = [math.log10(one) for one in norms if one and math.isfinite(one)]

    def scene(self, extent: Extent) -> Scene:
        members: list[Box | Frame] = []
        for item in self.plan.items:
            shown = self._member(item, 0)
            if isinstance(shown, Frame) and len(self.plan.items) == 1:
                members += shown.members
            elif shown is not None:
                members.append(shown)
        members += [self._operation(one) for one in self._operations(None)]
        members += [self._end(key, words) for key, words in self.found.ends.items()]
        arrows = [self._arrow(one) for one in self.found.links]
        names = {item.key: path(item.call.name) for item in self.plan.boxes()}
        names |= {key: clip(", ".join(one.names), 30) for key, one in self.found.operations.items()}
        names |= self.found.ends
        words = f"Backward through {extent}" if extent.roots else "Backward"
        notes = [("soft", "arrows: where gradients go; autograd nodes at the calls that made them")]
        if self.norms:
            notes.append(("soft", "width of an arrow: norm of the gradient"))
        else:
            notes.append(("soft", "with trace(stats=True) the arrows also tell the norms"))
        return wrap_columns(Scene(heading(words, notes, self.seen), members, arrows), _sign, names)

    # -------------------------------------------------------------- boxes and frames

    def _end(self, key: str, words: str) -> Box:
        """Return the sign of a backward run, or of an input with what its ``.grad`` holds."""
        event = self.found.filled.get(words.removesuffix(".grad"))
        odd = ""
        if event is not None:
            odd = oddity_of(self.log, event.after)
            norm = norm_of(self.log, event.after)
            told = odd or (f"norm {norm:.3g}" if norm is not None else "")
            words += f": {told}" if told else ""
        border = "raised" if odd else "ink"
        return pill(key, words, f"terminal {key.partition('-')[0]}", words, border)

    def _member(self, item: Item, level: int) -> Box | Frame | None:
        """Return the box or frame of a call; None if no autograd node was made in it."""
        name = within(item.call.name, item.parent.call.module.name if item.parent else "")
        kind = clip(item.call.module.type, 40)
        if not item.children:
            return self._box(item, name, kind) if self.found.nodes.get(item.key) else None
        inner = [self._member(child, level + 1) for child in item.children]
        members = [one for one in inner if one is not None]
        members += [self._operation(one) for one in self._operations(item)]
        rows = [heading_row(name, "" if item.call.name == kind else kind)]
        rows += self._repeats(item)
        if not members:
            return None
        return Frame(
            item.key,
            caption(rows),
            f"call container depth{level}",
            str(item.call),
            fill=f"cluster{level % 2}",
            continued=caption([heading_row(name, "(continued)")]),
            members=members,
        )

    def _operations(self, item: Item | None) -> list[Operation]:
        call = None if item is None else item.call.id
        return [one for one in self.found.operations.values() if one.call == call]

    def _box(self, item: Item, name: str, kind: str) -> Box:
        rows = [row(name, size=11, bold=True)]
        rows += [row(kind, ink="soft")] if item.call.name != kind else []
        rows += [row(words, size=9) for words in self._nodes(item.key)]
        rows += self._repeats(item) + self._fills(self.found.fills.get(item.key, []))
        stories = [one for one in self.uses.at(item.call) if KINDS[one.hook.kind].gradient]
        rows += [badge_row(one, self.seen) for one in stories[:_MOST_BADGES]]
        text = table(rows, fill="box" if item.call.children else "leaf", border="line")
        return Box(item.key, text, "call backward", f"made in {item.call}")

    def _operation(self, operation: Operation) -> Box:
        self.seen.add("operation")
        rows = [row(words) for words in wrap(", ".join(operation.names), 30, 3)]
        rows += self._fills(operation.parameters)
        text = table(rows, fill="operation", border="frame", dashed=True)
        return Box(operation.key, text, "operation backward", "code between modules")

    def _nodes(self, key: str) -> list[str]:
        """Name the kinds of autograd nodes of a part, those made last first."""
        counts = Counter(reversed(self.found.nodes[key]))
        words = [f"{count}x {one}" if count > 1 else one for one, count in counts.items()]
        left = len(words) - _MOST_NAMES
        return [
            *(clip(one, 34) for one in words[:_MOST_NAMES]),
            *([f"and {left} more kind{'s' * (left > 1)} of nodes"] if left > 0 else []),
        ]

    def _repeats(self, item: Item) -> list[str]:
        count = len(item.repeats)
        if not count:
            return []
        self.seen.add("times" if item.same_module else "more")
        words = f"x{count + 1}" if item.same_module else f"+{count} more like it"
        return [row(words, bold=True)]

    def _fills(self, leaves: list[str]) -> list[str]:
        """Say which parameters get their gradient here, and how large it is."""
        told = [self._fill(leaf) for leaf in leaves]
        if len(told) > 3:
            odd = [one for one in told if one[1] == "raised"][:3]
            told = [*odd, (f"fills .grad of {len(told)} parameters", "seen")]
        return [row(words, size=9, ink=ink) for words, ink in told]

    def _fill(self, leaf: str) -> tuple[str, str]:
        name = path(leaf, 26)
        event = self.found.filled.get(leaf)
        if event is None:
            return f"{name}.grad was not filled", "soft"
        odd = oddity_of(self.log, event.after)
        norm = norm_of(self.log, event.after)
        if odd:
            return f"fills {name}.grad: {odd}", "raised"
        return f"fills {name}.grad" + (f", norm {norm:.3g}" if norm is not None else ""), "seen"

    # -------------------------------------------------------------- arrows

    def _norm(self, link: Link) -> float | None:
        norms = [norm_of(self.log, one) for one in link.seen]
        return max((one for one in norms if one is not None), default=None)

    def _arrow(self, link: Link) -> Arrow:
        norm = self._norm(link)
        odd = next(filter(None, (oddity_of(self.log, one) for one in link.seen)), "")
        lines = [line(shape(one, False), "soft") for one in link.seen[:1]]
        options: dict[str, str] = {}
        if odd:
            self.seen.add("odd")
            lines.insert(0, line(odd, "raised", bold=True))
            options = stroke("raised", 1.6) | {"style": "dashed"}
        elif norm is not None:
            lines.append(line(f"norm {norm:.3g}", "seen"))
            options = {"penwidth": f"{self._width(norm):.2g}"}
        classes = "edge gradient odd" if odd else "edge gradient"
        if link.edits:
            self.seen.add("changed")
            classes += " changed"
            lines = [line(clip(one, 48), "changed", bold=True) for one in link.edits[:3]] + lines
            options = options | stroke("changed", 3)
        return Arrow(link.tail, link.head, label(lines), classes, odd, options)

    def _width(self, norm: float) -> float:
        """Return a width from 0.7 to 4 points, by the logarithm of the norm."""
        low, high = min(self.norms, default=0), max(self.norms, default=0)
        if not norm or not math.isfinite(norm) or high - low < 1e-6:
            return 1.5
        return 0.7 + 3.3 * (math.log10(norm) - low) / (high - low)


def _sign(name: str, words: str, tooltip: str) -> Box:
    return pill(name, words, "sign", tooltip, border="line")
