"""Does what comes next receive something else because of this hook?"""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.events import HookFired, Observation, TensorSummary, Value
from hooktrace.report.lessons.scene import Scene
from hooktrace.report.lessons.stop import Moment, Stop, ask, question
from hooktrace.report.phrases import say
from hooktrace.views.call import Call
from hooktrace.views.effects import EditView

__all__ = ["next_receives"]


_HOW = {  # how a hook changed the output -> the answer, the explanation
    "returned": ("lesson_receives_returned", "lesson_receives_why_returned"),
    "in_place": ("lesson_receives_in_place", "lesson_receives_why_in_place"),
    "looked": ("lesson_receives_looked", "lesson_receives_why_looked"),
}


@question("next-receives")
def next_receives(scene: Scene) -> Iterator[Stop | None]:
    """Ask at forward hooks whether what they leave reaches a later module."""
    takers = _takers(scene)
    for firing in scene.firings:
        if scene.log.hooks[firing.hook].kind == "forward":
            yield _about(scene, firing, takers)


def _takers(scene: Scene) -> dict[Value, list[Call]]:
    """Return which calls were given a value."""
    found: dict[Value, list[Call]] = {}
    for call in scene.once():
        for seen in call.seen_inputs:
            if seen.value is not None and seen.value.version is not None:
                found.setdefault(seen.value, []).append(call)
    return found


def _about(scene: Scene, firing: HookFired, takers: dict[Value, list[Call]]) -> Stop | None:
    cursor, seen = scene.stop_before(firing), _output(firing)
    edits = [EditView(scene.log, firing, one) for one in firing.edits]
    if cursor is None or seen is None or len(edits) > 1:
        return None
    if edits and (edits[0].role != "output" or edits[0].change.kind in ("unchanged", "unknown")):
        return None
    if not edits and not scene.untouched(firing, seen):
        return None
    left = edits[0].values[1] if edits else seen.value
    later = (one for one in takers.get(left, ()) if one.called.seq > firing.seq)  # type: ignore[arg-type]
    taker = next(later, None)
    if taker is None:
        return None
    answers = {how: say(key) for how, (key, _) in _HOW.items()}
    right = edits[0].how if edits else "looked"
    moment = Moment(cursor, taker.called.seq, firing.hook, order=2)
    if not scene.alone(cursor, taker.called.seq) or right not in answers:
        return None
    hook = scene.hook(scene.log.hooks[firing.hook])
    return ask(
        moment,
        say("lesson_receives", hook=hook, next=scene.title(taker)),
        answers.pop(right),
        answers.values(),
        say(_HOW[right][1], next=scene.title(taker)),
    )


def _output(firing: HookFired) -> Observation | None:
    """Return the single tensor that was the output."""
    found = [one for one in firing.inputs if one.role.startswith("output")]
    if len(found) != 1 or found[0].role != "output" or found[0].value is None:
        return None
    return found[0] if isinstance(found[0].summary, TensorSummary) else None
