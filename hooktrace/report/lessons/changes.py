"""Questions about what a hook makes of an argument: the answer, and what is wrong for certain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite

from hooktrace.events import HookFired, Observation, TensorSummary, format_numbers
from hooktrace.report.lessons.scene import Scene, shown
from hooktrace.report.lessons.stop import Moment, Stop, ask
from hooktrace.report.phrases import Phrase, say
from hooktrace.views.effects import EditView

__all__ = ["about_change"]

Numbers = tuple[float, ...]

_HOW = {
    ("in_place",): "lesson_wrote",
    ("returned",): "lesson_returned",
    ("assigned",): "lesson_assigned",
    ("in_place", "returned"): "lesson_wrote_and_returned",
}


@dataclass(frozen=True)
class _Answers:
    """The right answer, wrong ones, and what happened, shortly."""

    right: Phrase
    wrong: list[Phrase]
    result: str | Phrase


def about_change(scene: Scene, firing: HookFired, role: str, cursor: int) -> Stop | None:
    """Ask what a hook makes of one of its arguments; None where that is not certain."""
    edits = [EditView(scene.log, firing, one) for one in firing.edits if one.role == role]
    seen = next((one for one in firing.inputs if one.role == role), None)
    if seen is None or not isinstance(seen.summary, TensorSummary):
        return None
    if not edits and not scene.untouched(firing, seen):
        return None
    how = _HOW.get(tuple(one.how for one in edits)) if edits else "lesson_looked"
    if how is None or any(one.change.kind in ("unchanged", "unknown") for one in edits):
        return None
    answers = _numbers(firing, role, seen) or _kind_of_change(edits)
    if answers is None:
        return None
    hook = scene.hook(scene.log.hooks[firing.hook])
    before = shown(seen)
    order = 3 if not edits else 2 * (before is None) + (len(edits) == 1)
    moment = Moment(cursor, firing.seq, firing.hook, order)
    question = (
        say("lesson_what_size", hook=hook, role=role, size=seen.summary.dimensions)
        if before is None
        else say("lesson_what_numbers", hook=hook, role=role, before=before)
    )
    because = say(how, role=role, result=answers.result)
    return ask(moment, question, answers.right, answers.wrong, because)


# ------------------------------------------------------------------ small tensors: the numbers


def _numbers(firing: HookFired, role: str, seen: Observation) -> _Answers | None:
    steps = [one for one in firing.edits if one.role == role]
    states = [seen, *(one.after for one in steps)]
    if any(shown(one) is None or not _real(one) for one in states):
        return None
    if len({one.summary.shape for one in states}) > 1:  # type: ignore[union-attr]
        return None
    values = [_floats(one) for one in states]
    scalar = seen.summary.shape == ()  # type: ignore[union-attr]
    right = values[-1]
    wrong = [one for one in _plausible(values) if _differ(one, right)]
    said = [say("lesson_text", text=_text(one, scalar)) for one in wrong]
    path = list(dict.fromkeys(_text(one, scalar) for one in values))
    return _Answers(say("lesson_text", text=_text(right, scalar)), said, " → ".join(path))


def _plausible(values: list[Numbers]) -> Iterator[Numbers]:
    """Yield what one may take for the result, the most plausible first."""
    before, after = values[0], values[-1]
    yield from values[:-1]
    for between in values[1:-1]:  # only the last step
        yield _each(lambda n, now, then: n * now / then if then else 0.0, before, after, between)
    if before != after:  # twice, and added instead of replaced
        yield _each(lambda n, now: now * now / n if n else now, before, after)
        yield _each(lambda n, now: n + now, before, after)
    for factor in (2.0, 0.0, 0.5):
        yield tuple(factor * one for one in before)


def _each(made: Callable[..., float], *numbers: Numbers) -> Numbers:
    return tuple(map(made, *numbers))


def _real(seen: Observation) -> bool:
    summary = seen.summary
    floats = isinstance(summary, TensorSummary) and "float" in summary.dtype
    return floats and all(isfinite(one) for one in seen.numbers or ())


def _floats(seen: Observation) -> Numbers:
    return tuple(map(float, seen.numbers or ()))


def _differ(one: Numbers, other: Numbers) -> bool:
    """Whether numbers are others beyond any rounding, and read differently."""
    far = any(abs(a - b) > 1e-3 * max(abs(a), abs(b)) for a, b in zip(one, other, strict=True))
    return far and format_numbers(one) != format_numbers(other)


def _text(numbers: Numbers, scalar: bool) -> str:
    return f"{numbers[0]:.6g}" if scalar else format_numbers(numbers)


# ------------------------------------------------------------------ larger ones: what kind


def _kind_of_change(edits: list[EditView]) -> _Answers | None:
    same, zero = say("lesson_unchanged"), say("lesson_zeroed")
    if not edits:
        return _Answers(same, [_scaled(2), zero, _scaled(0.5)], same)
    change = edits[-1].change
    factor = change.factor if len(edits) == 1 else edits[-1].together
    if len(edits) > 1 and factor is None:
        return None
    if change.kind == "scaled" and factor not in (None, 0.0, 1.0):
        wrong = [same, *map(_scaled, _other_factors(edits, factor)), zero]
        return _Answers(_scaled(factor), wrong, _scaled(factor))
    if len(edits) > 1:
        return None
    if change.kind == "zeroed":
        return _Answers(zero, [same, _scaled(0.5), _scaled(-1)], zero)
    if change.kind == "clamped":
        cut, other = _clamped(change.text.removeprefix("clamped to "))
        return _Answers(cut, [other, same, zero], cut)
    return None


def _clamped(limits: str) -> tuple[Phrase, Phrase]:
    """Return what a clamp did, and what it did not: some value lies strictly inside of the limits.

    Args:
        limits: ``>= -0.01``, ``<= 1``, or ``[-1, 1]``, of which both sides were cut.
    """
    sign, _, limit = limits.partition(" ")
    below, above = (
        say("lesson_clamped_below", limit=limit),
        say("lesson_clamped_above", limit=limit),
    )
    if sign == ">=":
        return below, above
    if sign == "<=":
        return above, below
    low, _, high = limits.strip("[]").partition(", ")
    return say("lesson_clamped", low=low, high=high), say("lesson_clamped_below", limit=low)


def _other_factors(edits: list[EditView], factor: float) -> list[float]:
    """Return factors that one may take for the right one, and that are others for certain."""
    alone = [one.factor for one in edits] if len(edits) > 1 else [factor * factor, 1 / factor]
    found = [one for one in alone if one is not None]
    return [one for one in found if _differ((one,), (factor,)) and _differ((one,), (1.0,))]


def _scaled(factor: float) -> Phrase:
    return say("lesson_scaled", factor=f"{factor:.6g}")
