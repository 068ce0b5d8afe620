"""The graph of the page: module calls as levels that open in place, and the other views.

A call that is folded away, or of another step, is shown by the box of its like; `home` says
which.  An event that belongs to no call, such as the gradient of a parameter, is shown at the
call that `near` gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from hooktrace.errors import RenderError
from hooktrace.events import CallId, HookFired, TensorId
from hooktrace.log import EventLog
from hooktrace.render.asked import Asked, view_of
from hooktrace.render.dot import Box, Frame, Scene
from hooktrace.render.levels import level_scene
from hooktrace.report.laidout import lay_out
from hooktrace.report.likes import home_of
from hooktrace.report.parts import Form, encoded
from hooktrace.report.phrases import Phrase, say
from hooktrace.views.calls import CallIndex
from hooktrace.views.hookuse import HookUse
from hooktrace.views.links import Link
from hooktrace.views.nesting import Level, Nesting
from hooktrace.views.outline import Item
from hooktrace.views.rounds import step_of

__all__ = ["Graph", "graph_forms"]

Data = dict[str, Any]

_LIMITS = (2_500_000, 800_000, 250_000, 60_000)  # bytes of JSON, from the richest form on
_MOST_BOXES = 300  # of a view that opens nothing
_MOST_NODES = 2_000  # autograd nodes for which those that draw nodes are tried
_MOST_PLACED = 5_000  # boxes in all levels
_MOST_IN_LEVEL = 700
_MOST_NEAR = 5_000
_NAMED = 4  # modules that the ledger names


def graph_forms(log: EventLog, calls: CallIndex, step: int = 0) -> list[Form]:
    """Return the ways to give the graph of a step, the richest first."""
    try:
        graph = Graph(log, calls, step)
    except RenderError as error:
        return [Form(lambda: None, [say("left_graph", error=str(error))])]
    return [Form(partial(graph.data, limit), graph.left_out(limit)) for limit in _LIMITS]


class Graph:
    """The graph of one step.

    Attributes:
        levels: By the call that each is inside of, outer ones first; -1 for the outermost.
        views: The pictures that open nothing, by name.
        refused: The others that there could be, and why they are not drawn.
    """

    def __init__(self, log: EventLog, calls: CallIndex, step: int = 0) -> None:
        self._log = log
        self._calls = calls
        self._unplaced: list[Item] = []
        self._signs: set[str] = set()
        self._opened: set[CallId] = set()
        self.refused: dict[str, Phrase] = {}
        self._nesting: Nesting | None = None
        self._uses = HookUse(log, calls)
        levels = self._levels(step) if calls.roots() else {}
        views = self._views(step)
        scenes = [scene for _, scene in levels.values()]
        found = lay_out([*scenes, *views.values()])
        self.levels: dict[CallId, Data] = dict(zip(levels, found, strict=False))
        self.views: dict[str, Data] = dict(zip(views, found[len(levels) :], strict=True))
        for number, (level, _) in levels.items():
            self._tie(self.levels[number], level.flow.links)

    # -------------------------------------------------------------- what is drawn

    def _levels(self, step: int) -> dict[CallId, tuple[Level, Scene]]:
        roots, _ = step_of(self._log, self._calls, step)
        nesting = self._nesting = Nesting(self._log, roots, self._uses)
        found = {CallId(-1): self._compose(nesting.outermost())}
        self._opened = nesting.opened()
        free = _MOST_PLACED
        for item in nesting.inner():
            free -= len(item.children)
            if free < 0 or len(item.children) > _MOST_IN_LEVEL:
                self._unplaced.append(item)
            else:
                found[item.call.id] = self._compose(nesting.level(item))
        return found

    def _compose(self, level: Level) -> tuple[Level, Scene]:
        scene, signs = level_scene(self._log, level, self._uses)
        self._signs |= signs
        return level, scene

    def _views(self, step: int) -> dict[str, Scene]:
        """Compose the views that open nothing, those that have something to show."""
        found: dict[str, Scene] = {}
        names = ["tensors"] if self._log.contents or not self._calls.roots() else []
        names += ["autograd"] if len(self._log.nodes) else []
        names += ["hooks"] if len(self._log.hooks) else []
        nodes = len(self._log.nodes)
        for name in names:
            if nodes > _MOST_NODES and name != "hooks":
                self._refuse("graph_refused_nodes", name, nodes, _MOST_NODES)
                continue
            view = view_of(name)
            asked = Asked(step=step if "step" in view.takes else None)
            try:
                scene = view.compose(self._log, self._calls, asked)
            except RenderError:
                continue
            count = len(list(_boxes(scene.members)))
            if count > _MOST_BOXES:
                self._refuse("graph_refused_boxes", name, count, _MOST_BOXES)
            elif count:
                found[name] = scene
        return found

    def _refuse(self, key: str, name: str, count: int, most: int) -> None:
        """Note why a view is not drawn."""
        view = say(f"graph_view_{name}")
        self.refused[name] = say(key, view=view, count=f"{count:,}", most=f"{most:,}")

    # -------------------------------------------------------------- what it is tied to

    def _tie(self, picture: Data, links: list[Link]) -> None:
        """Say at which firing a hook changed what an arrow brings."""
        for arrow in picture["arrows"]:
            link = links[arrow.pop("n")]
            if link.edits:
                seq = self._firing(link)
                if seq is not None:
                    arrow["q"] = seq

    def _firing(self, link: Link) -> int | None:
        ends = {seen.value for seen in link.seen if seen.value is not None} | {link.value}
        firings = [
            (event.seq, edit)
            for event in self._log.of(HookFired)
            for edit in event.edits
            if edit.before.value in ends or edit.after.value in ends
        ]
        exact = [seq for seq, edit in firings if edit.before.value == link.value]
        return min(exact or [seq for seq, _ in firings], default=None)

    def _marks(self, view: str) -> dict[str, str]:
        """Say for events that belong to no call which box of a view shows them."""
        keys = {box["k"] for box in self.views[view]["boxes"]}
        found: dict[str, str] = {}
        for event in self._log.events:
            number = getattr(event, "hook", None)
            tensor = getattr(event, "tensor", None)
            if tensor is None and number is not None:
                tensor = self._log.hooks[number].tensor
            candidates = (f"hook-{number}", *_versions(tensor, keys))
            key = next((one for one in candidates if one in keys), None)
            if key is not None and len(found) < _MOST_NEAR:
                found[str(event.seq)] = key
        return found

    # -------------------------------------------------------------- the data

    def data(self, limit: int = _LIMITS[0]) -> Data:
        """Return all that fits into so many bytes of JSON."""
        levels, views = self._fitting(limit)
        home, near = home_of(self._log, self._calls, self._nesting)
        return {
            "levels": {str(number): one for number, one in levels.items()},
            "open": sorted(self._opened & set(levels)),
            "home": {str(call): like for call, like in home.items()},
            "near": {str(seq): call for seq, call in [*near.items()][:_MOST_NEAR]},
            "signs": sorted(self._signs),
            "views": {name: {**one, "marks": self._marks(name)} for name, one in views.items()},
            "refused": {name: why.data() for name, why in self._missing(views).items()},
        }

    def _missing(self, views: Iterable[str]) -> dict[str, Phrase]:
        """Say of the views that are not among these why they are not."""
        no_room = {
            name: say("graph_refused_room", view=say(f"graph_view_{name}"))
            for name in self.views
            if name not in views
        }
        return self.refused | no_room

    def _fitting(self, limit: int) -> tuple[dict[CallId, Data], dict[str, Data]]:
        levels: dict[CallId, Data] = {}
        views: dict[str, Data] = {}
        for number, one in self.levels.items():
            limit -= _size(one)
            if levels and limit < 0:
                break
            levels[number] = one
        for name, one in self.views.items():
            limit -= _size(one)
            if limit >= 0 or not (self.levels or views):
                views[name] = one
        return levels, views

    def left_out(self, limit: int = _LIMITS[0]) -> list[Phrase]:
        """Say what cannot be opened or chosen, a sentence for each."""
        levels, views = self._fitting(limit)
        closed = [self._calls.calls[number].name for number in self.levels if number not in levels]
        closed += [item.call.name for item in self._unplaced]
        found = [say("left_view", why=why) for why in self._missing(views).values()]
        names, more = ", ".join(closed[:_NAMED]), len(closed) - _NAMED
        if more > 0:
            found.insert(0, say("left_inside_and_more", names=names, more=f"{more:,}"))
        elif closed:
            found.insert(0, say("left_inside", names=names))
        return found


def _boxes(members: Iterable[Box | Frame]) -> Iterator[Box]:
    for member in members:
        if isinstance(member, Frame):
            yield from _boxes(member.members)
        else:
            yield member


def _versions(tensor: TensorId | None, keys: set[str]) -> Iterator[str]:
    """Yield the boxes of a tensor, that of its latest version first."""
    if tensor is not None:
        start = f"value-{tensor}-"
        yield from sorted((key for key in keys if key.startswith(start)), reverse=True)


def _size(data: Data) -> int:
    return len(encoded(data))
