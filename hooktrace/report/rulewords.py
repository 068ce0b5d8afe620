"""What each rule of the doctor is about, in each language: its title, why it matters, what to do.

A finding is told in English, with the names of this run.  In another language the page says
beside it what the rule finds; the words for that are those of the language's file, and in English
those of the rule's docstring.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache

from hooktrace.doctor.rule import RULES, describe, sentence
from hooktrace.findings import Finding
from hooktrace.report.script import asset

__all__ = ["rule_key", "rule_words", "says_the_usual"]

_SECTIONS = {"_why": "Why it matters", "_instead": "Instead"}


def rule_key(name: str) -> str:
    """Return the key of a rule's title.

    >>> rule_key("never-fired")
    'rule_never_fired'
    """
    return f"rule_{name.replace('-', '_')}"


def rule_words(language: str, rules: Iterable[str]) -> dict[str, str]:
    """Return the words of rules: ``rule_never_fired``, and with ``_why`` and ``_instead``.

    Rules of other packages have none.
    """
    known = _all(language)
    keys = [f"{rule_key(name)}{end}" for name in rules for end in ("", *_SECTIONS)]
    return {key: known[key] for key in keys if key in known}


@cache
def _all(language: str) -> dict[str, str]:
    if language != "en":
        found: dict[str, str] = json.loads(asset(f"words/rules-{language}.json"))
        return found
    found = {}
    for name in RULES:
        rule = RULES[name]
        if rule.__module__.startswith("hooktrace."):
            said = describe(rule)
            found[rule_key(name)] = said.summary.replace("``", "`")
            for end, heading in _SECTIONS.items():
                found[rule_key(name) + end] = sentence(said.sections[heading])
    return found


def says_the_usual(finding: Finding, end: str) -> bool:
    """Whether a finding says what its rule always says: ``_why`` it matters, or ``_instead``."""
    text = {"_why": finding.why, "_instead": finding.instead}[end]
    return _all("en").get(rule_key(finding.rule) + end) == sentence(text)
