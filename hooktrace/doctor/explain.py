"""The exception with which a block ended, explained by what was recorded."""

from __future__ import annotations

from hooktrace.doctor.case import Case
from hooktrace.doctor.rule import RULES
from hooktrace.findings import Finding
from hooktrace.log import EventLog
from hooktrace.views.calls import CallIndex

__all__ = ["MARK", "attach", "concerns", "explain"]

MARK = "hooktrace: "
"""What an explanation begins with."""

_MOST = 3  # findings


def attach(error: BaseException, log: EventLog, calls: CallIndex) -> None:
    """Add a note to an exception that left a block, if it can be explained and has none of ours.

    Args:
        error: The exception.
        log: What was recorded; its edits should be measured already.
        calls: The index of its calls, up to date.
    """
    notes = vars(error).get("__notes__")
    if any(str(note).startswith(MARK) for note in (notes if isinstance(notes, list) else ())):
        return
    text = explain(log, calls)
    if text is not None:
        BaseException.add_note(error, text)


def explain(log: EventLog, calls: CallIndex) -> str | None:
    """Return an explanation of the exception that left the block; None if there is none.

    Args:
        log: What was recorded; its edits should be measured already.
        calls: The index of its calls, up to date.
    """
    if log.error is None:
        return None
    case = Case(log, calls)
    found = [
        finding
        for name in RULES
        if RULES[name].explains
        for finding in RULES[name]().find(case)
        if concerns(log, finding)
    ]
    return "\n".join(map(_text, found[:_MOST])) if found else None


def concerns(log: EventLog, finding: Finding) -> bool:
    """Whether a finding points at the exception that left the block, or quotes it."""
    error = log.error or ""
    if any(getattr(log.at(seq), "exception", None) == error for seq in finding.events):
        return True
    return any(len(text) > _SHORT and error.startswith(text) for text in finding.evidence)


_SHORT = 20  # characters; less is no quotation


def _text(finding: Finding) -> str:
    lines = [MARK + finding.message]
    if finding.possible:
        lines.append(f"  possible: {finding.possible}")
    lines += [f"  seen: {text}" for text in finding.evidence]
    if finding.instead:
        lines.append(f"  instead: {finding.instead}")
    return "\n".join(lines)
