"""Warnings of hooktrace are shown at the user's line, not at one of hooktrace or PyTorch."""

from __future__ import annotations

import inspect
import warnings

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.errors import BlankMapWarning, NothingTracedWarning, ProbeFailedWarning
from hooktrace.recorder import Recorder


def line_of(words: str) -> int:
    """Return the number of the line in this file that ends with a comment."""
    lines = inspect.getsource(inspect.getmodule(line_of)).splitlines()  # type: ignore[arg-type]
    return next(at for at, line in enumerate(lines, 1) if line.endswith(f"# {words}"))


def shown(caught: pytest.WarningsRecorder, kind: type[Warning]) -> tuple[str, int]:
    (place,) = {(one.filename, one.lineno) for one in caught if issubclass(one.category, kind)}
    return place


def test_that_nothing_ran_is_warned_of_where_the_block_is() -> None:
    with pytest.warns(NothingTracedWarning) as caught, ht.trace(nn.ReLU()):  # block
        nn.Tanh()(torch.ones(1))
    assert shown(caught, NothingTracedWarning) == (__file__, line_of("block"))


def test_a_pattern_that_matches_nothing_is_warned_of_where_the_block_is() -> None:
    with pytest.warns(NothingTracedWarning) as caught, ht.trace(keep="nothing*"):  # pattern
        nn.Tanh()(torch.ones(1))
    assert shown(caught, NothingTracedWarning) == (__file__, line_of("pattern"))


def test_a_blank_map_is_warned_of_where_it_was_asked_for() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(16, 2))
    nn.init.zeros_(net[2].weight)
    with pytest.warns(BlankMapWarning) as caught:
        ht.explain(net, torch.ones(1, 1, 6, 6), target=0, layer="0")  # map
    assert shown(caught, BlankMapWarning) == (__file__, line_of("map"))


def test_a_failed_probe_is_warned_of_where_the_model_was_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LookupError("broken on purpose")

    monkeypatch.setenv("HOOKTRACE_STRICT", "0")
    monkeypatch.setattr(Recorder, "sight", broken)
    net = nn.Sequential(nn.Linear(2, 2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with ht.trace(net):
            net(torch.ones(1, 2))  # call
    (one,) = [one for one in caught if issubclass(one.category, ProbeFailedWarning)]
    assert (one.filename, one.lineno) == (__file__, line_of("call"))
