"""Exports: names and endings, options, times, merged profiles, rows for data frames."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import networkx
import pandas
import polars
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

import hooktrace as ht
from hooktrace.errors import (
    MismatchError,
    MissingExtraError,
    TraceFormatError,
    UnknownFormatError,
    UnknownNameError,
)
from hooktrace.export import EXPORTERS, TABLES
from hooktrace.export.formats.mermaid import quoted


def double(grad: torch.Tensor) -> torch.Tensor:
    return grad * 2


@pytest.fixture(scope="module")
def model() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True), nn.Linear(3, 1))
    for parameter in model.parameters():
        nn.init.constant_(parameter, 9.0)
    model[0].weight.register_hook(double)
    model[2].register_forward_pre_hook(lambda module, args: None)
    return model


def run(model: nn.Module, stats: bool = True) -> ht.Trace:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ht.trace(model, stats=stats) as t:
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.ones(2, 4)).sum().backward()
            optimizer.step()
    return t


@pytest.fixture(scope="module")
def traced(model: nn.Module) -> ht.Trace:
    return run(model)


def items(t: ht.Trace, phase: str, **options: Any) -> list[dict[str, Any]]:
    content = json.loads(t.exported("chrome", **options))
    return [one for one in content["traceEvents"] if one["ph"] == phase]


# ------------------------------------------------------------------ which format


@pytest.mark.parametrize("name", list(EXPORTERS))
def test_the_ending_of_a_file_names_its_format(traced: ht.Trace, name: str, tmp_path: Path) -> None:
    by_ending = tmp_path / f"run{EXPORTERS[name].endings[0]}"
    by_name = tmp_path / "run.other"
    assert traced.export(by_ending) == by_ending
    traced.export(by_name, name)
    assert by_ending.read_bytes() == by_name.read_bytes()
    if name not in ("parquet", "tensorboard"):
        assert by_name.read_text(encoding="utf-8") == traced.exported(name)


def test_what_cannot_be_exported_says_what_can(traced: ht.Trace, tmp_path: Path) -> None:
    with pytest.raises(UnknownFormatError, match=r"\.trace\.json.*chrome"):
        traced.export(tmp_path / "run.xyz")
    with pytest.raises(UnknownNameError, match="Did you mean 'chrome'"):
        traced.export(tmp_path / "run", "chrom")
    with pytest.raises(TypeError, match=r"'csv' has no option 'tabel'\. Did you mean 'table'"):
        traced.export(tmp_path / "run.csv", tabel="calls")
    with pytest.raises(UnknownNameError, match="Did you mean 'calls'"):
        traced.export(tmp_path / "run.csv", table="cals")
    with pytest.raises(UnknownFormatError, match="no text"):
        traced.exported("parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_file_that_was_there(traced: ht.Trace, tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("precious")
    with pytest.raises(UnknownNameError):
        traced.export(path, table="nonsense")
    assert path.read_text() == "precious"


def test_without_pyarrow_the_error_names_the_extra(
    traced: ht.Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"hooktrace\[tables\]"):
        traced.export(tmp_path / "run.parquet")


def test_every_option_is_explained_and_means_the_same_everywhere() -> None:
    types: dict[str, Any] = {}
    for name in EXPORTERS:
        assert EXPORTERS[name].summary
        for option in EXPORTERS[name].options:
            assert option.help, (name, option.name)
            assert types.setdefault(option.name, option.type) == option.type
    named = EXPORTERS["csv"].options[0].help
    assert all(table in named for table in TABLES)


# ------------------------------------------------------------------ chrome


def test_times_of_slices_are_those_of_the_calls_to_the_nanosecond(traced: ht.Trace) -> None:
    start = traced.events[0].time_ns
    slices = [one for one in items(traced, "X") if one["cat"] == "module"]
    calls = traced.calls()
    assert len(slices) == len(calls) == 8
    for one, call in zip(slices, calls, strict=True):
        assert round(one["ts"] * 1000) == call.called.time_ns - start
        assert round(one["dur"] * 1000) == call.duration_ns
        assert one["args"]["module"] == call.name


def test_a_slice_of_a_hook_says_what_it_changed_and_equal_values_are_no_change() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].register_forward_hook(lambda module, inputs, output: output * 2)
    model[1].register_forward_hook(lambda module, inputs, output: output * 1)
    with ht.trace(model) as t:
        model(torch.ones(1, 2))
    hooks = [one["args"] for one in items(t, "X") if one["name"].startswith("forward hook")]
    assert [one.get("changed") for one in hooks] == ["output", None]


def test_each_part_of_a_step_is_a_slice_inside_what_it_belongs_to(traced: ht.Trace) -> None:
    slices = items(traced, "X")

    def inside(inner: str, outer: str) -> bool:
        (one, *_), (other, *_) = (
            [each for each in slices if each["name"] == name] for name in (inner, outer)
        )
        ends = [each["ts"] + each["dur"] for each in (one, other)]
        same = one["tid"] == other["tid"]
        return same and other["ts"] <= one["ts"] and ends[0] <= ends[1] + 0.0005

    names = [one["name"] for one in slices]
    assert names.count("SGD.step") == names.count("backward") == 2
    assert inside("0 (Linear)", "Sequential")
    assert inside("Sequential backward", "backward")
    assert inside("0 backward", "Sequential backward")
    assert inside("tensor hook double", "backward")
    pre = next(name for name in names if name.startswith("forward_pre hook"))
    assert inside(pre, "2 (Linear)")
    assert not inside(pre, "forward")
    assert inside("forward", "2 (Linear)")


def test_the_counters_hold_the_norms_of_gradients(model: nn.Module, traced: ht.Trace) -> None:
    with ht.trace(model, stats=True) as t:
        model.zero_grad()
        model(torch.ones(2, 4)).sum().backward()
    counters = {one["name"]: one["args"]["norm"] for one in items(t, "C")}
    norm = model[0].weight.grad.norm().item()
    assert counters["norm of 0.weight.grad"] == pytest.approx(norm)
    assert "norm of grad_output of Sequential" in counters
    assert items(run(model, stats=False), "C") == []


def test_a_call_that_raised_or_never_returned_is_a_slice_too() -> None:
    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no")

    with pytest.raises(RuntimeError), ht.trace() as t:
        Fails()(torch.ones(1))
    (one,) = items(t, "X")
    assert one["args"]["raised"] == "RuntimeError: no"
    open_ones: list[dict[str, Any]] = []
    with ht.trace() as t:
        layer = nn.Linear(1, 1)
        layer.register_forward_hook(lambda *_: open_ones.extend(items(t, "X")) or None)
        layer(torch.ones(1))
    assert "open" in open_ones[0]["args"]


# ------------------------------------------------------------------ merged with a profile


@pytest.fixture(scope="module")
def profiled(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> tuple[ht.Trace, Path]:
    batch = torch.ones(64, 4)
    with ht.trace(model) as warm:
        model(batch)
    assert warm.calls()
    with (
        profile(activities=[ProfilerActivity.CPU]) as prof,
        ht.trace(model) as t,
        record_function("the step"),
    ):
        model(batch).sum().backward()
    path = tmp_path_factory.mktemp("profile") / "profile.json"
    prof.export_chrome_trace(str(path))
    return t, path


def test_operations_of_a_profile_lie_inside_the_calls_that_ran_them(
    profiled: tuple[ht.Trace, Path], tmp_path: Path
) -> None:
    t, path = profiled
    merged = t.export(tmp_path / "both.trace.json", merge=path)
    slices = [one for one in json.loads(merged.read_text())["traceEvents"] if one["ph"] == "X"]
    ours = {one["pid"] for one in slices if one["cat"] == "module"}
    assert ours.isdisjoint(one["pid"] for one in slices if one["cat"] == "cpu_op")
    for operation, kind in (("aten::linear", "(Linear)"), ("aten::relu_", "(ReLU)")):
        ran = [one for one in slices if one["name"] == operation]
        calls = [one for one in slices if one["cat"] == "module" and one["name"].endswith(kind)]
        assert len(ran) == len(calls) > 0
        for one, call in zip(ran, calls, strict=True):
            assert call["ts"] <= one["ts"]
            assert one["ts"] + one["dur"] <= call["ts"] + call["dur"]


def test_the_events_of_a_profile_are_only_moved_in_time(
    profiled: tuple[ht.Trace, Path], tmp_path: Path
) -> None:
    t, path = profiled
    before = json.loads(path.read_text())
    packed = tmp_path / "profile.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    after = json.loads(t.exported("chrome", merge=packed))
    moved = (after["baseTimeNanoseconds"] - before["baseTimeNanoseconds"]) / 1000
    theirs = after["traceEvents"][: len(before["traceEvents"])]
    for one, other in zip(before["traceEvents"], theirs, strict=True):
        assert one.get("ts", moved) == pytest.approx(other.get("ts", 0) + moved, abs=0.001)
        assert {**one, "ts": 0} == {**other, "ts": 0}


def test_what_is_no_profile_and_a_trace_without_a_clock_are_refused(
    profiled: tuple[ht.Trace, Path], tmp_path: Path
) -> None:
    t, path = profiled
    bad = tmp_path / "bad.json"
    for text in ("", "[]", "{}", '{"traceEvents": [1], "baseTimeNanoseconds": 1}', "\x1f"):
        bad.write_text(text)
        with pytest.raises(TraceFormatError, match=r"bad\.json"):
            t.exported("chrome", merge=bad)
    with pytest.raises(FileNotFoundError):
        t.exported("chrome", merge=tmp_path / "none.json")
    saved = ht.load(t.save(tmp_path / "old.hooktrace"))
    assert saved.exported("chrome", merge=path) == t.exported("chrome", merge=path)
    saved.log.surroundings = type(saved.log.surroundings)()
    with pytest.raises(MismatchError, match="Record it anew"):
        saved.exported("chrome", merge=path)


# ------------------------------------------------------------------ rows


def test_pandas_and_polars_read_what_is_written(traced: ht.Trace, tmp_path: Path) -> None:
    rows = traced.rows("calls")
    path = traced.export(tmp_path / "calls.parquet", table="calls")
    assert polars.read_parquet(path).to_dicts() == rows
    assert pandas.read_parquet(path)["duration_ns"].tolist() == [
        call.duration_ns for call in traced.calls()
    ]
    text = traced.exported("csv", table="gradients")
    frame = pandas.read_csv(io.StringIO(text))
    assert frame["norm"].tolist() == pytest.approx(
        [row["norm"] for row in traced.rows("gradients")]
    )
    assert polars.DataFrame(rows)["name"].to_list() == [row["name"] for row in rows]


def test_a_table_without_rows_still_has_its_columns(tmp_path: Path) -> None:
    with ht.trace() as t:
        torch.ones(1)
    assert t.exported("csv", table="steps").startswith("step,seq,optimizer,")
    path = t.export(tmp_path / "steps.parquet", table="steps")
    assert polars.read_parquet(path).schema["written"] == polars.Int64


def test_edits_as_rows_say_what_changed(model: nn.Module) -> None:
    edits = run(model).rows("edits")
    assert [(one["name"], one["role"], one["factor"]) for one in edits] == [
        ("double", "grad", 2.0)
    ] * 2


def test_an_unknown_table_names_the_nearest(traced: ht.Trace) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'gradients'"):
        traced.rows("gradient")


def test_infinite_numbers_are_words_in_json() -> None:
    with ht.trace(stats=True) as t:
        nn.Identity()(torch.tensor([float("nan"), float("-inf")]))
    content = json.loads(t.exported("json"))
    row = content["tables"]["statistics"][0]
    assert (row["norm"], row["nan"], row["inf"]) == ("NaN", 1, 1)


# ------------------------------------------------------------------ text that others parse


def test_a_label_of_mermaid_has_no_sign_that_could_end_it() -> None:
    nasty = '"]; click x <script> `# - **1.** \n %% {{}} & | end'
    inner = quoted(nasty)[1:-1]
    assert not set(inner) & set('"[](){}<>|`*%\n-.') - set("#;")
    assert quoted("a", "", "b") == '"a<br/>b"'


def test_names_with_control_characters_are_written_as_xml_can_hold_them() -> None:
    model = nn.Module()
    model.add_module("a\x00b<&>\x1b", nn.Identity())
    model.forward = lambda x: next(model.children())(x)  # type: ignore[method-assign]
    with ht.trace(model) as t:
        model(torch.ones(1))
    read = networkx.parse_graphml(t.exported("graphml"), force_multigraph=True)
    assert "a\ufffdb<&>\ufffd" in networkx.get_node_attributes(read, "label").values()


def test_exporting_a_file_does_not_import_torch(traced: ht.Trace, tmp_path: Path) -> None:
    path = traced.save(tmp_path / "run.hooktrace")
    program = f"""
import sys
import hooktrace as ht
from hooktrace.export import EXPORTERS, TABLES
t = ht.load({str(path)!r})
for name in EXPORTERS:
    t.export({str(tmp_path)!r} + "/out" + EXPORTERS[name].endings[0])
for name in TABLES:
    t.rows(name)
print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
