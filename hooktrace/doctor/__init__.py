"""The hook doctor: rules that read a log and say what is wrong, where, and what to do.

It never imports torch: everything it says comes from what was recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, overload

from hooktrace.doctor import rules as _rules  # noqa: F401  (fills RULES)
from hooktrace.doctor.case import Case
from hooktrace.doctor.explain import concerns
from hooktrace.doctor.export import github_text, json_text, sarif_text
from hooktrace.doctor.prints import texts
from hooktrace.doctor.rule import RULES
from hooktrace.doctor.selection import choice
from hooktrace.findings import SEVERITIES, Finding
from hooktrace.log import EventLog
from hooktrace.progress import steps
from hooktrace.views.calls import CallIndex

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Findings", "diagnose"]


class Findings(Sequence[Finding]):
    """What the doctor found, worst first; ``print`` it.

    Args:
        found: The findings.
        log: Where they were found.
        blind: Names of the rules that had no statistics to look at.
        unexplained: The exception that ended the block, if no rule explains it.
    """

    def __init__(
        self,
        found: Iterable[Finding],
        log: EventLog,
        blind: Iterable[str] = (),
        unexplained: str = "",
    ) -> None:
        self._found = tuple(sorted(found, key=lambda one: SEVERITIES.index(one.severity)))
        self._log = log
        self.blind = tuple(blind)
        self.unexplained = unexplained

    def of(self, *rules: str) -> Findings:
        """Return those of some rules, such as ``t.findings().of("never-fired")``.

        Raises:
            UnknownNameError: There is no such rule; the message names the nearest.
        """
        for name in rules:
            RULES[name]
        return Findings([one for one in self if one.rule in rules], self._log)

    @property
    def errors(self) -> Findings:
        """Those that make results wrong, or raise."""
        return Findings([one for one in self if one.severity == "error"], self._log)

    @property
    def summary(self) -> str:
        """One line: how many of which severity, and an exception that nothing explains."""
        counts = {kind: sum(one.severity == kind for one in self) for kind in SEVERITIES}
        parts = [f"{n} {kind}{'s' * (n != 1)}" for kind, n in counts.items() if n]
        if not self.unexplained:
            return ", ".join(parts) if parts else "nothing wrong was found"
        end = f"the block ended with {_said(self.unexplained)}; no rule explains it"
        return "; ".join([", ".join(parts), end]) if parts else end

    @property
    def line(self) -> str:
        """The summary, the rules that are more than notes, and how to read on."""
        grave = dict.fromkeys(one.rule for one in self if one.severity != "note")
        names = ", ".join([*grave][:4]) + (" and more" if len(grave) > 4 else "")
        how = ". print(t.findings()) tells more." if self else "."
        return f"Doctor: {self.summary}{f' ({names})' if names else ''}{how}"

    def json(self) -> str:
        """Return the findings as JSON, in the shape that docs/rules.md describes."""
        return json_text(self, self._log)

    def sarif(self) -> str:
        """Return the findings as SARIF 2.1.0, by which a CI can annotate lines of code."""
        return sarif_text(self, self._log)

    def github(self) -> str:
        """Return the findings as annotations that GitHub Actions shows beside lines of code."""
        return github_text(self)

    @overload
    def __getitem__(self, place: int) -> Finding: ...
    @overload
    def __getitem__(self, place: slice) -> Findings: ...
    def __getitem__(self, place: int | slice) -> Finding | Findings:
        found = self._found[place]
        return found if isinstance(found, Finding) else Findings(found, self._log)

    def __len__(self) -> int:
        return len(self._found)

    def __str__(self) -> str:
        closing = f"Doctor: {self.summary}."
        if self.blind and not self:
            closing += f"\nNot asked, for want of trace(..., stats=True): {', '.join(self.blind)}."
        return "\n\n".join([*texts(self), closing])

    def __rich__(self) -> Table:
        """Return the table that ``rich.print`` shows: one row for each finding."""
        from hooktrace.doctor.sheet import table

        return table(self, f"Doctor: {self.summary}")

    def _repr_html_(self) -> str:
        from hooktrace.doctor.sheet import as_html

        return as_html(self.__rich__())

    def __repr__(self) -> str:
        return f"<Findings: {self.summary}>"


def _said(error: str) -> str:
    """Shorten what an exception says to its first sentence."""
    first = error.partition(". ")[0].rstrip(".")
    return first if len(first) <= 100 else f"{first[:97]}..."


def diagnose(
    log: EventLog,
    calls: CallIndex,
    *,
    select: Iterable[str] | None = None,
    ignore: Iterable[str] = (),
    static: bool = False,
) -> Findings:
    """Run the rules over a log.

    Args:
        log: What was recorded; its edits should be measured already.
        calls: The index of its calls, up to date.
        select: Names of the rules to run, how names begin, or severities, such as ``error``, for
            the findings of that severity; None for what the project's ``pyproject.toml`` says,
            or all.
        ignore: The same for rules to leave out, besides those that the project ignores.
        static: Whether to run only the rules that need no run of the program.

    Raises:
        UnknownNameError: There is no rule of one of the names, and none begins so.
        ConfigurationError: The project's ``pyproject.toml`` says what cannot be.
    """
    choosing = choice(select, ignore)
    wanted = [RULES[name] for name in choosing.rules]
    case = Case(log, calls)
    rules = [one() for one in wanted if one.static or not static]
    blind = [one for one in rules if one.statistics and not log.stats.taken]
    seeing = [one for one in rules if one not in blind]
    asking = steps(seeing, len(seeing), "looking for faults")
    found = [found for one in asking for found in one.find(case)]
    asked = all(RULES[name] in wanted for name in RULES if RULES[name].explains)
    explained = any(RULES[one.rule].explains and concerns(log, one) for one in found)
    return Findings(
        filter(choosing.keeps, found),
        log,
        () if static else [one.name for one in blind],
        (log.error or "") if asked and not explained else "",
    )
