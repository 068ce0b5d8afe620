"""The observer's oath: a traced run is bit for bit the run without the trace."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from observed import TRACED, alive, assert_same, run, run_with_trace
from zoo import PROGRAMS

HEAVY = {"alexnet", "resnet18", "export", "make_fx"}
EXPECTED: dict[str, Any] = {}


def untraced(name: str) -> Any:
    if name not in EXPECTED:
        run(PROGRAMS[name])  # what PyTorch warns of once per process
        EXPECTED[name] = run(PROGRAMS[name])
    return EXPECTED[name]


@pytest.mark.parametrize("tracing", TRACED)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_traced_program_cannot_be_told_from_an_untraced_one(name: str, tracing: str) -> None:
    if name in HEAVY and tracing not in ("everything", "the model kept"):
        pytest.skip("one of the heavy ones: traced in two ways only")
    expected = untraced(name)
    assert_same(run(PROGRAMS[name], TRACED[tracing]), expected)


@pytest.mark.parametrize("name", PROGRAMS)
def test_two_untraced_runs_cannot_be_told_apart(name: str) -> None:
    expected = untraced(name)
    assert_same(run(PROGRAMS[name]), expected)


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in HEAVY])
def test_a_trace_keeps_nothing_alive(name: str) -> None:
    run(PROGRAMS[name])  # what PyTorch itself caches on first use
    run(PROGRAMS[name], TRACED["everything"])
    before = alive()
    t = run_with_trace(PROGRAMS[name], TRACED["everything"])[1]
    edited = len(t.log.snapshots)  # copies of what hooks changed
    after = alive()
    after["tensor"] -= edited
    assert after == before, f"{t!r} keeps {after - before}"
    del t
    gc.collect()
