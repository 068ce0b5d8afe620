"""What a stop is: a question, choices of which one is right, and what proves it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hooktrace._registry import Registry
from hooktrace.events import HookId
from hooktrace.report.phrases import Phrase

if TYPE_CHECKING:
    from hooktrace.report.lessons.scene import Scene

__all__ = ["QUESTIONS", "Ask", "Moment", "Stop", "ask", "question"]

_MOST_CHOICES = 4


@dataclass(frozen=True)
class Moment:
    """Where in the timeline a question is asked.

    Attributes:
        cursor: The event to stop at, by ``seq``: what comes after it is hidden.
        proof: The event that proves the answer.
        hook: The hook whose code is to be read, if any.
        order: What is asked first of several questions of a kind: the lower.
    """

    cursor: int
    proof: int
    hook: HookId | None = None
    order: int = 0


@dataclass(frozen=True)
class Stop:
    """One stop of a lesson.

    Attributes:
        moment: Where it is, and what proves the answer.
        question: What is asked.
        choices: Two to four answers.
        right: Place of the only right one.
        explanation: Why it is right.
        name: Kind of the question.
    """

    moment: Moment
    question: Phrase
    choices: tuple[Phrase, ...]
    right: int
    explanation: Phrase
    name: str = ""

    def data(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        found: dict[str, Any] = {
            "kind": self.name,
            "cursor": self.moment.cursor,
            "proof": self.moment.proof,
            "question": self.question.data(),
            "choices": [one.data() for one in self.choices],
            "right": self.right,
            "explanation": self.explanation.data(),
        }
        if self.moment.hook is not None:
            found["hook"] = self.moment.hook
        return found


def ask(
    moment: Moment, question: Phrase, right: Phrase, wrong: Iterable[Phrase], because: Phrase
) -> Stop | None:
    """Return a stop with its choices in an order that is mixed but always the same.

    Args:
        moment: Where it is.
        question: What is asked.
        right: The right answer.
        wrong: Wrong ones, the most plausible first; equal ones count once.
        because: The explanation.

    Returns:
        The stop; None where no wrong answer is left.
    """
    others = [one for one in _distinct(wrong) if one != right][: _MOST_CHOICES - 1]
    if not others:
        return None
    mixed = sorted([right, *others], key=lambda one: _mix(f"{moment.cursor} {question} {one}"))
    return Stop(moment, question, tuple(mixed), mixed.index(right), because)


def _distinct(phrases: Iterable[Phrase]) -> list[Phrase]:
    return list({str(one): one for one in phrases}.values())


def _mix(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


Ask = Callable[["Scene"], Iterable[Stop | None]]

QUESTIONS: Registry[Ask] = Registry("questions")
"""Every kind of question by name: looks at a scene, and yields the stops that it finds."""


def question(name: str) -> Callable[[Ask], Ask]:
    """Enter a kind of question under its name."""
    return QUESTIONS.register(name)
