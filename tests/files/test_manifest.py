"""The manifest of a file says, to people and without hooktrace, what was traced and where."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.errors import TraceFormatError
from hooktrace.storage import manifest

GONE = object()


class Net(nn.Module):
    """Has a module that is called, one that is not, a shared one and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(2, 3)
        self.unused = nn.Linear(3, 4, bias=False)
        self.norm = nn.BatchNorm1d(3)
        self.again = self.used

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.norm(self.used(batch))


def manifest_of(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as file:
        assert file.namelist()[0] == "manifest.json"
        return json.loads(file.read("manifest.json"))  # type: ignore[no-any-return]


def modules_of(path: Path) -> dict[str, tuple[str, int]]:
    rows = manifest_of(path)["modules"]
    assert len({row["name"] for row in rows}) == len(rows)
    return {row["name"]: (row["class"], row["parameters"]) for row in rows}


def saved(folder: Path, net: nn.Module, *batch: torch.Tensor) -> Path:
    with ht.trace(net) as t:
        net(*batch)
    return t.save(folder / "x.hooktrace")


@pytest.fixture
def rewritten(tmp_path: Path) -> Callable[..., Path]:
    """Write a good file anew with another manifest: bytes, or changes to its fields."""

    def rewrite(data: bytes | None = None, **fields: Any) -> Path:
        good, bad = saved(tmp_path, Net(), torch.rand(2, 2)), tmp_path / "bad.hooktrace"
        if data is None:
            now = manifest_of(good) | fields
            data = json.dumps({k: v for k, v in now.items() if v is not GONE}).encode()
        with zipfile.ZipFile(good) as old, zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                new.writestr(name, data if name == "manifest.json" else old.read(name))
        return bad

    return rewrite


def test_it_lists_every_module_once_with_class_and_own_parameters(tmp_path: Path) -> None:
    net = Net()
    expected = {
        name: (type(one).__name__, sum(p.numel() for p in one.parameters(recurse=False)))
        for name, one in net.named_modules()
    }
    assert modules_of(saved(tmp_path, net, torch.rand(2, 2))) == expected


def test_it_says_where_and_with_what_the_program_ran(tmp_path: Path) -> None:
    torch.manual_seed(7)
    found = manifest_of(saved(tmp_path, Net(), torch.rand(2, 2)))
    assert found["format"] == 1
    around = found["surroundings"]
    assert (around["torch"], around["seed"], around["devices"]) == (torch.__version__, 7, ["cpu"])
    assert around["hooktrace"] == ht.__version__
    assert around["python"]


def test_each_module_has_a_line_of_its_own(tmp_path: Path) -> None:
    path = saved(tmp_path, Net(), torch.rand(2, 2))
    with zipfile.ZipFile(path) as file:
        lines = file.read("manifest.json").decode().splitlines()
    assert '    {"name":"used","class":"Linear","parameters":9},' in lines


def test_modules_outside_of_any_model_are_listed_too(tmp_path: Path) -> None:
    with ht.trace() as t:
        nn.Linear(2, 3)(torch.rand(1, 2))
        nn.ReLU()(torch.rand(1))
    assert modules_of(t.save(tmp_path / "x.hooktrace")) == {
        "Linear": ("Linear", 9),
        "ReLU": ("ReLU", 0),
    }


def test_saved_again_it_is_the_same(tmp_path: Path) -> None:
    first = saved(tmp_path, Net(), torch.rand(2, 2))
    again = ht.load(first).save(tmp_path / "again.hooktrace")
    assert manifest_of(again) == manifest_of(first)


def test_a_module_without_sizes_yet_has_no_parameters(tmp_path: Path) -> None:
    net = nn.ModuleDict({"lazy": nn.LazyLinear(3), "relu": nn.ReLU()})
    with ht.trace(net) as t:
        net["relu"](torch.rand(2))
    assert modules_of(t.save(tmp_path / "x.hooktrace"))["lazy"] == ("LazyLinear", 0)


@pytest.mark.parametrize("name", ['"quoted"', "日本", "a\nb", "\udc80 alone", '"modules": []'])
def test_any_name_of_a_module_survives(tmp_path: Path, name: str) -> None:
    net = nn.Sequential()
    net.add_module(name, nn.ReLU())
    path = saved(tmp_path, net, torch.rand(2))
    assert modules_of(path)[name.encode("utf-8", "backslashreplace").decode()] == ("ReLU", 0)
    assert len(ht.load(path).calls()) == 2


def test_a_streamed_file_lists_what_had_run_when_its_first_step_was_over(tmp_path: Path) -> None:
    net, late, path = Net(), nn.ReLU(), tmp_path / "x.hooktrace"
    with ht.trace(to=path):
        for step in range(3):
            net(torch.rand(2, 2))
            if step:
                late(torch.rand(2))
    assert set(modules_of(path)) == {"Net", "Net.used", "Net.norm"}
    assert "ReLU" in [call.name for call in ht.load(path).calls()]


def test_a_streamed_file_of_one_step_lists_its_modules(tmp_path: Path) -> None:
    net, path = Net(), tmp_path / "x.hooktrace"
    with ht.trace(net, to=path):
        net(torch.rand(2, 2))
    assert set(modules_of(path)) == {"", "used", "norm"}


def test_a_table_beyond_the_limit_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "LIMIT_BYTES", 1200)
    net = nn.Sequential(*(nn.ReLU() for _ in range(100)))
    path = saved(tmp_path, net, torch.rand(2))
    assert manifest_of(path)["modules"] == []
    assert len(ht.load(path).calls()) == 101


# ------------------------------------------------------------------ from anybody


def test_a_file_whose_manifest_has_no_table_is_read(rewritten: Callable[..., Path]) -> None:
    t = ht.load(rewritten(modules=GONE))
    assert [call.name for call in t.calls()] == ["Net", "used", "norm"]


def test_what_a_later_hooktrace_adds_is_passed_over(rewritten: Callable[..., Path]) -> None:
    assert len(ht.load(rewritten(invented={"a": [1, 2]})).calls()) == 3


@pytest.mark.parametrize(
    "modules",
    [
        7,
        None,
        ["used"],
        [{"name": "used"}],
        [{"name": 3, "class": "Linear", "parameters": 9}],
        [{"name": "used", "class": "Linear", "parameters": "9"}],
        [{"name": "used", "class": "Linear", "parameters": 1e400}],
        [[["used"]]],
    ],
)
def test_a_table_that_is_none_is_refused(rewritten: Callable[..., Path], modules: Any) -> None:
    with pytest.raises(TraceFormatError, match=r"bad\.hooktrace is damaged at manifest\.json"):
        ht.load(rewritten(modules=modules))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": "x"}', b'{"format": 1}', b"[" * 100_000]
)
def test_what_is_no_manifest_is_refused(rewritten: Callable[..., Path], data: bytes) -> None:
    with pytest.raises(TraceFormatError, match=r"bad\.hooktrace is damaged at manifest\.json"):
        ht.load(rewritten(data))


def test_a_manifest_beyond_its_limit_is_refused_unread(rewritten: Callable[..., Path]) -> None:
    path = rewritten(b" " * (manifest.LIMIT_BYTES + 1))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(TraceFormatError, match=r"manifest\.json: it has 16,777,217 bytes"):
        ht.load(path)
