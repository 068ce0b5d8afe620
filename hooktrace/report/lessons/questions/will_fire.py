"""Will this hook fire?"""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.doctor.never import Reason, unfired
from hooktrace.events import BackwardStarted, ModuleCalled, TracedHook
from hooktrace.kinds import KINDS
from hooktrace.report.lessons.scene import Scene
from hooktrace.report.lessons.stop import Moment, Stop, ask, question
from hooktrace.report.phrases import Phrase, say

__all__ = ["will_fire"]

_NEVER = {
    "registered-late": "lesson_never_late",
    "removed": "lesson_never_removed",
    "no-grad": "lesson_never_no_grad",
    "output-requires-no-grad": "lesson_never_requires_no_grad",
    "no-backward": "lesson_never_no_backward",
    "autograd-grad": "lesson_never_autograd_grad",
    "not-in-graph": "lesson_never_not_in_graph",
    "not-called": "lesson_never_not_called",
    "bypassed": "lesson_never_bypassed",
    "output-projection": "lesson_never_projection",
    "fast-path": "lesson_never_fast_path",
    "stale-view": "lesson_never_stale_view",
    "replaced": "lesson_never_replaced",
    "no-step": "lesson_never_no_step",
}
"""Reasons that are told in every language; the other ones are not asked for."""

_LATE = ("full_backward", "full_backward_pre", "post_accumulate_grad", "tensor")
_HOLDS_MODULES = "lesson_never_holder"
_RETURNS_CONTAINER = "lesson_never_dict"


@question("will-fire")
def will_fire(scene: Scene) -> Iterator[Stop | None]:
    """Ask of hooks that never fired, where they might have, and of some that did."""
    never = {} if scene.log.unseen else unfired(scene.case)
    for number, reason in never.items():
        hook = scene.log.hooks[number]
        because = _because(scene, hook, reason)
        place = _chance(scene, hook)
        if because is not None and place is not None and not reason.possible:
            proof = reason.events[0] if reason.events else place
            yield _about(scene, Moment(place, min(proof, place)), hook, because)
    yield from _fired(scene)


def _fired(scene: Scene) -> Iterator[Stop | None]:
    """Ask of hooks that run in backward, at the event before."""
    for firing in scene.firings:
        hook, cursor = scene.log.hooks[firing.hook], scene.stop_before(firing)
        if hook.kind in _LATE and cursor is not None:
            because = say("lesson_fires", seq=f"#{firing.seq}")
            moment = Moment(cursor, firing.seq, order=4)
            yield _about(scene, moment, hook, because, fires=True)


def _about(
    scene: Scene, moment: Moment, hook: TracedHook, because: Phrase, *, fires: bool = False
) -> Stop | None:
    answers = [say("lesson_fires_yes"), say("lesson_fires_no")]
    right, wrong = answers if fires else reversed(answers)
    return ask(moment, say("lesson_will_fire", hook=scene.hook(hook)), right, [wrong], because)


def _because(scene: Scene, hook: TracedHook, reason: Reason) -> Phrase | None:
    key = _NEVER.get(reason.name)
    if reason.name == "container":
        called = hook.module is not None and hook.module in scene.case.calls_of
        key = _RETURNS_CONTAINER if called else _HOLDS_MODULES
    return None if key is None else Phrase(key, {"owner": scene.case.owner(hook)})


def _chance(scene: Scene, hook: TracedHook) -> int | None:
    """Return where one may expect a hook to fire soon: where a call or a backward begins."""
    registered = scene.case.registered.get(hook.id)
    since = registered[0].seq if registered else -1
    kinds = BackwardStarted if KINDS[hook.kind].gradient else ModuleCalled
    occasions = [one.seq for one in scene.log.of(kinds) if one.seq > since]
    if occasions:
        return occasions[0]
    last = scene.log.events[-1].seq
    return since if registered and since < last else None
