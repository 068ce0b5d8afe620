"""Pages whose programs are run from the first block to the last, as a reader would."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {"summary": (), "tensorboard": ("tensorboard",), "training-loops": ()}
"""The pages, and what they need beside hooktrace."""

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_prints_what_it_shows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in PAGES[name]:
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    scope: dict[str, Any] = {"__name__": name}
    printed = io.StringIO()
    programs = 0
    with contextlib.redirect_stdout(printed):
        for language, code in BLOCK.findall(text):
            if language == "python":
                exec(compile(code, f"{name}.md", "exec"), scope)
                programs += 1
    assert programs
    for language, shown in BLOCK.findall(text):
        if language == "text":
            assert shown in printed.getvalue()
