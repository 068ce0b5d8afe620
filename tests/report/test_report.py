"""The report as a file: what is in it, what is not, and how large it is."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.recorder import Recorder
from hooktrace.report.happened import Detail, events_data
from hooktrace.report.page import _coded
from hooktrace.report.parts import Form, Part, fit
from hooktrace.report.phrases import say
from hooktrace.report.script import script
from hooktrace.report.sources import shown_path, shown_places


def double(module: Any, inputs: Any, output: Any) -> Any:
    return output * 2


def traced(model: nn.Module | None = None) -> ht.Trace:
    torch.manual_seed(0)
    if model is None:
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
        model[0].register_forward_hook(double)
    with ht.trace(model) as t:
        model(torch.ones(2, 3)).sum().backward()
    return t


def part(page: str, name: str) -> Any:
    found = re.search(rf'data-part="{name}">([^<]*)<', page)
    assert found is not None
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


class Elements(HTMLParser):
    """Collects the elements of a page, and the text in scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.inline: dict[str, list[str]] = {"script": [], "style": []}
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.all.append((tag, dict(attrs)))
        self._open = tag if tag in self.inline and not dict(attrs).get("data-part") else ""
        if self._open:
            self.inline[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.inline[self._open][-1] += data


def test_the_policy_allows_exactly_what_is_in_the_page(tmp_path: Path) -> None:
    page = traced().report(tmp_path / "x.html").read_text("utf-8")
    found = Elements(page)
    policy = next(
        attrs["content"]
        for tag, attrs in found.all
        if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for text in (found.inline["script"][-1], *found.inline["style"]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    handlers = [name for _, attrs in found.all for name in attrs if name.startswith("on")]
    assert handlers == []
    outside = [
        value
        for _, attrs in found.all
        for name, value in attrs.items()
        if name in ("src", "href", "xlink:href", "action") and value and value[0] != "#"
        if not value.startswith("data:")
    ]
    assert outside == []


def test_the_same_trace_gives_the_same_page(tmp_path: Path) -> None:
    t = traced()
    first, second = (t.report(tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def test_events_tell_what_the_trace_tells(tmp_path: Path) -> None:
    t = traced()
    data = part(t.report(tmp_path / "x.html").read_text("utf-8"), "events")
    assert [one["seq"] for one in data["events"]] == [one.seq for one in t.events]
    assert [one["name"] for one in data["calls"]] == [one.name for one in t.calls()]
    (hook,) = data["hooks"]
    (fired,) = t.of(ht.events.HookFired)
    assert hook["fired"] == [fired.seq]
    (edit,) = data["events"][fired.seq]["edits"]
    assert (edit["role"], edit["how"], edit["text"]) == ("output", "returned", "x2")


def test_the_source_is_that_of_the_hook(tmp_path: Path) -> None:
    t = traced()
    data = part(t.report(tmp_path / "x.html").read_text("utf-8"), "sources")
    place = data["hooks"][0]["defined"]
    lines = data["files"][place["file"]]
    shown = [lines[str(number)] for number in range(place["first"], place["last"] + 1)]
    assert [line.strip() for line in shown] == [
        "def double(module: Any, inputs: Any, output: Any) -> Any:",
        "return output * 2",
    ]
    assert data["missing"] == []


def test_a_file_that_changed_or_is_gone_is_told(tmp_path: Path) -> None:
    script = tmp_path / "hooks.py"
    script.write_text("def hook(module, args, output):\n    pass\n")
    space: dict[str, Any] = {}
    exec(compile(script.read_text(), str(script), "exec"), space)
    model = nn.Linear(2, 2)
    model.register_forward_hook(space["hook"])
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    unchanged = part(t.report(tmp_path / "x.html").read_text("utf-8"), "sources")
    assert unchanged["missing"] == []
    script.write_text("# another line\n" + script.read_text())
    changed = part(t.report(tmp_path / "x.html").read_text("utf-8"), "sources")
    assert changed["missing"] == [shown_path(str(script))]
    script.unlink()
    gone = part(t.report(tmp_path / "x.html").read_text("utf-8"), "sources")
    assert gone["missing"] == [shown_path(str(script))]
    assert gone["files"].get(shown_path(str(script)), {}) == {}


def test_paths_do_not_tell_where_somebody_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/users/somebody"))
    assert shown_path("/users/somebody/code/net.py") == "~/code/net.py"
    assert shown_path("/opt/v/lib/python3.11/site-packages/torch/nn/x.py") == "torch/nn/x.py"
    assert shown_path("/data/secret/project/net.py") == "project/net.py"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"lang": "zz"}, ht.errors.UnknownNameError, "does not speak 'zz'"),
        ({"step": 5}, IndexError, "step=5"),
        ({"limit": 10}, ValueError, "at least"),
        ({"limit": "2 MB"}, TypeError, "number of bytes"),
        ({"title": 5}, TypeError, "a string"),
    ],
)
def test_wrong_options_are_told(
    options: Any, error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        traced().report(tmp_path / "x.html", **options)
    assert not (tmp_path / "x.html").exists()


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere to write x\.html"):
        traced().report(tmp_path / "nowhere" / "x.html")


def test_an_empty_trace_and_one_that_raised_have_a_page(tmp_path: Path) -> None:
    with ht.trace() as empty:
        pass
    assert "0 <span" in empty.report(tmp_path / "x.html").read_text("utf-8")
    model = nn.Linear(2, 2)
    with pytest.raises(RuntimeError), ht.trace(model) as t:
        model(torch.ones(1, 3))
    header = t.report(tmp_path / "x.html").read_text("utf-8").partition("</header>")[0]
    assert '<p class="raised" dir="ltr">RuntimeError' in header


def test_the_poorer_forms_of_events_keep_what_hooks_changed() -> None:
    t = traced()
    (fired,) = t.of(ht.events.HookFired)
    assert len(t.edits) == 1  # measured when they are first asked for
    forms = {detail: events_data(t.log, t.index, detail) for detail in Detail}
    for found in forms.values():
        assert [one["seq"] for one in found] == [one.seq for one in t.events]
        assert found[fired.seq]["edits"][0]["text"] == "x2"
    called = t["2"].called.seq
    assert "inputs" in forms[Detail.ALL][called]
    assert "inputs" not in forms[Detail.HOOKS][called]
    assert "inputs" in forms[Detail.HOOKS][fired.seq]
    assert "text" not in forms[Detail.CHANGES][called]
    assert [one["seq"] for one in events_data(t.log, t.index, Detail.ALL, 3)] == [0, 1, 2]


def test_parts_that_do_not_fit_are_poorer_and_told() -> None:
    rich = Form(lambda: [f"{number * 7919 % 10007}" for number in range(5000)])
    poor = Form(list, [say("left_marks")])
    wide, ledger = fit([Part("x", (rich, poor))], 100_000)
    assert ledger == []
    narrow, ledger = fit([Part("x", (rich, poor))], 1000)
    assert ledger == [say("left_marks")]
    assert len(narrow[0].text) < 100 < len(wide[0].text)


def test_modules_are_joined_in_the_order_in_which_they_need_each_other() -> None:
    code = script()
    assert re.findall(r"^(?:import|export)\b", code, re.MULTILINE) == []
    made = re.findall(r"^const (_\w+) = \(\(\) => \{$", code, re.MULTILINE)
    assert made[-1] == "_main"
    assert len(set(made)) == len(made)
    for used in re.finditer(r"^const \{[^}]+\} = (_\w+);$", code, re.MULTILINE):
        before = code[: used.start()]
        assert f"const {used[1]} = " in before
    assert len(made) == len({*re.findall(r'from "\./([\w.-]+)"', sources_of_all())}) + 1


def sources_of_all() -> str:
    folder = Path(ht.__file__).parent / "report" / "assets"
    return "".join(path.read_text("utf-8") for path in folder.glob("*.js"))


def test_where_hooktrace_failed_the_page_names_no_folder_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOKTRACE_STRICT", "0")
    monkeypatch.setattr(Recorder, "check", lambda *_, **__: 1 / 0)
    with pytest.warns(ht.errors.ProbeFailedWarning), ht.trace(model := nn.Linear(2, 2)) as t:
        model(torch.ones(1, 2))
    monkeypatch.undo()
    failed = t.of(ht.events.ProbeFailed)[0]
    package = str(Path(ht.__file__).parent)
    assert f'File "{package}/writes.py", line' in failed.traceback
    monkeypatch.chdir(tmp_path)
    data = part(t.report(tmp_path / "x.html").read_text("utf-8"), "events")
    told = data["events"][failed.seq]
    assert 'File "hooktrace/writes.py", line' in told["note"]
    assert 'File "hooktrace/writes.py", line' in told["text"]
    assert package not in json.dumps(data)


def test_what_stands_in_backticks_is_code_and_nothing_of_it_markup() -> None:
    assert str(_coded("call `x < 3` & go")) == "call <code>x &lt; 3</code> &amp; go"
    assert str(_coded("a ` that is <b>alone</b>")) == "a ` that is &lt;b&gt;alone&lt;/b&gt;"


def test_places_in_a_text_are_shown_without_the_folders_above(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/users/somebody"))
    text = "written at /users/somebody/a/net.py:3, see /opt/x/secret/run.py:14: it raised"
    assert shown_places(text) == "written at ~/a/net.py:3, see secret/run.py:14: it raised"
    assert shown_places("ratio 3/4:5 and layer1/x:2") == "ratio 3/4:5 and layer1/x:2"
