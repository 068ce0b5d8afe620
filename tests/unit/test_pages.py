"""Pages in the terminal say what the documentation says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hooktrace.errors import UnknownNameError
from hooktrace.kinds import KINDS
from hooktrace.pages import RESULTS, names, page_of

HOOKS = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(KINDS))
def test_what_happens_to_a_result_is_what_the_documentation_says(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \|.*\| ([^|]*) \|$", HOOKS, re.MULTILINE)
    page = page_of(name)
    assert KINDS[name].registered_by in page
    if name in RESULTS:
        assert row == RESULTS[name]
        assert f"* **its result** {row}\n" in page
    elif KINDS[name].replaces:
        assert "replaces" in row
        assert f"replaces {KINDS[name].replaces}" in page
    else:
        assert "ignored" in row
        assert "* **its result** is ignored" in page


def test_every_name_has_a_page() -> None:
    for _, its in names():
        for name in its:
            page = page_of(name)
            assert page.startswith(f"# {name}\n")
            assert "../" not in page


def test_an_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'gradcam"):
        page_of("gradcamm")
