"""A log of so many firings of hooks, made without a model: for what must stay fast and small."""

from __future__ import annotations

import random
from functools import cache

from hooktrace.events import (
    CallId,
    HookFired,
    HookId,
    ModuleCalled,
    ModuleExited,
    ModuleId,
    TracedHook,
    TracedModule,
)
from hooktrace.log import EventLog

__all__ = ["long_log"]

_FIRINGS = 9  # within a call


@cache
def long_log(slices: int) -> EventLog:
    """Return a log of calls of one module, each with nine firings of hooks in it."""
    log = EventLog()
    log.modules.append(TracedModule(ModuleId(0), "", "Net"))
    for number in range(_FIRINGS):
        owner = "Net"
        log.hooks.append(
            TracedHook(HookId(number), "forward", owner, f"look{number}", "net.py:1", "net.py:2")
        )
    chance = random.Random(0)
    now = 0
    for call in range(slices // (_FIRINGS + 1)):
        log.rows.extend((ModuleCalled, (now, 0, CallId(call), ModuleId(0), None, ())))
        for number in range(_FIRINGS):
            took = chance.randrange(1_000, 3_000_000)
            log.rows.extend((HookFired, (now, 0, HookId(number), CallId(call), (), (), took, None)))
            now += took + chance.randrange(500, 5_000)
        log.rows.extend((ModuleExited, (now, 0, CallId(call), (), None)))
        now += chance.randrange(500, 5_000)
    return log
