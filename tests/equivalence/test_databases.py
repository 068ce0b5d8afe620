"""PyTorch's own databases of modules, optimizers and operators: a sample of the sweep over them."""

from __future__ import annotations

import pytest

pytest.importorskip("expecttest")  # which PyTorch's databases import

from sweep import databases

NAMES = databases.names()
EVERY = {"module": 1, "optimizer": 1, "function": 1, "operator": 12}
SAMPLES = {"module": 2, "optimizer": 3, "function": 2, "operator": 2}


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.filterwarnings("ignore")
def test_samples_of_pytorchs_databases_run_as_without_a_trace(kind: str) -> None:
    names = [name for name in NAMES if name.startswith(kind)][:: EVERY[kind]]
    assert len(names) >= 10
    samples = 0
    for name in names:
        row = databases.sweep_entry(name, SAMPLES[kind])
        assert row["differs"] == [], name
        assert row["unsteady"] == 0, name
        samples += row["samples"] - row["raised"]
    assert samples >= len(names)
