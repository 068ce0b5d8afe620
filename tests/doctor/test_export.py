"""Findings for other programs: the JSON of our own, and SARIF as its standard wants it."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
import sarif_om
import torch
from torch import nn

import hooktrace as ht
from hooktrace.doctor import Findings
from hooktrace.doctor.rule import RULES
from hooktrace.findings import SEVERITIES, Finding

HERE = Path(__file__)


def double(grad: torch.Tensor) -> torch.Tensor:
    return grad.mul_(2)


LINE = inspect.getsourcelines(double)[1]


@pytest.fixture
def t() -> ht.Trace:
    net = nn.Linear(2, 1)
    net.weight.register_hook(double)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    return t


@pytest.fixture
def found(t: ht.Trace) -> Findings:
    return t.findings(select=["in-place-gradient-edit"])


def findings(t: ht.Trace, **changed: Any) -> Findings:
    """One finding with these fields."""
    fields = {"rule": "in-place-gradient-edit", "severity": "warning", "message": "It is so."}
    return Findings([Finding(**{**fields, **changed})], t.log)


def run_of(found: Findings) -> Any:
    (run,) = json.loads(found.sarif())["runs"]
    return run


def result_of(found: Findings) -> Any:
    (result,) = run_of(found)["results"]
    return result


# ------------------------------------------------------------------ JSON


def test_the_json_has_all_fields_of_a_finding(found: Findings, t: ht.Trace) -> None:
    content = json.loads(found.json())
    assert content["version"] == 1
    assert content["tool"] == {"name": "hooktrace", "version": ht.__version__}
    assert content["summary"] == {"error": 0, "warning": 1, "note": 0}
    (one,) = content["findings"]
    source, events = one.pop("source"), one.pop("events")
    for name, value in one.items():
        own = getattr(found[0], name)
        assert value == (list(own) if isinstance(own, tuple) else own)
    assert set(one) | {"source", "events"} == set(Finding.__struct_fields__)
    assert source == {"file": str(HERE), "line": LINE}
    (event,) = events
    assert type(t.events[event["seq"]]).__name__ == event["kind"] == "HookFired"


def test_the_json_of_nothing_is_an_empty_list(t: ht.Trace) -> None:
    content = json.loads(Findings([], t.log).json())
    assert content["findings"] == []
    assert set(content["summary"].values()) == {0}


def test_a_finding_without_a_line_has_no_source(t: ht.Trace) -> None:
    (one,) = json.loads(findings(t).json())["findings"]
    assert one["source"] is None


def test_the_documentation_shows_the_shape_of_the_json(found: Findings) -> None:
    text = (HERE.parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
    shown = json.loads(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0])
    content = json.loads(found.json())
    assert shape(shown) == shape(content)
    assert shown["tool"] == content["tool"]


def shape(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: shape(value) for name, value in content.items()}
    if isinstance(content, list):
        return [shape(content[0])]
    return type(content).__name__


def test_texts_that_are_no_ascii_are_written_as_they_are(t: ht.Trace) -> None:
    made = findings(t, message='Größe \u2028 "of" x.')
    assert "Größe" in made.json()
    assert json.loads(made.json())["findings"][0]["message"] == 'Größe \u2028 "of" x.'


# ------------------------------------------------------------------ SARIF: its object model

CLASSES = {
    "runs": sarif_om.Run,
    "tool": sarif_om.Tool,
    "driver": sarif_om.ToolComponent,
    "rules": sarif_om.ReportingDescriptor,
    "shortDescription": sarif_om.MultiformatMessageString,
    "fullDescription": sarif_om.MultiformatMessageString,
    "help": sarif_om.MultiformatMessageString,
    "defaultConfiguration": sarif_om.ReportingConfiguration,
    "results": sarif_om.Result,
    "message": sarif_om.Message,
    "locations": sarif_om.Location,
    "physicalLocation": sarif_om.PhysicalLocation,
    "artifactLocation": sarif_om.ArtifactLocation,
    "region": sarif_om.Region,
    "logicalLocations": sarif_om.LogicalLocation,
}
"""What the object under each name is an object of, in OASIS's model as a package has it."""

FREE = ("properties", "originalUriBaseIds")


def breaches(content: Any, kind: Any, path: str = "$") -> list[str]:
    """Return where an object has properties that its class lacks, or lacks required ones."""
    known = {one.metadata["schema_property_name"]: one for one in kind.__attrs_attrs__}
    missing = [name for name, one in known.items() if one.default.__class__.__name__ == "_Nothing"]
    found = [f"{path} lacks {name}" for name in missing if name not in content]
    for name, value in content.items():
        if name not in known and name != "$schema":
            found.append(f"{path} has {name}")
        if name in CLASSES:
            for item in value if isinstance(value, list) else [value]:
                found += breaches(item, CLASSES[name], f"{path}.{name}")
        elif name not in FREE and isinstance(value, (dict, list)):
            found.append(f"{path}.{name} is not looked into")
    return found


def test_the_sarif_keeps_to_the_object_model(found: Findings, t: ht.Trace) -> None:
    for one in (found, findings(t), Findings([], t.log), t.findings()):
        assert breaches(json.loads(one.sarif()), sarif_om.SarifLog) == []


@pytest.mark.parametrize(
    ("spoil", "breach"),
    [
        (lambda log: log.pop("version"), "$ lacks version"),
        (lambda log: log["runs"][0].pop("tool"), "$.runs lacks tool"),
        (lambda log: log["runs"][0]["results"][0].pop("message"), "$.runs.results lacks message"),
        (
            lambda log: log["runs"][0]["results"][0].update(ruleName=1),
            "$.runs.results has ruleName",
        ),
    ],
)
def test_a_breach_of_the_object_model_is_found(found: Findings, spoil: Any, breach: str) -> None:
    content = json.loads(found.sarif())
    spoil(content)
    assert breaches(content, sarif_om.SarifLog) == [breach]


# ------------------------------------------------------------------ SARIF: what it says


def test_the_sarif_names_its_version_and_the_tool(found: Findings) -> None:
    content = json.loads(found.sarif())
    assert content["version"] == "2.1.0"
    assert content["$schema"].endswith("sarif-schema-2.1.0.json")
    driver = run_of(found)["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("hooktrace", ht.__version__)


def test_every_rule_is_described_once_with_help(found: Findings) -> None:
    rules = run_of(found)["tool"]["driver"]["rules"]
    assert [one["id"] for one in rules] == list(RULES)
    for one in rules:
        assert one["defaultConfiguration"]["level"] == RULES[one["id"]].severity
        for field in ("shortDescription", "fullDescription", "help"):
            assert one[field]["text"].endswith((".", "?"))
        assert one["help"]["markdown"].startswith(f"# {one['id']}\n")
        assert re.fullmatch(r"\w+", one["name"])


def test_a_result_points_to_its_rule_and_says_what_to_do(found: Findings) -> None:
    run, result = run_of(found), result_of(found)
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert result["level"] == "warning"
    assert result["message"]["text"].startswith(found[0].message)
    assert "Instead: return the changed gradient: `return grad * 2`." in result["message"]["text"]
    assert result["properties"]["evidence"] == list(found[0].evidence)
    assert [one["seq"] for one in result["properties"]["events"]] == list(found[0].events)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_level_is_one_that_sarif_knows(t: ht.Trace, severity: str) -> None:
    assert severity in ("none", "note", "warning", "error")  # section 3.27.10 of the standard
    assert result_of(findings(t, severity=severity))["level"] == severity


def test_doubt_is_told(t: ht.Trace) -> None:
    text = result_of(findings(t, possible="The graph is gone."))["message"]["text"]
    assert text.startswith("It is so. Possible: The graph is gone.")


def test_braces_are_no_placeholders(t: ht.Trace) -> None:
    text = result_of(findings(t, message="The hook returned {0}."))["message"]["text"]
    assert text.startswith("The hook returned {{0}}.")


# ------------------------------------------------------------------ SARIF: where


def physical(found: Findings) -> Any:
    (location,) = result_of(found)["locations"]
    return location.get("physicalLocation")


def test_a_file_below_the_current_folder_is_relative_to_it(
    t: ht.Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = findings(t, source=f"{tmp_path}/a folder/größe #1.py:7", where="weight")
    place = physical(found)
    assert place["region"] == {"startLine": 7}
    uri = place["artifactLocation"]["uri"]
    assert re.fullmatch(r"[\w/%.~-]+", uri, re.ASCII)
    assert unquote(uri) == "a folder/größe #1.py"
    base = run_of(found)["originalUriBaseIds"][place["artifactLocation"]["uriBaseId"]]["uri"]
    assert Path(unquote(urlparse(base + uri).path)) == tmp_path / "a folder" / "größe #1.py"
    assert base.endswith("/")


def test_any_other_file_has_a_whole_uri(
    found: Findings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = physical(found)
    assert place["artifactLocation"] == {"uri": HERE.as_uri()}
    assert place["region"] == {"startLine": LINE}


def test_code_that_is_in_no_file_has_only_a_logical_place(t: ht.Trace) -> None:
    for source in ("<stdin>:3", "", "<ipython-input-1-0>:2"):
        found = findings(t, source=source, where="tensor hook f on w")
        assert physical(found) is None
        (location,) = result_of(found)["locations"]
        assert location["logicalLocations"] == [{"fullyQualifiedName": "tensor hook f on w"}]


def test_a_relative_file_is_taken_if_there_is_one(
    t: ht.Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").touch()
    assert physical(findings(t, source="train.py:1"))["artifactLocation"]["uri"] == "train.py"
    assert physical(findings(t, source="gone.py:1")) is None
