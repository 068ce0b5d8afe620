"""Every program of the zoo, traced with everything kept: for what must hold of any trace."""

from __future__ import annotations

from functools import cache
from typing import Any

from observed import run_with_trace
from zoo import PROGRAMS

import hooktrace as ht

LIGHT = [name for name in PROGRAMS if name not in ("alexnet", "resnet18", "export", "make_fx")]


@cache
def trace_of(name: str) -> ht.Trace:
    """Return the trace of a program; also if its step raised."""
    entered: list[ht.Trace] = []

    def enter(models: Any) -> ht.Trace:
        entered.append(ht.trace(keep=True))
        return entered[-1]

    run_with_trace(PROGRAMS[name], enter)
    return entered[-1]
