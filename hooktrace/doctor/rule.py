"""What a rule of the doctor is, and the registry of all rules.

A rule is one file in `hooktrace.doctor.rules`, found by its being there.  What it says about
itself stands in the docstring of its class under fixed headings, from which the pages of the
documentation are made; the two programs there are run by a test.
"""

from __future__ import annotations

import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar, TypeVar

from hooktrace._registry import Registry
from hooktrace.findings import Finding, Severity

if TYPE_CHECKING:
    from hooktrace.doctor.case import Case
    from hooktrace.events import TracedHook
    from hooktrace.views.calls import Call

__all__ = ["HEADINGS", "RULES", "Description", "Rule", "describe", "rule", "sentence"]

HEADINGS = (
    "What it finds",
    "Why it matters",
    "Instead",
    "Limits",
    "Source",
    "Fires",
    "Silent",
)
"""Sections of a rule's docstring, in this order; the last two are programs."""


class Rule(ABC):
    """One kind of mistake, or of surprise, and how to see it in a log.

    Attributes:
        name: What it finds, as a noun: ``leaked-hook``.
        severity: That of its findings, unless one of them says otherwise.
        static: Whether it also finds something in a list of hooks, without a run.
        statistics: Whether it needs a trace with ``stats=True``.
        explains: Whether its findings explain the exception with which a block ended.
    """

    name: ClassVar[str]
    severity: ClassVar[Severity]
    static: ClassVar[bool] = False
    statistics: ClassVar[bool] = False
    explains: ClassVar[bool] = False

    @abstractmethod
    def find(self, case: Case) -> Iterator[Finding]:
        """Yield what is found in a log."""

    def finding(
        self,
        message: str,
        *,
        hook: TracedHook | None = None,
        call: Call | None = None,
        where: str = "",
        source: str = "",
        severity: Severity | None = None,
        events: tuple[int, ...] = (),
        evidence: tuple[str, ...] = (),
        instead: str = "",
        possible: str = "",
    ) -> Finding:
        """Return a finding of this rule; what is left away comes from the hook and the docstring.

        Args:
            message: What is the matter, in a sentence.
            hook: The hook it is about: gives ``where``, and its line as ``source``.
            call: The call it is about, if it is about no hook: gives ``where``.
            where, source, severity, events, evidence, instead, possible: As in `Finding`.
        """
        if hook is not None:
            where = where or f"{hook.kind} hook {hook.name} on {hook.owner}"
            source = source or hook.registered_at or hook.defined_at
        elif call is not None:
            where = where or f"{call} ({call.module.type})"
        said = describe(type(self))
        return Finding(
            rule=self.name,
            severity=severity or self.severity,
            message=message,
            where=where,
            source=source,
            events=events,
            evidence=evidence,
            why=said.sections["Why it matters"],
            instead=sentence(instead or said.sections["Instead"]),
            possible=possible,
        )


RULES: Registry[type[Rule]] = Registry("rules")
"""Every rule by name."""


def sentence(text: str) -> str:
    """Return a text with a full stop behind it, if it has none.

    >>> sentence("call the model"), sentence("return grad * 2.")
    ('call the model.', 'return grad * 2.')
    """
    return text if text.endswith((".", "!", "?")) else f"{text}."


R = TypeVar("R", bound=type[Rule])


def rule(found: R) -> R:
    """Enter a rule under its name."""
    RULES.register(found.name)(found)
    return found


# ------------------------------------------------------------------ what a rule says of itself


@dataclass(frozen=True)
class Description:
    """The docstring of a rule, taken apart.

    Attributes:
        summary: Its first line.
        sections: Text under each of `HEADINGS`; of the programs their code.
    """

    summary: str
    sections: dict[str, str]


@cache
def describe(found: type[Rule]) -> Description:
    """Take the docstring of a rule apart.

    Raises:
        ValueError: A heading is missing, unknown or out of order.
    """
    text = inspect.cleandoc(found.__doc__ or "")
    parts = re.split(r"^([A-Z][a-z ]+):[ \n]", text, flags=re.MULTILINE)
    headings = tuple(parts[1::2])
    if headings != HEADINGS:
        raise ValueError(
            f"The docstring of {found.__name__} has the sections {headings}, not {HEADINGS}."
        )
    bodies = dict(zip(headings, parts[2::2], strict=True))
    programs = {name: inspect.cleandoc("\n" + bodies[name]) for name in HEADINGS[-2:]}
    prose = {name: " ".join(bodies[name].replace("``", "`").split()) for name in HEADINGS[:-2]}
    return Description(parts[0].strip(), {**prose, **programs})
