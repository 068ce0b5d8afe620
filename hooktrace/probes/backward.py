"""Backward runs, and the tensor hooks that fire in them.

Every ``backward()`` and ``autograd.grad()`` goes through ``_engine_run_backward``, which is derived
anew with an observation at its beginning and its end.  While the engine runs, spies stand in the
dictionaries of hooks on tensors and nodes; they are taken out when it returns.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from hooktrace import _torch, _torch_graph, _torch_sites
from hooktrace.callspies import StandIn
from hooktrace.events import BackwardFinished, BackwardStarted
from hooktrace.firing import describe_error
from hooktrace.hooktable import calling_line
from hooktrace.modified import note_modified
from hooktrace.patches import Patch, active
from hooktrace.placement import Placement
from hooktrace.recorder import Recorder
from hooktrace.tracebacks import unlink_own_frames
from hooktrace.writes import check_models

__all__ = ["patches"]


def patches() -> Iterator[Patch]:
    """Yield the process-wide patches of this probe."""
    yield Patch(_torch.ENGINE_OWNER, "_execution_engine", _Engine)
    for owner in _torch.RUN_OWNERS:
        yield Patch(owner, "_engine_run_backward", _observed_run)


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


class _Running(NamedTuple):
    """A backward run that has begun.

    Attributes:
        given: The engine's arguments by name.
        runs: Each trace that listens, the number of the run there, and the leaves it may reach.
        placement: The spies in the dictionaries of hooks.
    """

    given: dict[str, Any]
    runs: list[tuple[Recorder, int, list[torch.Tensor]]]
    placement: Placement


@functools.cache
def _observed_run(original: Any) -> Any:
    return _torch_sites.enclosed(original, begun=_begun, done=_done, failed=_failed)


def _begun(roots: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Running | None:
    recorders = active()
    if not recorders:
        return None
    given = dict(zip(_ARGUMENTS, (roots, *args), strict=False)) | kwargs
    runs = [(recorder, *_start(recorder, given)) for recorder in recorders]
    placement = Placement([(recorder, leaves) for recorder, _, leaves in runs])
    placement.__enter__()
    return _Running(given, runs, placement)


def _done(running: _Running | None, result: Any) -> Any:
    if running is not None:
        for recorder, number, _ in running.runs:
            _captured(recorder, number, running.given, result)
            _end(recorder, number, None)
        running.placement.__exit__()
    return result


def _failed(running: _Running | None, error: BaseException) -> None:
    if running is not None:
        for recorder, number, _ in running.runs:
            note_modified(recorder, number, running.given.get("tensors", ()), error)
            _end(recorder, number, describe_error(error))
        running.placement.__exit__()
        unlink_own_frames(error)


_ARGUMENTS = (
    "tensors",
    "grad_tensors",
    "keep_graph",
    "create_graph",
    "inputs",
    "allow_unreachable",
    "accumulate_grad",
)


_OPTIONS = {"retain_graph": "keep_graph", "create_graph": "create_graph", "inputs": "inputs"}


@_torch.unseen
def _start(recorder: Recorder, given: dict[str, Any]) -> tuple[int, list[torch.Tensor]]:
    """Begin a run; return its number and the leaves that it may reach."""
    number = recorder.backward = next(recorder.backwards)
    leaves: list[torch.Tensor] = []
    try:
        recorder.check_gradients()
        check_models(recorder)
        if recorder.on_step is not None:
            recorder.on_step(None)
        tensors = given.get("tensors", ())
        roots = tuple(
            recorder.observe(root, f"root[{index}]")
            for index, root in enumerate(tensors)
            if isinstance(root, torch.Tensor)
        )
        accumulates = bool(given.get("accumulate_grad"))
        options = tuple(one for one, name in _OPTIONS.items() if given.get(name))
        if any(_torch_graph.in_transform(root) for root in tensors):
            options = (*options, "transform")
        line = calling_line(sys._getframe(1))
        recorder.emit(BackwardStarted, number, roots, accumulates, options, line)
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
