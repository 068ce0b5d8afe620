"""What stands above a picture: its title, and the signs that occur in it."""

from __future__ import annotations

from hooktrace.log import EventLog
from hooktrace.render.dot import colour, text
from hooktrace.render.wording import badge, clip
from hooktrace.views.calls import Call
from hooktrace.views.hookuse import HookStory, HookUse
from hooktrace.views.outline import Outline, inside

__all__ = ["Seen", "heading", "title"]

Seen = set[str]

#: sign: (colour, words)
_SIGNS = {
    "changed": ("changed", "thick orange: a hook changed the value"),
    "observed": ("seen", "blue frame: a hook that observed; #1, #2 ... is the order of firing"),
    "never": ("never", "dashed frame: a hook that never fired"),
    "raised": ("raised", "red: a hook that raised"),
    "written": ("written", "double arrowhead: what it points to overwrote the value in place"),
    "operation": ("soft", "dashed box: code between modules"),
    "more": ("soft", "+N more: so many further modules of the same shape"),
    "times": ("soft", "xN: the same module, called N times"),
    "guess": ("soft", "dashed arrow: only the order is known"),
    "failed": ("raised", "red box: did not finish"),
}


def title(
    log: EventLog, roots: list[Call], plan: Outline, uses: HookUse, seen: Seen, step: str = ""
) -> str:
    """Write the title of a module picture."""
    names = " and ".join(dict.fromkeys(clip(call.module.type, 40) for call in roots[:3]))
    calls = len(inside(roots))
    words = f"{names}: {calls} module call{'s' * (calls != 1)}"
    deepest = max((call.depth for call in inside(roots)), default=0)
    if plan.depth < deepest:
        words += f", depth {plan.depth} of {deepest} shown (depth={plan.depth + 1} opens more)"
    words += f", {step}" if step else ""
    notes = []
    if not len(log.nodes):
        text = "No autograd graph was recorded, so code between modules is not known."
        notes.append(("soft", text))
    if log.error:
        notes.append(("raised", f"The block ended early: {clip(log.error, 100)}"))
    notes += [("seen", f"every module: {badge(story)}") for story in uses.globally()[:3]]
    notes += [("soft", f"{_place(story)}: {badge(story)}") for story in uses.elsewhere()[:4]]
    return heading(words, notes, seen)


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
        f'<TR><TD ALIGN="LEFT"><FONT POINT-SIZE="{size}" COLOR="{colour(ink)}">'
        f"{inner}</FONT></TD></TR>"
    )
