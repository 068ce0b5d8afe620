"""Is .grad of this tensor filled by this backward?"""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Run
from hooktrace.events import (
    GradientAccumulated,
    GradientComputed,
    GradientRetained,
    TensorId,
)
from hooktrace.report.lessons.scene import Scene
from hooktrace.report.lessons.stop import Moment, Stop, ask, question
from hooktrace.report.phrases import Phrase, say

__all__ = ["grad_filled"]


@question("grad-filled")
def grad_filled(scene: Scene) -> Iterator[Stop | None]:
    """Ask of tensors that have a name, leaves and others."""
    for run in scene.case.runs:
        fills = run.started.accumulates
        if run.number not in scene.runs or (fills and "inputs" in run.started.options):
            continue
        yield from _leaves(scene, run)
        yield from _inner(scene, run)


def _leaves(scene: Scene, run: Run) -> Iterator[Stop | None]:
    for event in scene.log.of(GradientAccumulated):
        cursor = scene.before(event.seq)
        if event.backward == run.number and cursor is not None and event.before is None:
            parameter = scene.log.tensors[event.tensor].parameter
            moment = Moment(cursor, event.seq, order=2 + parameter)
            yield _about(scene, moment, event.tensor, "leaf")


def _inner(scene: Scene, run: Run) -> Iterator[Stop | None]:
    """Look at the tensors whose gradient passed by in a run."""
    kept = {one.tensor: one for one in scene.log.of(GradientRetained)}
    for event in scene.log.of(GradientComputed):
        if event.backward != run.number or event.tensor is None or event.note:
            continue
        row = scene.log.tensors[event.tensor]
        retained = kept.get(event.tensor)
        if row.parameter:
            continue
        if row.leaf:
            if not run.started.accumulates:
                yield _about(scene, Moment(event.seq, event.seq), event.tensor, "asked")
        elif retained is None:
            yield _about(scene, Moment(event.seq, event.seq, order=1), event.tensor, "inner")
        elif retained.backward == run.number and run.started.accumulates:
            yield _about(scene, Moment(event.seq, retained.seq), event.tensor, "retained")


def _about(scene: Scene, moment: Moment, tensor: TensorId, why: str) -> Stop | None:
    name = scene.name(tensor)
    if not name or not scene.alone(moment.cursor, moment.proof):
        return None
    right, because = (Phrase(key, {"name": name}) for key in _SAID[why])
    wrong = [Phrase(_SAID[one][0], {"name": name}) for one in _WRONG[why]]
    return ask(moment, say("lesson_filled", name=name), right, wrong, because)


_SAID = {  # why -> the answer, the explanation
    "leaf": ("lesson_filled_leaf", "lesson_filled_why_leaf"),
    "retained": ("lesson_filled_retained", "lesson_filled_why_retained"),
    "inner": ("lesson_filled_inner", "lesson_filled_why_inner"),
    "asked": ("lesson_filled_asked", "lesson_filled_why_asked"),
}
_WRONG = {
    "leaf": ("inner", "retained"),
    "retained": ("leaf", "inner"),
    "inner": ("leaf", "retained"),
    "asked": ("leaf", "inner"),
}
