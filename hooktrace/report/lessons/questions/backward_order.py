"""Which module's gradient comes first in backward?"""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.case import Run
from hooktrace.events import GradientComputed, HookFired
from hooktrace.report.lessons.scene import Scene
from hooktrace.report.lessons.stop import Moment, Stop, ask, question
from hooktrace.report.phrases import say
from hooktrace.views.call import Call

__all__ = ["backward_order"]

_HOOKS = ("full_backward", "full_backward_pre", "backward")


@question("backward-order")
def backward_order(scene: Scene) -> Iterator[Stop | None]:
    """Ask at the beginning of backward runs, where modules get theirs in the reverse order."""
    fired = [one for one in scene.firings if scene.log.hooks[one.hook].kind in _HOOKS]
    gradients = scene.log.of(GradientComputed)
    for run in scene.case.runs:
        if run.number not in scene.runs:
            continue
        hooked = [one for one in fired if one in run]
        yield _about(scene, run, hooked, "lesson_backward_hooks")
        passed = [
            one
            for one in gradients
            if one.backward == run.number and one.gradient.role.startswith("grad_output")
        ]
        yield _about(scene, run, passed, "lesson_backward_gradients", order=1)


def _about(
    scene: Scene,
    run: Run,
    events: list[HookFired] | list[GradientComputed],
    key: str,
    order: int = 0,
) -> Stop | None:
    first: dict[int, tuple[Call, int]] = {}
    for event in events:
        call = None if event.call is None else scene.calls.calls.get(event.call)
        if call is not None and not call.children:
            first.setdefault(call.id, (call, event.seq))
    found = _against([one for one in first.values() if scene.plain(one[0])])
    if len(found) < 2 or not scene.alone(run.started.seq, found[-1][1]):
        return None
    names = [scene.title(call) for call, _ in _spread(found)]
    return ask(
        Moment(run.started.seq, found[0][1], order=order),
        say(key),
        say("lesson_text", text=names[0]),
        [say("lesson_text", text=one) for one in names[1:]],
        say("lesson_backward_why", order=" → ".join(names)),
    )


def _against(found: list[tuple[Call, int]]) -> list[tuple[Call, int]]:
    """Return those of some calls that come against the order of forward; branches do not."""
    kept: list[tuple[Call, int]] = []
    for call, seq in found:
        if not kept or call.called.seq < kept[-1][0].called.seq:
            kept.append((call, seq))
    return kept


def _spread(found: list[tuple[Call, int]]) -> list[tuple[Call, int]]:
    """Return the first, the second, one of the middle, and the last."""
    places = dict.fromkeys([0, 1, len(found) // 2, len(found) - 1])
    return [found[one] for one in sorted(places)]
