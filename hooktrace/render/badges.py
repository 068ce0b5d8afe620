"""How a hook is shown at what it watches: a framed line that says what became of it."""

from __future__ import annotations

from collections.abc import Sequence

from hooktrace.render.dot import row
from hooktrace.render.wording import badge
from hooktrace.views.hookuse import HookStory

__all__ = ["badge_row", "count_row", "framed"]

# state: (frame, filling, words for a count)
_STATES = {
    "raised": ("raised", "raised_fill", "raised"),
    "changed": ("changed", "changed_fill", "changed values"),
    "observed": ("seen", "seen_fill", "observed"),
    "never": ("never", "", "never fired"),
}


def badge_row(story: HookStory, seen: set[str]) -> str:
    """Write the badge of one hook, and note its sign for the legend."""
    seen.add(story.state)
    return framed(badge(story), story.state)


def framed(words: str, state: str) -> str:
    """Write a row in the frame of a state; the words must tell the state, too."""
    frame, fill, _ = _STATES[state]
    return row(
        words,
        size=9,
        ink="soft" if state == "never" else "ink",
        bold=state in ("changed", "raised"),
        fill=fill,
        border=frame,
        dashed=state == "never",
    )


def count_row(stories: Sequence[HookStory], seen: set[str]) -> str:
    """Write one badge for all hooks on the modules that a box hides."""
    states = [story.state for story in stories]
    found = [state for state in _STATES if state in states]
    seen.update(found)
    many = f"{len(states)} hooks" if len(states) > 1 else "1 hook"
    if len(found) == 1:
        return framed(f"{many} inside {_STATES[found[0]][2]}", found[0])
    parts = ", ".join(f"{states.count(state)} {_STATES[state][2]}" for state in found)
    return framed(f"{many} inside: {parts}", found[0])
