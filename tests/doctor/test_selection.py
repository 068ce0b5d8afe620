"""Which rules run: what the caller chooses, and what the project's file says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import hooktrace as ht
from hooktrace.doctor.rule import RULES
from hooktrace.doctor.selection import chosen, configuration
from hooktrace.errors import ConfigurationError, UnknownNameError

EDIT = "in-place-gradient-edit"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder below another."""
    below = tmp_path / "project" / "src"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    return below


def project(folder: Path, text: str) -> Path:
    file = folder / "pyproject.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_without_a_choice_all_rules_run() -> None:
    assert chosen() == list(RULES)
    assert chosen(select=[]) == []


def test_a_name_chooses_a_rule() -> None:
    assert chosen(select=[EDIT]) == [EDIT]
    assert chosen(select=EDIT) == [EDIT]
    assert EDIT not in chosen(ignore=[EDIT])
    assert {*chosen(ignore=[EDIT]), EDIT} == set(RULES)


def test_how_a_name_begins_chooses_all_that_begin_so() -> None:
    initial = EDIT[0]
    assert chosen(select=[initial]) == [name for name in RULES if name.startswith(initial)]
    assert chosen(select=["in-place"], ignore=["in-place-g"]) == []


def test_a_whole_name_chooses_no_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES._plugins, f"{EDIT}-of-views", RULES[EDIT])
    assert chosen(select=[EDIT]) == [EDIT]
    assert len(chosen(select=[EDIT[:-1]])) == 2


@pytest.mark.parametrize("where", ["select", "ignore"])
def test_an_unknown_name_is_told_with_the_nearest(where: str) -> None:
    with pytest.raises(UnknownNameError, match=f"in-place-gradient-edits.*{EDIT}"):
        chosen(**{where: ["in-place-gradient-edits"]})


def test_the_nearest_file_upwards_with_the_table_counts(folder: Path) -> None:
    file = project(folder.parent, '[tool.hooktrace]\nignore = ["in-place"]')
    project(folder.parent.parent, '[tool.hooktrace]\nselect = ["nonsense"]')
    project(folder, "[tool.other]")
    assert configuration(folder) == (file, {"ignore": ["in-place"]})
    assert chosen() == [name for name in RULES if not name.startswith("in-place")]


def test_a_folder_without_such_a_file_has_no_configuration() -> None:
    assert configuration(Path(Path.cwd().anchor)) == (None, {})


def test_the_file_may_select(folder: Path) -> None:
    project(folder, f'[tool.hooktrace]\nselect = ["{EDIT}"]')
    assert chosen() == [EDIT]
    assert chosen(ignore=[EDIT]) == []


def test_select_replaces_what_the_file_says_and_ignore_adds_to_it(folder: Path) -> None:
    project(folder, f'[tool.hooktrace]\nignore = ["{EDIT}"]')
    assert chosen(select=[EDIT]) == [EDIT]
    others = [name for name in RULES if name != EDIT]
    assert chosen(ignore=others) == []


def test_a_trace_keeps_to_the_file(folder: Path) -> None:
    w = torch.ones(2, requires_grad=True)
    w.register_hook(lambda grad: grad.mul_(2))
    with ht.trace() as t:
        (w * 3).sum().backward()
    assert [one.rule for one in t.findings().of(EDIT)] == [EDIT]
    project(folder, f'[tool.hooktrace]\nignore = ["{EDIT}"]')
    assert list(t.findings().of(EDIT)) == []
    assert [one.rule for one in t.findings(select=[EDIT])] == [EDIT]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.hooktrace]\nselct = []", r"pyproject.toml: .* has no selct. Did you mean 'select'"),
        ("[tool.hooktrace]\nselect = 'a'", r"pyproject.toml: select .* is a list .*, not 'a'"),
        ("[tool.hooktrace]\nignore = [1]", r"pyproject.toml: ignore .* is a list .*, not \[1\]"),
        ("[tool.hooktrace", r"pyproject.toml cannot be read: "),
    ],
)
def test_a_mistake_in_the_file_is_told(folder: Path, text: str, message: str) -> None:
    project(folder, text)
    with pytest.raises(ConfigurationError, match=message):
        chosen()


@pytest.mark.parametrize("key", ["select", "ignore"])
def test_an_unknown_name_in_the_file_is_told_with_the_file(folder: Path, key: str) -> None:
    file = project(folder, f'[tool.hooktrace]\n{key} = ["{EDIT}s"]')
    with pytest.raises(UnknownNameError, match=f"{file}: .*{EDIT}"):
        chosen()


def test_the_example_in_the_documentation_chooses_what_there_is(folder: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    project(folder, example)
    found = chosen()
    assert "never-fired" in found
    assert len(found) > 1
    assert not any(name.startswith("hook-order") for name in found)
    assert any(name.startswith("hook-order") for name in RULES)


def notes_and_warnings() -> ht.Trace:
    """A trace with a warning, a hook that nobody can remove, and a note, a hook that never ran."""
    net = torch.nn.Linear(2, 2)
    with ht.trace(net) as t:
        net(torch.ones(1, 2))
        net.register_forward_hook(lambda module, args, output: None)
        net.weight.register_hook(lambda grad: None)
    return t


def test_a_severity_selects_the_findings_of_that_severity() -> None:
    t = notes_and_warnings()
    assert {one.severity for one in t.findings()} == {"warning", "note"}
    assert chosen(select=["error"]) == list(RULES)
    for severity in ("error", "warning", "note"):
        wanted = [str(one) for one in t.findings() if one.severity == severity]
        assert [str(one) for one in t.findings(select=[severity])] == wanted
    assert len(t.findings(select=["warning", "note"])) == len(t.findings())


def test_a_severity_and_a_rule_select_what_either_does() -> None:
    t = notes_and_warnings()
    noted = next(one.rule for one in t.findings() if one.severity == "note")
    both = {one.severity for one in t.findings(select=["warning", noted])}
    assert both == {"warning", "note"}
    assert {one.rule for one in t.findings(select=["error", noted])} == {noted}


def test_a_severity_that_is_ignored_is_left_out(folder: Path) -> None:
    t = notes_and_warnings()
    assert {one.severity for one in t.findings(ignore=["note"])} == {"warning"}
    project(folder, '[tool.hooktrace]\nignore = ["note"]\n')
    assert {one.severity for one in t.findings()} == {"warning"}
