"""The record of one diagnosis: what is wrong, where, how that is known, and what to do."""

from __future__ import annotations

import textwrap
from typing import Literal

from hooktrace.records import Record

__all__ = ["SEVERITIES", "Finding", "Severity"]

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first.  An error makes results wrong or raises; a warning most likely is a mistake; a
note explains what surprises."""


WIDTH = 100
"""Columns of a printed finding, as far as no word is longer."""


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
        return self.text()

    def text(self, *, why: bool = True, likewise: str = "") -> str:
        """Return it as lines of text.

        Args:
            why: Whether to say why it matters, which all findings of a rule say alike.
            likewise: What else the same was found of.
        """
        at = f"{self.where} at {self.source}" if self.source else self.where
        shown = ", ".join(f"#{one}" for one in self.events[:8])
        more = f" and {len(self.events) - 8} more" if len(self.events) > 8 else ""
        parts = [
            ("possible", self.possible),
            ("where", at.strip()),
            *(("seen", text) for text in self.evidence),
            ("likewise", likewise),
            ("events", shown + more),
            ("why", self.why if why else ""),
            ("instead", self.instead),
        ]
        head = textwrap.fill(
            f"{self.severity}: {self.message} [{self.rule}]",
            WIDTH,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        return "\n".join([head, *(_line(name, text) for name, text in parts if text)])


def _line(name: str, text: str) -> str:
    """Return a named text; what does not fit into a line goes on below its beginning."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"  {name + ':':<10} ",
        subsequent_indent=" " * 13,
        break_long_words=False,
        break_on_hyphens=False,
    )
