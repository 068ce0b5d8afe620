"""What the documentation shows is run; what it points to exists."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import inspect
import io
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import hooktrace as ht

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FOREIGN = {"hooktrace.integrations.lightning", "hooktrace.integrations.transformers"}
"""Need what takes long to import; they have tests of their own, and no examples that could run."""

MODULES = sorted(
    one.name
    for one in pkgutil.walk_packages(ht.__path__, "hooktrace.")
    if not one.name.startswith(("hooktrace.demo.assets", "hooktrace.__main__"))
    and one.name not in FOREIGN
)


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Return line number and text of a page's blocks of one language."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, found.start(2)) + 1, found[2])
        for found in BLOCK.finditer(text)
        if found[1] == language
    ]


def examples(module: Any) -> list[doctest.DocTest]:
    return [one for one in doctest.DocTestFinder().find(module) if one.examples]


# ------------------------------------------------------------------ the README's code


@pytest.fixture
def readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], str]:
    """Run the README's code, as a reader would, and return its variables and what it printed."""
    monkeypatch.chdir(tmp_path)
    page = ROOT / "README.md"
    scope: dict[str, Any] = {"__name__": "readme"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for line, code in blocks(page, "python"):
            exec(compile("\n" * (line - 1) + code, str(page), "exec"), scope)
    return scope, printed.getvalue()


def test_the_code_of_the_readme_prints_what_the_readme_shows(
    readme: tuple[dict[str, Any], str],
) -> None:
    _, printed = readme
    shown = blocks(ROOT / "README.md", "text")
    assert shown
    for _, text in shown:
        assert text in printed
    assert "Trace of Sequential" in printed
    assert "2 backward runs" not in printed


def test_the_readme_names_only_what_a_trace_has(readme: tuple[dict[str, Any], str]) -> None:
    scope, _ = readme
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`[^`]*?\bt\.(\w+)", text))
    assert {"events", "edits", "writes", "graph", "draw", "steps"} <= names
    assert [name for name in sorted(names) if not hasattr(scope["t"], name)] == []
    public = set(re.findall(r"`[^`]*?\bht\.(\w+)", text))
    assert public
    assert public <= set(ht.__all__)


def test_the_readme_keeps_the_promise_about_the_lines_of_the_table(
    readme: tuple[dict[str, Any], str],
) -> None:
    assert "at most 60 lines" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(str(readme[0]["t"]).splitlines()) <= 60


# ------------------------------------------------------------------ doctests


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    runner = doctest.DocTestRunner(verbose=False)
    report = io.StringIO()
    for test in examples(importlib.import_module(name)):
        runner.run(test, out=report.write)
    assert runner.failures == 0, report.getvalue()


def test_the_finder_of_examples_finds_some() -> None:
    found = {name for name in MODULES if examples(importlib.import_module(name))}
    assert {"hooktrace.records", "hooktrace.errors", "hooktrace.identity"} <= found
    assert {"hooktrace.session", "hooktrace.render.wording", "hooktrace.views.links"} <= found


# ------------------------------------------------------------------ links


def slugs(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_points_to_something(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for link in LINK.findall(text):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        inside = target.exists() and target.is_relative_to(ROOT)
        if not inside or (anchor and anchor not in slugs(target)):
            broken.append(link)
    assert broken == []


def test_the_finder_of_links_finds_some() -> None:
    found = [link for page in PAGES for link in LINK.findall(page.read_text(encoding="utf-8"))]
    assert "docs/graph.md" in found
    assert "docs/images/alexnet.png" in found


# ------------------------------------------------------------------ docstrings


@pytest.mark.parametrize("name", [name for name in ht.__all__ if name != "__version__"])
def test_every_public_name_has_a_docstring(name: str) -> None:
    thing = getattr(ht, name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        for attribute, member in vars(thing).items():
            if not attribute.startswith("_") and (callable(member) or isinstance(member, property)):
                assert inspect.getdoc(member), f"{name}.{attribute}"


@pytest.mark.parametrize("module", ["errors", "events"])
def test_every_public_error_and_event_has_a_docstring_of_its_own(module: str) -> None:
    space = getattr(ht, module)
    for name in space.__all__:
        thing = getattr(space, name)
        if inspect.isclass(thing):
            assert "__doc__" in vars(thing), name
            assert vars(thing)["__doc__"], name


def test_the_version_is_that_of_the_installed_package() -> None:
    from importlib.metadata import version

    assert version("hooktrace") == ht.__version__
