"""Leaving out whole calls of a model: nothing in them is recorded, and nothing is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hooktrace import patches
from hooktrace.opencall import OpenCall
from hooktrace.recorder import Recorder

__all__ = ["leave_out"]


def leave_out(recorder: Recorder, unwanted: Callable[[], bool]) -> None:
    """Record of an outermost call only that it began and ended, where `unwanted` says so then.

    While it runs, the recorder hears nothing, on any thread.
    """
    left: list[OpenCall] = []

    def begun(call: OpenCall, _state: Any) -> None:
        if call.parent is None and not left and unwanted():
            left.append(call)
            recorder.kept_calls.discard(call.number)
            patches.pause(recorder)

    def ended(call: OpenCall, _state: Any, _found: Any) -> None:
        if left and left[0] is call:
            left.clear()
            patches.resume(recorder)

    recorder.on_open.append(begun)
    recorder.on_close.append(ended)
