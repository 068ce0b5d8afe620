"""The page on exports: its code and commands run, its tables are those of the package."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hooktrace.export import EXPORTERS, TABLES

PAGE = (Path(__file__).parents[2] / "docs" / "exports.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| `")]


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_code_and_the_commands_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block("python"), "exports.md", "exec"), {"__name__": "page"})
    assert printed.getvalue().startswith("flowchart TD\n")
    commands = block("sh").splitlines()
    assert len(commands) == 8
    for command in commands:
        name, *arguments = command.split()
        assert name == "hooktrace"
        done = subprocess.run(
            [sys.executable, "-m", name, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout
    assert {one.name for one in tmp_path.iterdir()} == {
        "run.hooktrace", "run.trace.json", "calls.csv", "run.svg", "hooks.csv",
    }  # fmt: skip


@pytest.mark.parametrize("name", list(EXPORTERS))
def test_every_format_has_its_row(name: str) -> None:
    one = EXPORTERS[name]
    endings, options = (
        " ".join(f"`{each}`" for each in found)
        for found in (one.endings, [option.name for option in one.options])
    )
    assert f"| `{name}` | {endings} | {one.summary} | {options} |" in ROWS


@pytest.mark.parametrize("name", list(TABLES))
def test_every_table_has_its_row(name: str) -> None:
    columns = ", ".join(f"`{column}`" for column in TABLES[name].columns)
    assert f"| `{name}` | {TABLES[name].summary} | {columns} |" in ROWS
