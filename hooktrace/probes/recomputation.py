"""Calls that checkpointing runs again in a backward run, and which call each repeats.

PyTorch keeps an object for every checkpointed region, and it is on the stack whenever the region
runs.  The calls of a region are counted the first time; when it runs again, they come in the
same order.
"""

from __future__ import annotations

import sys
from types import CodeType, FrameType
from typing import Any
from weakref import ref

from hooktrace._torch_checkpoint import differentiable, region_possible, regions_around
from hooktrace.events import CallId, ModuleId
from hooktrace.opencall import Leaf, OpenCall
from hooktrace.recorder import Recorder
from hooktrace.threadstate import ThreadState

__all__ = ["Recomputations"]


class _Passage:
    """One run through a checkpointed region.

    Attributes:
        calls: Of the region: what was called in it the first time.
        again: Whether this is a later time.
        backward: Number of the backward run, if it is.
        outer: The passage around it.
        position: How many calls have come by.
    """

    def __init__(
        self,
        calls: list[tuple[CallId, ModuleId]],
        again: bool,
        backward: int,
        outer: _Passage | None,
    ) -> None:
        self.calls = calls
        self.again = again
        self.backward = backward
        self.outer = outer
        self.position = 0

    def take(self, call: CallId, module: ModuleId) -> CallId | None:
        """Count a call; return the one that it repeats, if that is known."""
        if not self.again:
            self.calls.append((call, module))
            return None
        place, self.position = self.position, self.position + 1
        if place < len(self.calls) and self.calls[place][1] == module:
            return self.calls[place][0]
        return None


class Recomputations:
    """Finds the calls of one trace that repeat others.

    Args:
        recorder: Whose log it fills.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._regions: dict[int, tuple[Any, list[tuple[CallId, ModuleId]]]] = {}
        self._passages: dict[tuple[int, bool, int], tuple[Any, _Passage]] = {}
        self._open: dict[CallId, _Passage] = {}
        self._caller: CodeType | None = None
        recorder.on_open.append(self.call_opened)
        recorder.on_close.append(self.call_closed)

    def call_opened(self, call: OpenCall, state: ThreadState) -> None:
        """Note in which region a call is, and what it repeats."""
        around = None
        if self._open and call.parent is not None:
            around = self._open.get(call.parent.number)
        if around is None and not region_possible():
            return
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code is not self._caller:
            if not frame.f_globals.get("__name__", "").startswith("hooktrace."):
                self._caller = frame.f_code  # the first that is not ours is Module.__call__
                break
            frame = frame.f_back
        if frame is None:
            return
        found = regions_around(frame.f_back, frame.f_code, call.parent is None)
        if found or self.recorder.log.reentrant:
            self._note_reentrant(call, [region for region, again in found if not again])
        for region, again in reversed(found):
            around = self._passage(region, again, state, around)
        if around is None:
            return
        passage = self._open[call.number] = around
        inner: _Passage | None = passage
        while inner is not None:
            first = inner.take(call.number, call.module)  # type: ignore[arg-type]
            if inner.again:
                while first in self.recorder.log.recomputed:
                    first = self.recorder.log.recomputed[first][0]
                self.recorder.log.recomputed[call.number] = first, inner.backward
            inner = inner.outer

    def _note_reentrant(self, call: OpenCall, regions: list[Any]) -> None:
        """Note that a call is in a reentrant region, and whether gradients can come into that."""
        known = self.recorder.log.reentrant
        outer = None if call.parent is None else known.get(call.parent.number)
        told = [outer, *(differentiable(region) for region in reversed(regions))]
        answer = next((one for one in told if one is not None), None)
        if answer is not None:
            known[call.number] = answer

    def call_closed(self, call: OpenCall, state: ThreadState, found: list[Leaf]) -> None:
        """Let go of a call."""
        if self._open:
            self._open.pop(call.number, None)

    def _passage(
        self, region: Any, again: bool, state: ThreadState, outer: _Passage | None
    ) -> _Passage:
        run = (state.backwards[-1] if state.backwards else self.recorder.backward) if again else -1
        key = id(region), again, run
        known = self._passages.get(key)
        if known is not None and known[0]() is region:
            return known[1]
        there = self._regions.get(id(region))
        if there is None or there[0]() is not region:
            there = self._regions[id(region)] = ref(region), []
        passage = _Passage(there[1], again, run, outer)
        self._passages[key] = ref(region), passage
        return passage
