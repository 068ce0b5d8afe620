"""What stands above a picture: its title, and the signs that occur in it."""

from __future__ import annotations

from dataclasses import dataclass

from hooktrace.log import EventLog
from hooktrace.render.dot import text
from hooktrace.render.theme import ink_of
from hooktrace.render.wording import badge, clip
from hooktrace.views.calls import Call
from hooktrace.views.hookuse import HookStory, HookUse
from hooktrace.views.outline import Outline, inside

__all__ = ["Extent", "Seen", "heading", "title"]

Seen = set[str]

#: sign: (colour, words)
_SIGNS = {
    "changed": ("changed", "thick orange, bold: a hook changed the value"),
    "observed": (
        "seen",
        "thin blue frame: a hook that observed; #1, #2 ...: the order of firing",
    ),
    "never": ("never", "dashed frame: a hook that never fired"),
    "raised": ("raised", "red frame with corners: a hook that raised"),
    "differs": ("changed", "orange frame with corners: what differs, first | second trace"),
    "recomputed": ("soft", "dotted frame: ran again in backward (checkpointing)"),
    "written": ("written", "double arrowhead: what it points to overwrote the value in place"),
    "odd": ("raised", "red dashed arrow: a gradient with NaN, with infinite elements, or all zero"),
    "operation": ("soft", "dashed box: code between modules"),
    "more": ("soft", "+N more: so many further modules of the same shape"),
    "alike": ("soft", "+N more hooks alike: the same function did the same there"),
    "times": ("soft", "xN: the same module, called N times"),
    "guess": ("soft", "dashed arrow: only the order is known"),
    "failed": ("raised", "red box: did not finish"),
}


@dataclass(frozen=True)
class Extent:
    """How much of a trace a picture shows.

    Attributes:
        roots: The outermost calls.
        plan: What of them is opened.
        step: Which step of a loop this is, in words; empty if there is just one.
        limit: The budget for the sake of which less is shown than was asked for; else 0.
    """

    roots: list[Call]
    plan: Outline
    step: str = ""
    limit: int = 0

    def __str__(self) -> str:
        calls = inside(self.roots)
        names = " and ".join(dict.fromkeys(clip(call.module.type, 40) for call in self.roots[:3]))
        words = f"{names}: {len(calls)} module call{'s' * (len(calls) != 1)}"
        deepest = max((call.depth for call in calls), default=0)
        if self.limit:
            more = f"more is over the budget of {self.limit}: see budget= and expand="
        else:
            more = f"depth={self.plan.depth + 1} opens more"
        if self.plan.depth < deepest or self.limit:
            words += f", depth {min(self.plan.depth, deepest)} of {deepest} shown ({more})"
        return f"{words}, {self.step}" if self.step else words


def title(log: EventLog, extent: Extent, uses: HookUse, seen: Seen) -> str:
    """Write the title of a module picture."""
    notes = []
    if not len(log.nodes):
        text = "No autograd graph was recorded, so code between modules is not known."
        notes.append(("soft", text))
    if log.error:
        notes.append(("raised", f"The block ended early: {clip(log.error, 100)}"))
    notes += [("seen", f"every module: {badge(story)}") for story in uses.globally()[:3]]
    notes += [("soft", f"{_place(story)}: {badge(story)}") for story in uses.elsewhere()[:4]]
    return heading(str(extent), notes, seen)


def _place(story: HookStory) -> str:
    owner = clip(story.hook.owner, 40)
    return owner if story.hook.module is None else f"{owner} was not called"


def heading(words: str, notes: list[tuple[str, str]], seen: Seen) -> str:
    """Write an HTML-like label: a title, notes, and the meaning of the signs that occur."""
    rows = [_row(words, "ink", 13, bold=True)]
    rows += [_row(line, ink, 10) for ink, line in notes]
    rows += [_row(line, ink, 9) for sign, (ink, line) in _SIGNS.items() if sign in seen]
    return (
        '<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="1">'
        + "".join(rows)
        + "</TABLE>>"
    )


def _row(words: str, ink: str, size: int, bold: bool = False) -> str:
    inner = f"<B>{text(words)}</B>" if bold else text(words)
    return (
        f'<TR><TD ALIGN="LEFT"><FONT POINT-SIZE="{size}" COLOR="{ink_of(ink)}">'
        f"{inner}</FONT></TD></TR>"
    )
