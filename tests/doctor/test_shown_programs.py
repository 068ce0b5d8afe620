"""What the doctor says of the programs that the project itself shows: examples and README."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hooktrace as ht
from hooktrace.doctor import Findings

ROOT = Path(__file__).parents[2]
EXAMPLES = [
    one
    for one in sorted((ROOT / "examples").glob("[0-9]*.py"))
    if "ht.trace(" in one.read_text(encoding="utf-8")
]

SICK = {
    "02": {"in-place-gradient-edit"},  # it shows an edit in place
    "06": {"stale-activation"},  # it shows what a naive hook stores
    "07": {"full-backward-hook-will-raise"},  # it shows that such hooks raise
    "09": {  # it shows the doctor at work
        "never-fired",
        "shared-gradient-corruption",
        "stale-activation",
    },
    "12": {"stale-activation"},  # it shows what goes wrong in a tutorial's class
    "README": {"in-place-gradient-edit", "stale-activation"},
}
"""Rules that find what a program is there to show; all other programs are healthy."""


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ht.Trace]]:
    """The traces that are made while a program runs."""
    made: list[ht.Trace] = []

    def trace(*arguments: Any, **options: Any) -> ht.Trace:
        made.append(ht.Trace(*arguments, **options))
        return made[-1]

    with monkeypatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setitem(vars(ht), "trace", trace)
        yield made


def grave(found: Findings) -> set[str]:
    return {one.rule for one in found if one.severity != "note"}


def judged(name: str, traces: list[ht.Trace]) -> None:
    assert traces
    found = [t.findings() for t in traces]
    shown = SICK.get(name, set())
    assert set().union(*map(grave, found)) == shown, "\n\n".join(map(str, found))


@pytest.mark.parametrize("script", EXAMPLES, ids=[one.stem for one in EXAMPLES])
def test_the_doctor_finds_in_an_example_what_it_shows(script: Path, traces: list[ht.Trace]) -> None:
    if "torchvision" in script.read_text(encoding="utf-8"):
        pytest.importorskip("torchvision")
    runpy.run_path(str(script), run_name="__main__")
    judged(script.name[:2], traces)


def test_the_doctor_finds_in_the_readme_what_it_shows(
    traces: list[ht.Trace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    scope: dict[str, Any] = {"__name__": "readme"}
    for code in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(compile(code, "README.md", "exec"), scope)
    judged("README", traces)
