"""An outermost call knows the statement that it is in; what it calls is below that."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

import hooktrace as ht
from hooktrace.events import ModuleCalled


def here() -> str:
    """Return ``file:line`` of the caller."""
    frame = sys._getframe(1)
    return f"{__file__}:{frame.f_lineno}"


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def lines(trace: ht.Trace) -> dict[str, str | None]:
    return {str(call): call.called.line for call in trace.calls()}


def test_the_line_is_that_of_each_outermost_call() -> None:
    model = Outer()
    with ht.trace(model) as t:
        first = here(), model(torch.ones(1, 2))
        second = here(), model(torch.ones(1, 2))
    assert lines(t) == {
        "Outer@0": first[0],
        "Outer@1": second[0],
        **{f"{name}@{step}": None for name in ("inner", "inner.0", "inner.1") for step in (0, 1)},
    }


def test_frames_of_pytorch_are_passed_over() -> None:
    part = nn.Linear(2, 2)
    whole = nn.Sequential(part)
    with ht.trace(part) as t:  # of which the sequence is no part
        place = here(), whole(torch.ones(1, 2))
    assert lines(t) == {"Linear@0": place[0]}


def test_a_file_and_a_table_have_it_too(tmp_path: Path) -> None:
    model = Outer()
    with ht.trace(model) as t:
        place = here(), model(torch.ones(1, 2))
    t.save(tmp_path / "run.hooktrace")
    loaded = ht.load(tmp_path / "run.hooktrace")
    assert loaded.of(ModuleCalled)[0].line == place[0]
    assert [row["line"] for row in loaded.rows("calls")] == [place[0], None, None, None]
