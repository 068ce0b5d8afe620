"""Every rule: it says of itself what it should, and its two programs do what they claim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.doctor import Findings
from hooktrace.doctor.rule import RULES, Rule, describe

FOLDER = Path(ht.__file__).parent / "doctor" / "rules"
NAMES = sorted(RULES)


def run(name: str, heading: str) -> Findings:
    """Run one of the programs in a rule's docstring and return what the doctor found."""
    rule: type[Rule] = RULES[name]
    source = describe(rule).sections[heading]
    names: dict[str, Any] = {"torch": torch, "nn": nn, "ht": ht}
    torch.manual_seed(0)
    file = f"<{name}: {heading}>"
    exec(compile(source, file, "exec"), names)
    found = names["found"] if "found" in names else names["t"].findings()
    assert isinstance(found, Findings)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_first_program_of_a_rule_makes_it_fire(name: str) -> None:
    found = run(name, "Fires").of(name)
    assert found
    for one in found:
        assert one.message.endswith((".", "?")), one.message
        assert one.why
        assert one.instead
        assert one.where or one.source


@pytest.mark.parametrize("name", NAMES)
def test_the_second_program_of_a_rule_leaves_it_silent(name: str) -> None:
    assert list(run(name, "Silent").of(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_is_named_after_its_file(name: str) -> None:
    rule = RULES[name]
    assert rule.__module__.rpartition(".")[2] == name.replace("-", "_")
    assert rule.__name__ == "".join(part.capitalize() for part in name.split("-"))


def test_each_file_of_the_folder_holds_a_rule() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert {name.replace("-", "_") for name in NAMES} == files
