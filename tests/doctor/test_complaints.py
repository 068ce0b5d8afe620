"""The doctor names the cause in complaints from public threads."""

from __future__ import annotations

import pytest
from doctor.complaints import PROGRAMS, Run, complaint, outcome
from doctor.complaints.page import PAGE, names, page

from hooktrace._torch_saved import TELLS_HOOKS

SHOWS_SAVED = pytest.mark.skipif(
    not TELLS_HOOKS, reason="PyTorch before 2.10 does not show saved tensors"
)
SAVED = ("gan_step", "slice_assignment")


def rule_of(one: Run) -> str:
    """Return the text of the findings of the rule that a program is about, in one line."""
    texts = [str(found) for found in one.findings if found.rule == one.expected]
    return " ".join(" ".join(texts).split())


@pytest.mark.parametrize("name", names())
def test_pytorch_does_what_the_complaint_says(name: str) -> None:
    assert outcome(name).symptom is True


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=SHOWS_SAVED if one in SAVED else ()) for one in names()]
)
def test_the_doctor_names_the_cause(name: str) -> None:
    said = rule_of(outcome(name))
    assert said
    assert [word for word in outcome(name).says if word not in said] == []


@pytest.mark.parametrize("name", names())
def test_no_other_error_is_found(name: str) -> None:
    one = outcome(name)
    others = [str(found) for found in one.findings if found.rule != one.expected]
    assert [text for text in others if text.startswith("error")] == []


@pytest.mark.parametrize("name", names())
def test_a_program_is_short(name: str) -> None:
    one = complaint(name)
    assert 8 <= len(one.program.splitlines()) <= 30
    assert len(one.asked.splitlines()) == 1


def test_every_program_is_on_the_page() -> None:
    assert sorted(names()) == sorted(path.stem for path in PROGRAMS.glob("*.py"))
    links = [complaint(name).link for name in names()]
    assert len(set(links)) == len(links)
    assert len(names()) >= 20


@SHOWS_SAVED
def test_the_page_is_what_the_programs_print() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
