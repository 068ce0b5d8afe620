"""Which rules to run: what a project's ``pyproject.toml`` says, and what the caller says."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hooktrace.doctor.rule import RULES
from hooktrace.errors import ConfigurationError, UnknownNameError, nearest
from hooktrace.findings import SEVERITIES, Finding

__all__ = ["Choice", "choice", "chosen", "configuration"]

_KEYS = ("select", "ignore")


@dataclass(frozen=True)
class Choice:
    """What is wanted of the doctor.

    Attributes:
        rules: The names of the rules to run.
        names: The rules of which every finding is wanted.
        severities: The severities of which the findings of all rules are wanted.
        unwanted: The severities of which no finding is.
    """

    rules: list[str]
    names: frozenset[str]
    severities: frozenset[str]
    unwanted: frozenset[str]

    def keeps(self, finding: Finding) -> bool:
        """Whether a finding is wanted."""
        asked = finding.rule in self.names or finding.severity in self.severities
        return asked and finding.severity not in self.unwanted


def choice(select: Iterable[str] | None = None, ignore: Iterable[str] = ()) -> Choice:
    """Return which rules to run, and which of their findings to keep.

    What is given comes on top of what the project's file says: `select` replaces what that
    selects and ignores, `ignore` takes away more.

    Args:
        select: Names of rules, how names begin, or severities; None for what the project selects.
        ignore: The same for what to leave out.

    Raises:
        UnknownNameError: A name is that of no rule, and none begins so.
        ConfigurationError: The project's file is not as it should be.
    """
    wanted, left_out = _of_the_project() if select is None else (_matching(select), set())
    left_out |= _matching(ignore)
    severities = frozenset(wanted & {*SEVERITIES})
    names = frozenset(wanted - severities - left_out)
    rules = [one for one in RULES if (severities or one in names) and one not in left_out]
    return Choice(rules, names, severities, frozenset(left_out & {*SEVERITIES}))


def chosen(select: Iterable[str] | None = None, ignore: Iterable[str] = ()) -> list[str]:
    """Return the names of the rules to run; see `choice`."""
    return choice(select, ignore).rules


def configuration(folder: Path) -> tuple[Path | None, Mapping[str, Any]]:
    """Return the nearest ``pyproject.toml`` with a table ``tool.hooktrace``, and that table.

    Args:
        folder: Where to look first; then in the folders above it.
    """
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        if file.is_file():
            try:
                table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
            except ValueError as error:
                raise ConfigurationError(f"{file} cannot be read: {error}.") from error
            if "hooktrace" in table:
                return file, table["hooktrace"]
    return None, {}


def _of_the_project() -> tuple[set[str], set[str]]:
    """Return what the project selects, and what it ignores."""
    file, table = configuration(Path.cwd())
    if file is None:
        return set(RULES), set()
    for key, value in table.items():
        if key not in _KEYS:
            raise ConfigurationError(f"{file}: [tool.hooktrace] has no {key}.{nearest(key, _KEYS)}")
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ConfigurationError(
                f"{file}: {key} of [tool.hooktrace] is a list of names of rules, not {value!r}."
            )
    try:
        return _matching(table.get("select", RULES)), _matching(table.get("ignore", ()))
    except UnknownNameError as error:
        raise UnknownNameError(f"{file}: {error}") from None


def _matching(names: Iterable[str]) -> set[str]:
    """Return the rules of these names, or whose names begin so; severities are what they are."""
    found: set[str] = set()
    for name in [names] if isinstance(names, str) else names:
        known = name in RULES or name in SEVERITIES
        beginning = {name} if known else {one for one in RULES if one.startswith(name)}
        found |= beginning or {RULES[name].name}  # raises, and names the nearest
    return found
