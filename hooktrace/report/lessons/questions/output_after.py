"""What does the output hold after the hook, or what is forward() given?"""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.report.lessons.changes import about_change
from hooktrace.report.lessons.scene import Scene
from hooktrace.report.lessons.stop import Stop, question

__all__ = ["output_after"]

_ROLES = {"forward": "output", "forward_pre": "args[0]"}


@question("output-after")
def output_after(scene: Scene) -> Iterator[Stop | None]:
    """Ask at forward hooks and pre-hooks that change something what it is afterwards."""
    for firing in scene.firings:
        role = _ROLES.get(scene.log.hooks[firing.hook].kind)
        cursor = scene.stop_before(firing)
        if role is not None and cursor is not None and firing.edits:
            yield about_change(scene, firing, role, cursor)
