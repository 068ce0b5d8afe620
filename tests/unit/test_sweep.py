"""The sweep finds what it is there to find, and writes it down."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from sweep import table
from sweep.compare import compared, deviations, sweep
from sweep.prints import Runs, difference
from sweep.subjects import Subject
from torch import nn


def subject() -> Subject:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Dropout())
    return Subject(net, lambda: ((torch.rand(2, 3).requires_grad_(),), {}))


def test_runs_of_a_subject_start_from_the_same_state() -> None:
    runs = Runs(subject(), "train")
    first, second = runs.run()[0], runs.run()[0]
    assert first["gradients"]["0.weight"]
    assert first["buffers"]["1.running_mean"]
    assert difference(first, second) is None


@pytest.mark.parametrize(
    ("disturb", "where"),
    [
        (lambda net: torch.rand(1), "output"),
        (lambda net: net[0].weight.register_hook(lambda grad: grad * (1 + 2**-23)), "gradients"),
        (lambda net: net[1].running_mean.add_(1e-6), "buffers"),
        (lambda net: net.register_forward_hook(lambda *_: None), "hooks"),
    ],
)
def test_a_disturbed_run_is_found(disturb: Any, where: str) -> None:
    one = subject()
    runs = Runs(one, "train")
    untraced = runs.run()[0]

    @contextlib.contextmanager
    def disturbing() -> Iterator[None]:
        disturb(one.model)
        yield

    found = difference(runs.run(disturbing)[0], untraced)
    assert found is not None
    assert where in found


def test_what_differs_by_itself_is_unsteady_and_what_a_trace_changes_differs() -> None:
    calls = iter(range(100))

    def unsteady(tracing: Any) -> dict[str, Any]:
        return {"value": next(calls)}

    assert set(deviations(unsteady, {"a way": contextlib.nullcontext})[1]) == {"unsteady"}

    def disturbed(tracing: Any) -> dict[str, Any]:
        return {"value": tracing is not contextlib.nullcontext}

    found = deviations(disturbed, {"a way": lambda: contextlib.nullcontext()})[1]
    assert found == {"differs": {"a way": "value: True traced, False untraced"}}


def test_gradients_get_the_verdict_they_deserve() -> None:
    one, near, far = torch.ones(2), torch.ones(2) + 1e-6, torch.ones(2) + 1
    theirs = {("m", role): [one] for role in ("same", "near", "far", "lost", "noted")}
    theirs |= {("m", "made up"): [torch.zeros(2)], ("m", "none"): [None], ("m", "new"): [None]}
    theirs[("m", "twice")] = [near, one]  # the later call comes back first
    mine: dict[Any, Any] = {
        ("m", "same"): [one],
        ("m", "near"): [near],
        ("m", "far"): [far],
        ("m", "lost"): [None],
        ("m", "noted"): [far],
        ("m", "new"): [one],
        ("m", "twice"): [one, near],
    }
    found = compared(mine, theirs, {("m", "noted")}, rounding=1e-5)
    assert found["equal"] == ["m@0 same", "m@0 none", "m@1 twice", "m@0 twice"]
    assert found["rounding"] == ["m@0 near"]
    assert found["zeros"] == ["m@0 made up"]
    assert found["noted"] == ["m@0 noted"]
    assert [one.partition(":")[0] for one in found["differs"]] == ["m@0 far", "m@0 lost", "m@0 new"]


@pytest.mark.filterwarnings("ignore:.*full backward hook.*:UserWarning")
def test_the_page_counts_and_names_what_was_found() -> None:
    row = {"name": "net", "date": "2026-01-01", **sweep(subject())}
    assert row["modes"]["train"]["hooks"]["equal"] == 10
    other = {**row, "modes": {"train": {**row["modes"]["train"], "differs": {"trace()": "moved"}}}}
    database = {"samples": 3, "raised": 1, "unsteady": 0, "differs": [], "date": "2026-01-01"}
    found = {
        "torchvision": {"net": row, "other": other, "gone": {"failed": "took too long", **row}},
        "torch": {"module nn.Linear": database},
    }
    page = table.page(found, f"old\n{table.SUITES}\n\nkept\n", {"timm": 7})
    assert "Not run yet: 7 of timm." in page
    assert "| torchvision | 3 | 5 | 4 | 0 | 0 |" in page
    assert "* torchvision `other`, train: DIFFERS trace(): moved" in page
    assert "* torchvision `gone`: failed: took too long" in page
    assert "| modules | 1 | 3 | 1 | 0 | 0 |" in page
    assert page.endswith("kept\n")
    assert len(page) < 100_000
