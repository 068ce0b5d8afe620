"""The picture of one level of module calls, for pages in which a box opens where it stands."""

from __future__ import annotations

from hooktrace.log import EventLog
from hooktrace.render.dot import Scene
from hooktrace.render.legend import Seen
from hooktrace.render.module_diagram import ModulePainter
from hooktrace.views.hookuse import HookUse
from hooktrace.views.nesting import Level

__all__ = ["level_scene"]


def level_scene(log: EventLog, level: Level, uses: HookUse) -> tuple[Scene, Seen]:
    """Compose the picture of a level, its caption above it.

    Returns:
        The picture, of which the arrows are in the order of the links; and the signs in it.
    """
    painter = ModulePainter(log, level.roots, uses, level.plan, level.flow)
    return painter.level(), painter.seen
