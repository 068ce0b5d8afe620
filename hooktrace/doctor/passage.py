"""The records of a gradient's history: what happened to it in one backward run, step by step."""

from __future__ import annotations

import textwrap

from hooktrace.events import Observation
from hooktrace.findings import WIDTH
from hooktrace.records import Record

__all__ = ["Passage", "Step"]


class Step(Record, frozen=True, gc=False):
    """One thing that happened to a gradient.

    Attributes:
        kind: ``sent``, ``hook``, ``overwritten``, ``accumulated``, ``retained`` or ``written``.
        text: What it was, in words.
        before: The gradient as it was found; None if it was not seen.
        after: The gradient as it was left; None if it was not seen.
        seq: The event; None of what is known from the graph.
        source: ``file:line`` of the hook, or of the statement in which ``.grad`` was found to be
            written to; empty where there is none.
        changed: Whether it changed the gradient.
        arrived: Of ``accumulated``, what came in.
    """

    kind: str
    text: str
    before: Observation | None = None
    after: Observation | None = None
    seq: int | None = None
    source: str = ""
    changed: bool = False
    arrived: Observation | None = None

    def __str__(self) -> str:
        if self.changed and self.before is not None and self.after is not None:
            value = f": {self.before} -> {self.after}"
        else:
            value = f": {self.after}" if self.after is not None else ""
        source = f" at {self.source}" if self.source else ""
        return f"{self.kind:<11} {self.text}{value}{source}"


class Passage(Record, frozen=True, gc=False):
    """What happened to a gradient in one backward run, and until the next one.

    Attributes:
        backward: Number of the run.
        steps: In order.
        gaps: What is known to be missing among them; empty if nothing.
    """

    backward: int
    steps: tuple[Step, ...]
    gaps: tuple[str, ...] = ()

    @property
    def hooks(self) -> tuple[Step, ...]:
        """The steps in which a hook changed the gradient."""
        return tuple(one for one in self.steps if one.kind in _BY_HOOKS and one.changed)

    def __str__(self) -> str:
        missing = [f"incomplete  {one}" for one in self.gaps]
        return "\n".join(_folded(f"  {one}") for one in (*self.steps, *missing))


def _folded(line: str) -> str:
    """Break a line that is too long, and go on below the text."""
    return textwrap.fill(
        line,
        WIDTH,
        subsequent_indent=" " * 14,
        break_long_words=False,
        break_on_hyphens=False,
    )


_BY_HOOKS = ("hook", "overwritten")
