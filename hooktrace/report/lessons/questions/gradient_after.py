"""What is the gradient after this hook?"""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.events import TensorSummary
from hooktrace.kinds import KINDS
from hooktrace.report.lessons.changes import about_change
from hooktrace.report.lessons.scene import Scene
from hooktrace.report.lessons.stop import Stop, question

__all__ = ["gradient_after"]

_ROLES = ("grad", "param.grad", "grad_input[0]", "grad_output[0]", "grad_inputs[0]")
_SILENT = ("retain_grad", "multi_grad", "comm", "function_backward")


@question("gradient-after")
def gradient_after(scene: Scene) -> Iterator[Stop | None]:
    """Ask at hooks that are given gradients what they make of them."""
    for firing in scene.firings:
        kind = KINDS[scene.log.hooks[firing.hook].kind]
        if not kind.gradient or kind.name in _SILENT:
            continue
        cursor = scene.stop_before(firing)
        changed = [one.role for one in firing.edits]
        given = {one.role for one in firing.inputs if isinstance(one.summary, TensorSummary)}
        roles = changed or [role for role in _ROLES if role in given]
        if cursor is not None and roles:
            yield about_change(scene, firing, roles[0], cursor)
