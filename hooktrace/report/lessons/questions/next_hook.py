"""Which hook runs next?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from hooktrace.events import HookFired, TracedHook
from hooktrace.report.lessons.scene import Scene
from hooktrace.report.lessons.stop import Moment, Stop, ask, question
from hooktrace.report.phrases import Phrase, say

__all__ = ["next_hook"]

_MODULE = ("forward_pre", "forward", "full_backward_pre", "full_backward")
_TENSOR = ("tensor", "retain_grad", "post_accumulate_grad")
_PREPENDED, _GLOBAL, _STAGE, _TENSORS, _ORDER = range(5)
_WHY = {
    _PREPENDED: "lesson_order_prepend",
    _GLOBAL: "lesson_order_global",
    _STAGE: "lesson_order_stage",
    _TENSORS: "lesson_order_tensor",
    _ORDER: "lesson_order_registered",
}


@question("next-hook")
def next_hook(scene: Scene) -> Iterator[Stop | None]:
    """Ask where several hooks have to do with one call, or with one gradient."""
    for group in _groups(scene):
        for place in range(len(group) - 1):
            yield _about(scene, group[place:])


def _groups(scene: Scene) -> Iterator[list[HookFired]]:
    """Yield firings that belong together, in their order, each hook once."""
    groups: defaultdict[Any, list[HookFired]] = defaultdict(list)
    for firing in scene.firings:
        hook = scene.log.hooks[firing.hook]
        run = scene.case.run_at(firing)
        if hook.kind in _MODULE and firing.call is not None:
            groups["call", firing.call].append(firing)
        elif hook.kind in _TENSOR and hook.tensor is not None and run is not None:
            groups["tensor", hook.tensor, run.number].append(firing)
    for group in groups.values():
        hooks = [one.hook for one in group]
        told = {str(scene.hook(scene.log.hooks[one])) for one in hooks}
        if len(group) > 1 and len(set(hooks)) == len(told) == len(hooks):
            yield group


def _about(scene: Scene, group: list[HookFired]) -> Stop | None:
    """Ask for the first of these; the others come later, so that they are wrong."""
    cursor = scene.stop_before(group[0])
    hooks = [scene.log.hooks[one.hook] for one in group]
    why = _why(scene, hooks)
    if cursor is None or why is None or not scene.alone(cursor, group[-1].seq):
        return None
    phrases = [scene.hook(one) for one in hooks]
    order = _chain([one.name.rpartition(".")[2] for one in hooks])
    return ask(
        Moment(cursor, group[0].seq, order=why),
        _asked(scene, group[0], hooks[0]),
        phrases[0],
        phrases[1:],
        say(
            "lesson_next_why",
            why=say(_WHY[why]),
            order=order,
        ),
    )


def _asked(scene: Scene, firing: HookFired, hook: TracedHook) -> Phrase:
    call = scene.call(firing)
    if call is None:
        return say("lesson_next_tensor", name=scene.case.owner(hook))
    return say("lesson_next_call", module=scene.title(call))


def _chain(names: list[str]) -> str:
    return " → ".join(names[:8]) + (" → ..." if len(names) > 8 else "")


def _why(scene: Scene, hooks: list[TracedHook]) -> int | None:
    """Return the rule by which the first of these comes first; None if none is known."""
    first, others = hooks[0], [one for one in hooks[1:] if one.kind == hooks[0].kind]
    if not others:
        return _TENSORS if first.kind in _TENSOR else _STAGE
    own = [one for one in others if one.module is not None]
    if first.kind in _MODULE and first.module is None:
        return _GLOBAL if own else _in_order(scene, hooks)
    if "prepend" in first.options or _later(scene, first, own):
        known = bool(first.options) or first.registered_at is None
        return _PREPENDED if first.kind in _MODULE and known else None
    return _in_order(scene, [first, *others])


def _later(scene: Scene, first: TracedHook, others: list[TracedHook]) -> bool:
    """Whether a hook was registered later than one of the others."""
    return any(_number(scene, one) < _number(scene, first) for one in others)


def _in_order(scene: Scene, hooks: list[TracedHook]) -> int | None:
    """Return that they come in the order of registration, if they do."""
    numbers = [_number(scene, one) for one in hooks if one.kind == hooks[0].kind]
    return _ORDER if numbers == sorted(numbers) and -1 not in numbers else None


def _number(scene: Scene, hook: TracedHook) -> int:
    row = scene.log.registrations.get(hook.id)
    return -1 if row is None else row.number
