"""How a hook is shown at what it watches: a framed line that says what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hooktrace.render.dot import row
from hooktrace.render.wording import badge
from hooktrace.views.hookuse import HookStory

__all__ = ["badge_row", "count_row", "framed"]


@dataclass(frozen=True)
class _Mark:
    """How a state is shown: never by colour alone.

    Attributes:
        colour: Of the frame.
        fill: Inside of it; empty for none.
        words: For a count.
        style: Of the frame.
        width: Of the frame; a thick one goes with bold words.
    """

    colour: str
    fill: str
    words: str
    style: str = "ROUNDED"
    width: int = 1


_STATES = {
    "raised": _Mark("raised", "raised_fill", "raised", "SOLID", 2),
    "changed": _Mark("changed", "changed_fill", "changed values", width=2),
    "observed": _Mark("seen", "seen_fill", "observed"),
    "never": _Mark("never", "", "never fired", "ROUNDED,DASHED"),
    "recomputed": _Mark("soft", "", "ran again", "ROUNDED,DOTTED"),
}


def badge_row(story: HookStory, seen: set[str]) -> str:
    """Write the badge of one hook, and note its sign for the legend."""
    seen.add(story.state)
    return framed(badge(story), story.state)


def framed(words: str, state: str) -> str:
    """Write a row in the frame of a state; the words must tell the state, too."""
    mark = _STATES[state]
    return row(
        words,
        size=9,
        ink="ink" if mark.fill else "soft",
        bold=mark.width > 1,
        fill=mark.fill,
        border=mark.colour,
        style=mark.style,
        width=mark.width,
    )


def count_row(stories: Sequence[HookStory], seen: set[str]) -> str:
    """Write one badge for all hooks on the modules that a box hides."""
    states = [story.state for story in stories]
    found = [state for state in _STATES if state in states]
    seen.update(found)
    many = f"{len(states)} hooks" if len(states) > 1 else "1 hook"
    if len(found) == 1:
        return framed(f"{many} inside {_STATES[found[0]].words}", found[0])
    parts = ", ".join(f"{states.count(state)} {_STATES[state].words}" for state in found)
    return framed(f"{many} inside: {parts}", found[0])
