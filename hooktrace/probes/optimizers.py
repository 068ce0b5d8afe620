"""Steps of optimizers with their hooks, and steps of learning rate schedulers.

The wrapper that PyTorch puts around every optimizer's ``step`` calls ``chain`` twice, for the
hooks before and after; a ``chain`` of ours sees both.  A scheduler's ``step`` is derived anew from
its source, with an observation at its beginning and its end.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
import threading
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch.optim import Optimizer

from hooktrace import _torch, _torch_sites, _torch_stores
from hooktrace.callspies import CallSpy, spied
from hooktrace.events import SchedulerStepped, StepFinished, StepStarted, TensorId
from hooktrace.firing import describe_error
from hooktrace.hooktable import calling_line
from hooktrace.patches import Patch, active
from hooktrace.recorder import Recorder

__all__ = ["begin", "finish", "patches"]


def patches() -> Iterator[Patch]:
    """Yield the process-wide patches of this probe."""
    yield Patch(_torch_stores.STEP_OWNER, "chain", _spying_chain)
    for kind in _torch_stores.schedulers():
        yield Patch(kind, "step", _observed_step)


def begin(recorder: Recorder) -> None:
    """Make rows for the global hooks that are there already."""
    for kind, hooks in _torch_stores.step_hooks().items():
        for number, function in hooks.items():
            recorder.hooks.add(kind, number, function, "every optimizer")


def finish(recorder: Recorder) -> None:
    """Close the steps that raised."""
    for steps in _open.pop(recorder, {}).values():
        _raised(recorder, steps, 0)


# ------------------------------------------------------------------ optimizers


class _Step(NamedTuple):
    """A step of an optimizer that has begun.

    Attributes:
        number: Its number within the trace.
        optimizer: The optimizer's name.
        versions: Version of each parameter when it began, by id.
    """

    number: int
    optimizer: str
    versions: dict[int, int | None]


_Steps = dict[int, list[_Step]]  # of each thread, outermost first
_open: weakref.WeakKeyDictionary[Recorder, _Steps] = weakref.WeakKeyDictionary()


def _spying_chain(original: Any) -> Any:
    def chain(*iterables: Any) -> Iterator[Any]:
        if not active() or _torch.is_compiling():
            return original(*iterables)  # type: ignore[no-any-return]
        optimizer, after = _torch_stores.step_of(sys._getframe(1))
        if optimizer is None:
            return original(*iterables)  # type: ignore[no-any-return]
        return _hooks_after(optimizer) if after else _hooks_before(optimizer, sys._getframe(1))

    chain.from_iterable = original.from_iterable  # type: ignore[attr-defined]
    return chain


def _hooks_before(optimizer: Optimizer, frame: FrameType) -> Iterator[Any]:
    for recorder in active():
        _begin(recorder, optimizer, frame)
    return _hooks("optimizer_step_pre", optimizer)


def _hooks_after(optimizer: Optimizer) -> Iterator[Any]:
    for recorder in active():
        _note_writes(recorder, optimizer)
    yield from _hooks("optimizer_step_post", optimizer)
    for recorder in active():
        _end(recorder, optimizer)


def _hooks(kind: str, optimizer: Optimizer) -> Iterator[Any]:
    """Yield what stands for the hooks around a step: before it the global ones come first."""
    own_hooks = getattr(optimizer, _torch_stores.OPTIMIZER_HOOKS[kind])
    own = spied(kind, own_hooks, optimizer, _StepSpy)
    everywhere = spied(kind, _torch_stores.step_hooks()[kind], "every optimizer", _StepSpy)
    before = kind == "optimizer_step_pre"
    yield from itertools.chain(*((everywhere, own) if before else (own, everywhere)))


class _StepSpy(CallSpy):
    """Stands for a hook around a step: what it writes to parameters and gradients is its own."""

    __slots__ = ()

    @_torch.unseen
    def returned(self, firings: list[Any], result: Any, arguments: tuple[Any, ...]) -> None:
        for firing in reversed(firings):
            _note_writes(firing.recorder, arguments[0])
        super().returned(firings, result, arguments)


@_torch.unseen
def _begin(recorder: Recorder, optimizer: Optimizer, frame: FrameType) -> None:
    try:
        if recorder.hooks.concerns(optimizer):
            _note_writes(recorder, optimizer)
            versions = {id(one): _torch.version_of(one) for one in _parameters(optimizer)}
            name = recorder.hooks.optimizers.name(optimizer)
            step = _Step(len(recorder.hooks.optimizers.steps), name, versions)
            recorder.hooks.optimizers.steps.append(name)
            steps = _open.setdefault(recorder, {}).setdefault(recorder.state().number, [])
            if steps:
                _raised(recorder, steps, _torch_stores.steps_around(frame))
            steps.append(step)
            if len(recorder.log.optimized.get(name, ())) != len(versions):
                own = tuple(recorder.leaf(one) for one in _parameters(optimizer))
                recorder.log.optimized[name] = own
            recorder.emit(StepStarted, step.number, name, calling_line(frame))
    except Exception:
        recorder.failed("the beginning of an optimizer's step")


def _raised(recorder: Recorder, steps: list[_Step], running: int) -> None:
    """Close the steps that are open and run no more: they raised."""
    while len(steps) > running:
        _close(recorder, steps.pop(), (), recorder.log.error or "an exception")


@_torch.unseen
def _note_writes(recorder: Recorder, optimizer: Optimizer) -> None:
    """Note what was written to until now, such as by the step before its post-hooks."""
    try:
        if recorder.hooks.concerns(optimizer):
            state = recorder.state()
            recorder.check_gradients()
            for parameter in _parameters(optimizer):
                seen = recorder.identities.known(parameter)
                if seen is not None:
                    recorder.check(state, parameter, seen)
    except Exception:
        recorder.failed("what an optimizer's step wrote")


@_torch.unseen
def _end(recorder: Recorder, optimizer: Optimizer) -> None:
    """Close the step, and those inside it that raised."""
    try:
        if not recorder.hooks.concerns(optimizer):
            return
        steps = _open.get(recorder, {}).get(recorder.state().number, [])
        name = recorder.hooks.optimizers.name(optimizer)
        if not any(one.optimizer == name for one in steps):
            return
        while steps[-1].optimizer != name:
            _raised(recorder, steps, len(steps) - 1)
        step = steps.pop()
        written = [one for one in _parameters(optimizer) if _is_written(one, step)]
        frozen = tuple(recorder.leaf(one) for one in written if not one.requires_grad)
        _close(recorder, step, tuple(recorder.leaf(one) for one in written), None, frozen)
    except Exception:
        recorder.failed("the end of an optimizer's step")


def _close(
    recorder: Recorder,
    step: _Step,
    written: tuple[TensorId, ...],
    error: str | None,
    frozen: tuple[TensorId, ...] = (),
) -> None:
    recorder.emit(StepFinished, step.number, step.optimizer, written, error, frozen)


def _is_written(parameter: torch.Tensor, step: _Step) -> bool:
    missing = object()
    return _torch.version_of(parameter) != step.versions.get(id(parameter), missing)


def _parameters(optimizer: Optimizer) -> Iterator[torch.Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]


# ------------------------------------------------------------------ schedulers


class _Schedule(NamedTuple):
    """A scheduler's step that has begun: for whom it is recorded, and the rates before."""

    scheduler: Any
    recorders: list[Recorder]
    rates: tuple[float, ...]


_running = threading.local()  # .schedules: the schedulers' steps that are open, outermost first


@functools.cache
def _observed_step(original: Any) -> Any:
    return _torch_sites.enclosed(
        original, begun=_schedule_begun, done=_schedule_done, failed=_schedule_failed
    )


@_torch.unseen
def _schedule_begun(scheduler: Any, *arguments: Any) -> _Schedule | None:
    recorders = list(active())
    running = _running.__dict__.setdefault("schedules", [])
    if not recorders or any(one.scheduler is scheduler for one in running):
        return None  # of a step that calls the one of its base class, the outer one counts
    schedule = _Schedule(scheduler, recorders, _rates(scheduler))
    running.append(schedule)
    return schedule


def _schedule_done(schedule: _Schedule | None, result: Any) -> Any:
    if schedule is not None:
        _schedule_ended(schedule, None)
    return result


def _schedule_failed(schedule: _Schedule | None, error: BaseException) -> None:
    if schedule is not None:
        _schedule_ended(schedule, describe_error(error))


@_torch.unseen
def _schedule_ended(schedule: _Schedule, error: str | None) -> None:
    _running.schedules.remove(schedule)
    optimizer = getattr(schedule.scheduler, "optimizer", None)
    for recorder in schedule.recorders:
        try:
            if isinstance(optimizer, Optimizer) and recorder.hooks.concerns(optimizer):
                kind = type(schedule.scheduler).__name__
                name = recorder.hooks.optimizers.name(optimizer)
                rates = _rates(schedule.scheduler)
                recorder.emit(SchedulerStepped, kind, name, schedule.rates, rates, error)
        except Exception:
            recorder.failed("a scheduler's step")


def _rates(scheduler: Any) -> tuple[float, ...]:
    """Return the learning rates of the groups; NaN for one on a device that it would stop."""
    groups = getattr(getattr(scheduler, "optimizer", None), "param_groups", ())
    rates = [group.get("lr", math.nan) for group in groups]
    on_device = [isinstance(one, torch.Tensor) and one.device.type != "cpu" for one in rates]
    return tuple(
        math.nan if away else float(one) for one, away in zip(rates, on_device, strict=True)
    )
