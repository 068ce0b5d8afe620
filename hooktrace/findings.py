"""The record of one diagnosis: what is wrong, where, how that is known, and what to do."""

from __future__ import annotations

from typing import Literal

from hooktrace.records import Record

__all__ = ["SEVERITIES", "Finding", "Severity"]

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first.  An error makes results wrong or raises; a warning most likely is a mistake; a
note explains what surprises."""


class Finding(Record, frozen=True, gc=False):
    """One diagnosis.

    Attributes:
        rule: Name of the rule that found it, such as ``never-fired``.
        severity: ``error``, ``warning`` or ``note``.
        message: What is the matter, in a sentence.
        where: What it is about, such as ``forward hook save on features.1``.
        source: ``file:line`` to look at; empty if none is known.
        events: The events that prove it, by ``seq``.
        evidence: What was seen there, such as values before and after.
        why: Why it matters.
        instead: What to do instead.
        possible: Why it is not sure; empty if it is verified.
    """

    rule: str
    severity: Severity
    message: str
    where: str = ""
    source: str = ""
    events: tuple[int, ...] = ()
    evidence: tuple[str, ...] = ()
    why: str = ""
    instead: str = ""
    possible: str = ""

    def __str__(self) -> str:
        lines = [f"{self.severity}: {self.message} [{self.rule}]"]
        if self.possible:
            lines.append(f"  possible:  {self.possible}")
        if self.source or self.where:
            at = f" at {self.source}" if self.source else ""
            lines.append(f"  where:     {self.where}{at}")
        lines += [f"  seen:      {text}" for text in self.evidence]
        if self.events:
            shown = ", ".join(f"#{one}" for one in self.events[:8])
            more = f" and {len(self.events) - 8} more" if len(self.events) > 8 else ""
            lines.append(f"  events:    {shown}{more}")
        if self.why:
            lines.append(f"  why:       {self.why}")
        if self.instead:
            lines.append(f"  instead:   {self.instead}")
        return "\n".join(lines)
