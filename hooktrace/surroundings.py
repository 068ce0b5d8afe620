"""In what a traced program runs."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime

import torch

import hooktrace
from hooktrace.origins import Surroundings

__all__ = ["surroundings"]


def surroundings() -> Surroundings:
    """Return versions and settings as they are now, without a look at any device."""
    machine = os.uname().machine if hasattr(os, "uname") else ""
    settings = {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "default dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "anomaly detection": torch.is_anomaly_enabled(),
    }
    return Surroundings(
        hooktrace.__version__,
        str(torch.__version__),
        sys.version.partition(" ")[0],
        f"{sys.platform} {machine}".strip(),
        datetime.now(UTC).isoformat(timespec="seconds"),
        seed=torch.initial_seed(),
        settings=tuple((name, str(value)) for name, value in settings.items()),
        epoch_ns=_epoch_ns(),
    )


def _epoch_ns(tries: int = 3) -> int:
    """Return how far the wall clock is ahead of the clock of events, from the quickest of looks."""
    found = []
    for _ in range(tries):
        before, wall, after = time.perf_counter_ns(), time.time_ns(), time.perf_counter_ns()
        found.append((after - before, wall - (before + after) // 2))
    return min(found)[1]
