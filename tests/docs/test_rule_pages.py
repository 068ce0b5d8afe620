"""The pages on the doctor's rules say what the rules say of themselves."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from hooktrace.doctor import pages
from hooktrace.doctor.rule import RULES, describe
from hooktrace.findings import SEVERITIES

DOCS = Path(__file__).parents[2] / "docs"
AGAIN = "`make rules` writes the pages anew"


@pytest.mark.parametrize("name", [*RULES])
def test_a_rule_has_its_page(name: str) -> None:
    page = DOCS / "rules" / f"{name}.md"
    assert page.exists(), AGAIN
    assert page.read_text(encoding="utf-8") == pages.page(RULES[name]), AGAIN


def test_there_are_no_pages_of_other_rules() -> None:
    assert {one.stem for one in (DOCS / "rules").iterdir()} == set(RULES)


def test_the_table_has_every_rule_worst_first() -> None:
    text = (DOCS / "rules.md").read_text(encoding="utf-8")
    assert pages.BEGIN + pages.table() + pages.END in text, AGAIN
    rows = re.findall(r"^\| \[`(.+?)`\]\(rules/(.+?)\.md\) \| (\w+)", text, re.MULTILINE)
    assert {name for name, _, _ in rows} == set(RULES)
    assert all(name == file for name, file, _ in rows)
    order = [SEVERITIES.index(severity) for _, _, severity in rows]
    assert order == sorted(order)


@pytest.mark.parametrize("name", [*RULES])
def test_a_page_has_the_two_programs_as_they_are(name: str) -> None:
    programs = re.findall(r"```python\n(.*?)\n```", pages.page(RULES[name]), re.DOTALL)
    sections = describe(RULES[name]).sections
    assert programs == [sections["Fires"], sections["Silent"]]


def test_writing_renews_the_table_and_deletes_pages_of_former_rules(tmp_path: Path) -> None:
    shutil.copy(DOCS / "rules.md", tmp_path)
    overview = tmp_path / "rules.md"
    before, _, rest = overview.read_text().partition(pages.BEGIN)
    after = rest.partition(pages.END)[2]
    overview.write_text(f"{before}{pages.BEGIN}old\n{pages.END}{after}")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "former.md").touch()
    pages.write(tmp_path)
    table = pages.BEGIN + pages.table() + pages.END
    assert overview.read_text() == before + table + after
    written = {one.name: one.read_text() for one in (tmp_path / "rules").iterdir()}
    assert written == {f"{name}.md": pages.page(RULES[name]) for name in RULES}


@pytest.mark.parametrize("name", [*RULES])
def test_a_page_is_well_formed(name: str) -> None:
    text = re.sub(r"```.*?```", "", pages.page(RULES[name]), flags=re.DOTALL)
    assert "``" not in text
    assert text.count("`") % 2 == 0
    assert not re.search(r"(?<![<(])https?://", text)
