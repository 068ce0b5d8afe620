"""Module calls: nested and numbered, found by name or pattern."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from hooktrace.errors import (
    AmbiguousCallError,
    UnknownNameError,
    nearest,
)
from hooktrace.events import (
    CallId,
    ForwardFinished,
    ForwardStarted,
    GradientComputed,
    HookFired,
    ModuleCalled,
    ModuleExited,
)
from hooktrace.log import EventLog
from hooktrace.views.call import Call

__all__ = ["Call", "CallIndex"]


class CallIndex:
    """All calls of a log, in order.  It reads on as the log grows."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.calls: dict[CallId, Call] = {}
        self._counts: dict[str, int] = {}
        self._read = 0

    def refresh(self) -> CallIndex:
        """Read the events that came since the last time."""
        events = self.log.events
        while self._read < len(events):
            self._take(events[self._read])
            self._read += 1
        return self

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self.calls.values()))

    def __len__(self) -> int:
        return len(self.calls)

    def count(self, name: str) -> int:
        """Return how many calls have this name."""
        return self._counts.get(name, 0)

    def roots(self) -> list[Call]:
        """Return the outermost calls."""
        return [call for call in self.calls.values() if call.parent is None]

    def matching(self, pattern: str) -> list[Call]:
        """Return the calls whose name, alias or ``name@number`` matches an fnmatch pattern."""
        return [
            call
            for call in self.calls.values()
            if any(fnmatchcase(name, pattern) for name in _names(call))
        ]

    def one(self, name: str) -> Call:
        """Return the call of this name.

        Args:
            name: ``features.0`` for a module that was called once, recomputations by
                checkpointing aside, else ``features.0@2``.

        Raises:
            UnknownNameError: No call has this name.
            AmbiguousCallError: Several have it; the message lists them.
        """
        found = [call for call in self.calls.values() if name in _names(call)]
        first = [call for call in found if not call.recomputed]
        if len(found) == 1 or len(first) == 1:
            return (first or found)[0]
        if found:
            labels = ", ".join(repr(str(call)) for call in found[:12])
            more = f" and {len(found) - 12} more" if len(found) > 12 else ""
            raise AmbiguousCallError(
                f"{name!r} was called {len(found)} times: {labels}{more}. Name one of them."
            )
        raise UnknownNameError(
            f"No call of a module named {name!r} was recorded.{self._hint(name)}"
        )

    def _hint(self, name: str) -> str:
        base = name.rpartition("@")[0] or name
        known = [call.name for call in self.calls.values()]
        times = known.count(base)
        if times:
            return f" It was called {times} time{'' if times == 1 else 's'}, counted from @0."
        if base in self.log.parts:
            return (
                " It is a part of the model that was never called (its parent may call its "
                "forward() directly, or use its weights), so its hooks could not fire."
            )
        return nearest(base, known)

    def _take(self, event: Any) -> None:
        if isinstance(event, ModuleCalled):
            row = self.log.modules[event.module]
            index = self._counts.get(row.label, 0)
            self._counts[row.label] = index + 1
            parent = self.calls.get(event.parent) if event.parent is not None else None
            call = self.calls[event.call] = Call(self.log, event, index, parent)
            if parent is not None:
                parent.children.append(call)
            first, _ = self.log.recomputed.get(event.call, (None, -1))
            if first is not None:
                call.first = self.calls[first]
                call.first.recomputations.append(call)
            return
        number = getattr(event, "call", None)
        found = self.calls.get(number) if number is not None else None
        if found is None:
            return
        found.events.append(event)
        if isinstance(event, HookFired):
            found.hooks.append(event)
        elif isinstance(event, ModuleExited):
            found.exited = event
        elif isinstance(event, ForwardStarted):
            found.forward_started = event
        elif isinstance(event, ForwardFinished):
            found.forward_finished = event
        elif isinstance(event, GradientComputed):
            found.gradients.append(event)


def _names(call: Call) -> Iterator[str]:
    for name in {call.name, call.module.name, *call.module.aliases}:
        yield name
        yield f"{name}@{call.index}"
