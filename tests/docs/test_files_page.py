"""The code of docs/files.md runs, and says what the page says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "files.md"


def test_the_code_of_the_page_runs_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(
            compile(
                "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)), "p", "exec"
            ),
            {"__name__": "page"},
        )
    text = printed.getvalue()
    assert "Trace of Sequential" in text
    assert "torch.Size([2, 4, 6, 6])\ntorch.Size([2, 6, 6])" in text
    assert "(50, 60, 70, 80, 90)" in text
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "run.hooktrace",
        "training.hooktrace",
    ]
