"""Backward runs, and the tensor hooks that fire in them.

Every ``backward()`` and ``autograd.grad()`` goes through ``Variable._execution_engine``, where a
proxy stands while a trace is open.  While the engine runs, spies stand in the dictionaries of
tensor hooks and of the leaves' post-accumulate hooks; they are taken out when it returns.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch

from hooktrace import _torch
from hooktrace.callspies import StandIn
from hooktrace.events import BackwardFinished, BackwardStarted
from hooktrace.firing import describe_error
from hooktrace.patches import Patch, active
from hooktrace.placement import Placement
from hooktrace.recorder import Recorder

__all__ = ["patches"]


def patches() -> Iterator[Patch]:
    """Yield the process-wide patches of this probe."""
    yield Patch(_torch.ENGINE_OWNER, "_execution_engine", _Engine)


class _Engine:
    """Stands for PyTorch's autograd engine and passes everything on to it."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def queue_callback(self, callback: Any) -> None:
        if active() and not _torch.is_compiling():
            frame = sys._getframe(1)
            callback = StandIn(callback, "queue_callback", "the running backward", frame)
        self._engine.queue_callback(callback)

    def run_backward(self, *args: Any, **kwargs: Any) -> Any:
        recorders = active()
        if not recorders or _torch.is_compiling():
            return self._engine.run_backward(*args, **kwargs)
        given = dict(zip(_ARGUMENTS, args, strict=False)) | kwargs
        runs = [(recorder, *_start(recorder, given)) for recorder in recorders]
        with Placement([(recorder, leaves) for recorder, _, leaves in runs]):
            try:
                result = self._engine.run_backward(*args, **kwargs)
            except BaseException as error:
                for recorder, number, _ in runs:
                    _end(recorder, number, describe_error(error))
                raise
            for recorder, number, _ in runs:
                _captured(recorder, number, given, result)
                _end(recorder, number, None)
            return result


_ARGUMENTS = (
    "tensors",
    "grad_tensors",
    "keep_graph",
    "create_graph",
    "inputs",
    "allow_unreachable",
    "accumulate_grad",
)


@_torch.unseen
def _start(recorder: Recorder, given: dict[str, Any]) -> tuple[int, list[torch.Tensor]]:
    """Begin a run; return its number and the leaves that it may reach."""
    number = recorder.backward = next(recorder.backwards)
    leaves: list[torch.Tensor] = []
    try:
        recorder.check_gradients()
        tensors = given.get("tensors", ())
        roots = tuple(
            recorder.observe(root, f"root[{index}]")
            for index, root in enumerate(tensors)
            if isinstance(root, torch.Tensor)
        )
        accumulates = bool(given.get("accumulate_grad"))
        recorder.emit(BackwardStarted, number, roots, accumulates)
        for listener in recorder.on_backward_start:
            leaves += listener(number, tensors, accumulates)
    except Exception:
        recorder.failed("the beginning of a backward run")
    recorder.state().backwards.append(number)
    return number, leaves


@_torch.unseen
def _captured(recorder: Recorder, number: int, given: dict[str, Any], result: Any) -> None:
    """Tell the gradients that ``autograd.grad`` returned, whose nodes do not run."""
    if given.get("accumulate_grad") or not isinstance(result, tuple):
        return
    try:
        for listener in recorder.on_captured:
            listener(number, list(zip(given.get("inputs", ()), result, strict=False)))
    except Exception:
        recorder.failed("the gradients that autograd.grad returned")


@_torch.unseen
def _end(recorder: Recorder, number: int, error: str | None) -> None:
    backwards = recorder.state().backwards
    if number in backwards:
        backwards.remove(number)
    try:
        for listener in recorder.on_backward_end:
            listener(number)
        recorder.emit(BackwardFinished, number, error)
    except Exception:
        recorder.failed("the end of a backward run")
