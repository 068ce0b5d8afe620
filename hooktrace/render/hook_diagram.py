"""The picture of only what is hooked: each hook, what it was given and what it left, in order.

Hooks of one function that did the same on many modules or tensors are one box.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from hooktrace.errors import RenderError
from hooktrace.events import Edit, HookFired, Observation
from hooktrace.log import EventLog
from hooktrace.render.asked import Asked, view
from hooktrace.render.badges import badge_row
from hooktrace.render.columns import wrap_columns
from hooktrace.render.dot import Arrow, Box, Scene, row, table
from hooktrace.render.legend import heading
from hooktrace.render.pieces import label, line, pill
from hooktrace.render.wording import clip, hook_name, path, shape, wrap
from hooktrace.views.calls import CallIndex
from hooktrace.views.effects import EditView
from hooktrace.views.hookuse import HookStory, HookUse

__all__ = ["hook_scene"]

_FEWEST_ALIKE = 3
_MOST_EDITS = 4
_WIDEST = 60  # letters of a line


@view("hooks", "budget")
def hook_scene(log: EventLog, calls: CallIndex, asked: Asked) -> Scene:
    """Compose the picture of the hooks, tied in the order in which they first fired."""
    stories = HookUse(log, calls).every()
    if not stories:
        raise RenderError("No hook was seen, so there is no hooks view. Try view='modules'.")
    return _Painter(log, stories, asked.most).scene()


class _Painter:
    def __init__(self, log: EventLog, stories: list[HookStory], most: int) -> None:
        self.log = log
        self.most = most
        self.count = len(stories)
        self.seen: set[str] = set()
        self.groups = list(_alike(stories))

    def scene(self) -> Scene:
        shown, left = self.groups[: self.most], self.groups[self.most :]
        boxes = [self._box(group) for group in shown]
        fired = [box for box, group in zip(boxes, shown, strict=True) if group[0].order]
        arrows = [
            Arrow(one.name, other.name, label([line("then", "soft")]), "edge then", "fires later")
            for one, other in pairwise(fired)
        ]
        never = sum(not group[0].order for group in shown)
        words = f"{self.count} hook{'s' * (self.count != 1)} in the order of firing"
        words += f", {never} box{'es' * (never != 1)} of those that never fired" if never else ""
        notes = [("soft", f"{len(left)} more boxes are over the budget= of {self.most}.")]
        title = heading(words, notes if left else [], self.seen)
        names = {box.name: clip(box.tooltip, 34) for box in boxes}
        return wrap_columns(Scene(title, list(boxes), arrows), _sign, names)

    def _box(self, group: list[HookStory]) -> Box:
        first = group[0]
        hook = first.hook
        owner = hook.owner + (f" of {hook.feature}" if hook.feature else "")
        rows = [row(path(owner, 44), size=11, bold=True)]
        if len(group) > 1:
            self.seen.add("alike")
            last = path(group[-1].hook.owner, 24)
            rows.append(row(f"+{len(group) - 1} more hooks alike, to {last}", bold=True))
        rows.append(badge_row(first, self.seen))
        rows += [row(words, size=9, ink="soft") for words in _places(first)]
        for words in self._changes(first):
            rows += [row(part, size=9, ink="changed", bold=True) for part in words]
        if not first.texts and first.firings:
            rows += [row(words, size=9, ink="seen") for words in _sights(first.firings[0])]
        failed = first.state == "raised"
        text = table(
            rows,
            fill="raised_fill" if failed else "leaf",
            border="raised" if failed else "line",
            dashed=first.state == "never",
        )
        return Box(f"hook-{hook.id}", text, f"hook {first.state}", f"{hook.owner}: {hook.name}")

    def _changes(self, story: HookStory) -> Iterator[list[str]]:
        """Say in lines what the first firing that changed anything was given, and what it left."""
        event = next((one for one in story.firings if one.edits), None)
        if event is None or not story.texts:
            return
        for edit in event.edits[:_MOST_EDITS]:
            yield self._change(event, edit)
        if len(event.edits) > _MOST_EDITS:
            yield [f"and {len(event.edits) - _MOST_EDITS} more"]

    def _change(self, event: HookFired, edit: Edit) -> list[str]:
        found = EditView(self.log, event, edit)
        how = {"in_place": "in place", "returned": "returned", "assigned": "assigned"}[edit.how]
        before, after = self._told(edit.before), self._told(edit.after)
        became, what = f"{edit.role}: {before} -> {after}", f"({found.change.text}, {how})"
        whole = f"{became} {what}"
        return (
            [whole] if len(whole) <= _WIDEST else [*wrap(became, _WIDEST, 2), clip(what, _WIDEST)]
        )

    def _told(self, seen: Observation) -> str:
        """Write a value by its numbers, or its statistics, or its shape."""
        if seen.numbers is not None and len(seen.numbers) <= 4:
            return str(seen)
        stats = self.log.stats.of(seen)
        return f"{shape(seen)} ({stats})" if stats is not None else shape(seen)


def _sights(event: HookFired) -> Iterator[str]:
    """Say what a hook that changed nothing was given."""
    seen = [one for one in event.inputs if one.value is not None]
    for one in seen[:2]:
        yield f"{one.role}: {shape(one)}"


def _places(story: HookStory) -> Iterator[str]:
    """Say where a function was defined and registered."""
    hook = story.hook
    if hook.defined_at:
        yield f"defined at {path(hook.defined_at.rpartition('/')[2], 40)}"
    if hook.registered_at:
        yield f"registered at {path(hook.registered_at.rpartition('/')[2], 40)}"


def _alike(stories: list[HookStory]) -> Iterator[list[HookStory]]:
    """Group the hooks of one function that did the same in as many firings."""
    groups: dict[object, list[HookStory]] = {}
    for story in stories:
        key = (
            story.hook.kind,
            hook_name(story.hook),
            story.hook.defined_at,
            story.state,
            tuple(story.texts),
            len(story.firings),
        )
        groups.setdefault(key, []).append(story)
    parts: list[list[HookStory]] = []
    for group in groups.values():
        parts += [group] if len(group) >= _FEWEST_ALIKE else [[one] for one in group]
    yield from sorted(parts, key=lambda group: (group[0].order == 0, group[0].order))


def _sign(name: str, words: str, tooltip: str) -> Box:
    return pill(name, words, "sign", tooltip, border="line")
