"""What does .grad hold when another gradient arrives?"""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose

from hooktrace.events import GradientAccumulated, Observation, TensorSummary, format_numbers
from hooktrace.report.lessons.scene import Scene, shown
from hooktrace.report.lessons.stop import Moment, Stop, ask, question
from hooktrace.report.phrases import Phrase, say

__all__ = ["accumulate"]

_CLOSE = 1e-4


@question("accumulate")
def accumulate(scene: Scene) -> Iterator[Stop | None]:
    """Ask where a leaf's ``.grad`` was there already."""
    for event in scene.log.of(GradientAccumulated):
        cursor, name = scene.before(event.seq), scene.name(event.tensor)
        if event.before is None or event.backward not in scene.runs or not name:
            continue
        if cursor is not None and scene.alone(cursor, event.seq):
            yield _with_numbers(event, name, cursor) or _in_words(event, name, cursor)


def _with_numbers(event: GradientAccumulated, name: str, cursor: int) -> Stop | None:
    parts = (event.before, event.arrived, event.after)
    if any(shown(one) is None for one in parts):
        return None
    old, new, now = (tuple(one.numbers) for one in parts)  # type: ignore[union-attr, arg-type]
    if not len(old) == len(new) == len(now) or not _adds_up(old, new, now):
        return None
    asked = say(
        "lesson_adds_numbers",
        name=name,
        old=str(shown(event.before)),
        new=str(shown(event.arrived)),
    )
    mean = tuple(one / 2 for one in now)
    wrong = [one for one in (new, old, mean) if not _near(one, now)]
    scalar = isinstance(event.after.summary, TensorSummary) and not event.after.summary.shape
    return ask(
        Moment(cursor, event.seq),
        asked,
        _said(now, scalar),
        [_said(one, scalar) for one in wrong],
        say("lesson_adds_why", name=name),
    )


def _in_words(event: GradientAccumulated, name: str, cursor: int) -> Stop | None:
    """Ask of a larger gradient which of the two it is, or both."""
    if not _alike(event.before, event.after):
        return None
    return ask(
        Moment(cursor, event.seq, order=1),
        say("lesson_adds", name=name),
        say("lesson_sum"),
        [say("lesson_only_new"), say("lesson_only_old"), say("lesson_mean")],
        say("lesson_adds_why", name=name),
    )


def _alike(before: Observation | None, after: Observation) -> bool:
    """Whether both are plain tensors of one shape and more elements than have their numbers."""
    return (
        before is not None
        and isinstance(before.summary, TensorSummary)
        and isinstance(after.summary, TensorSummary)
        and before.summary.shape == after.summary.shape
        and before.numbers is None
        and after.numbers is None
    )


def _adds_up(old: tuple[float, ...], new: tuple[float, ...], now: tuple[float, ...]) -> bool:
    real = all(isinstance(one, (int, float)) for one in (*old, *new, *now))
    return real and _near(tuple(a + b for a, b in zip(old, new, strict=True)), now)


def _near(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(isclose(a, b, rel_tol=_CLOSE, abs_tol=1e-12) for a, b in pairs)


def _said(numbers: tuple[float, ...], scalar: bool) -> Phrase:
    return say("lesson_text", text=f"{numbers[0]:.6g}" if scalar else format_numbers(numbers))
