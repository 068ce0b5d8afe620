"""Findings for other programs: JSON in a shape of our own, SARIF 2.1.0, GitHub's annotations.

SARIF is the Static Analysis Results Interchange Format, an OASIS standard; code hosts and editors
read it to show findings beside the lines of code.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hooktrace import __version__
from hooktrace.doctor.pages import body, prose, sentence
from hooktrace.doctor.rule import RULES, Rule, describe
from hooktrace.findings import SEVERITIES, Finding
from hooktrace.log import EventLog

__all__ = ["github_text", "json_text", "place", "sarif_text"]

_SHAPE = 1  # grows when a field of the JSON changes its meaning
_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_ROOT = "%SRCROOT%"


def place(source: str) -> tuple[str, int] | None:
    """Take ``file:line`` apart.

    >>> place("C:/models/net.py:12")
    ('C:/models/net.py', 12)
    >>> place("") is None
    True
    """
    file, _, line = source.rpartition(":")
    return (file, int(line)) if file and line.isdecimal() and int(line) > 0 else None


def _events(found: Finding, log: EventLog) -> list[dict[str, Any]]:
    return [{"seq": seq, "kind": type(log.at(seq)).__name__} for seq in found.events]


# ------------------------------------------------------------------ JSON


def json_text(findings: Sequence[Finding], log: EventLog) -> str:
    """Return findings as JSON; docs/rules.md describes the shape."""
    counts = Counter(one.severity for one in findings)
    return _dumped(
        {
            "version": _SHAPE,
            "tool": {"name": "hooktrace", "version": __version__},
            "summary": {severity: counts[severity] for severity in SEVERITIES},
            "findings": [_plain(one, log) for one in findings],
        }
    )


def _plain(found: Finding, log: EventLog) -> dict[str, Any]:
    at = place(found.source)
    return {
        "rule": found.rule,
        "severity": found.severity,
        "message": found.message,
        "where": found.where,
        "source": None if at is None else {"file": at[0], "line": at[1]},
        "events": _events(found, log),
        "evidence": list(found.evidence),
        "why": found.why,
        "instead": found.instead,
        "possible": found.possible,
    }


def _dumped(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


# ------------------------------------------------------------------ SARIF


def sarif_text(findings: Iterable[Finding], log: EventLog) -> str:
    """Return findings as SARIF 2.1.0, with the help of every rule there is."""
    rules = list(RULES)
    driver = {
        "name": "hooktrace",
        "version": __version__,
        "rules": [_descriptor(RULES[name]) for name in rules],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_ROOT: {"uri": Path.cwd().as_uri().rstrip("/") + "/"}},
        "results": [_result(one, rules.index(one.rule), log) for one in findings],
    }
    return _dumped({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _descriptor(rule: type[Rule]) -> dict[str, Any]:
    said = describe(rule)
    why = sentence(said.sections["Why it matters"])
    return {
        "id": rule.name,
        "name": rule.__name__,
        "shortDescription": {"text": prose(said.summary)},
        "fullDescription": {"text": f"{prose(said.summary)} {why}"},
        "help": {"text": sentence(said.sections["Instead"]), "markdown": body(rule)},
        "defaultConfiguration": {"level": rule.severity},
    }


def _result(found: Finding, rule: int, log: EventLog) -> dict[str, Any]:
    unsure = f" Possible: {found.possible}" if found.possible else ""
    text = f"{found.message}{unsure} Instead: {prose(found.instead)}"
    return {
        "ruleId": found.rule,
        "ruleIndex": rule,
        "level": found.severity,
        "message": {"text": text.replace("{", "{{").replace("}", "}}")},  # { } are placeholders
        "locations": [_location(found)],
        "properties": {
            "where": found.where,
            "evidence": list(found.evidence),
            "events": _events(found, log),
            "possible": found.possible,
        },
    }


def _location(found: Finding) -> dict[str, Any]:
    """Return the line of code, where there is one, and what the finding is about."""
    location: dict[str, Any] = {}
    at = place(found.source)
    file = None if at is None else _on_disk(at[0])
    if at is not None and file is not None:
        location["physicalLocation"] = {
            "artifactLocation": _artifact(file),
            "region": {"startLine": at[1]},
        }
    if found.where:
        location["logicalLocations"] = [{"fullyQualifiedName": found.where}]
    return location


def _on_disk(name: str) -> Path | None:
    """Return the file of this name; None for code that is in no file, such as a notebook's."""
    file = Path.cwd() / name
    return file if Path(name).is_absolute() or file.is_file() else None


def _artifact(file: Path) -> dict[str, str]:
    """Return a file relative to the current folder where it is below it, else as a whole."""
    try:
        relative = file.relative_to(Path.cwd())
    except ValueError:
        return {"uri": file.as_uri()}
    return {"uri": quote(relative.as_posix()), "uriBaseId": _ROOT}


# ------------------------------------------------------------------ GitHub


def github_text(findings: Iterable[Finding]) -> str:
    """Return findings as lines that GitHub Actions shows beside the lines of code."""
    return "".join(map(_annotation, findings))


def _annotation(found: Finding) -> str:
    severity = "notice" if found.severity == "note" else found.severity
    at = place(found.source)
    where = [] if at is None else [f"file={_property(at[0])}", f"line={at[1]}"]
    unsure = f" Possible: {found.possible}" if found.possible else ""
    text = f"{found.message}{unsure} Instead: {prose(found.instead)}"
    return f"::{severity} {','.join([*where, f'title={found.rule}'])}::{_escaped(text)}\n"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
