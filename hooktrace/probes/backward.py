"""Backward runs, and the tensor hooks that fire in them.

Every ``backward()`` and ``autograd.grad()`` goes through ``Variable._execution_engine``, where a
proxy stands while a trace is open.  While the engine runs, spies stand in the dictionaries of
tensor hooks and of the leaves' post-accumulate hooks; they are taken out when it returns.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from hooktrace import _torch
from hooktrace.events import BackwardFinished, BackwardStarted, GradientAccumulated, Observation
from hooktrace.firing import Firing, describe_error
from hooktrace.hooktable import TENSOR_HOOKS
from hooktrace.identity import SMALL
from hooktrace.patches import Patch, active
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

    def run_backward(self, *args: Any, **kwargs: Any) -> Any:
        recorders = active()
        if not recorders or _torch.is_compiling():
            return self._engine.run_backward(*args, **kwargs)
        given = dict(zip(_ARGUMENTS, args, strict=False)) | kwargs
        runs = [(recorder, _start(recorder, given)) for recorder in recorders]
        with _Spies(recorders):
            try:
                result = self._engine.run_backward(*args, **kwargs)
            except BaseException as error:
                for recorder, number in runs:
                    _end(recorder, number, describe_error(error))
                raise
            for recorder, number in runs:
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


def _start(recorder: Recorder, given: dict[str, Any]) -> int:
    number = recorder.backward = next(recorder.backwards)
    try:
        tensors = given.get("tensors", ())
        roots = tuple(
            recorder.observe(root, f"root[{index}]")
            for index, root in enumerate(tensors)
            if isinstance(root, torch.Tensor)
        )
        recorder.emit(BackwardStarted, number, roots, bool(given.get("accumulate_grad")))
        for listener in recorder.on_backward_start:
            listener(number, tensors)
    except Exception:
        recorder.failed("the beginning of a backward run")
    recorder.state().backwards.append(number)
    return number


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


# ------------------------------------------------------------------ spies


class _Spies:
    """Puts spies into the dictionaries of tensor hooks for the time of a backward run.

    Several runs may overlap, nested or on several threads: what is in place stays until the
    last of them ends.
    """

    _lock = threading.RLock()
    _running = 0
    _placed: dict[int, tuple[Any, dict[Any, Any]]] = {}  # id -> dictionary, key -> original
    _made: list[tuple[torch.Tensor, str]] = []  # leaves that had no dictionary of that name

    def __init__(self, recorders: Iterable[Recorder]) -> None:
        self.recorders = recorders

    def __enter__(self) -> None:
        with self._lock:
            _Spies._running += 1
            for recorder in self.recorders:
                try:
                    with _torch.hidden():
                        self._place(recorder)
                except Exception:
                    recorder.failed("tensor hooks")

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            _Spies._running -= 1
            if _Spies._running == 0:
                with _torch.hidden():
                    self._take_back()

    def _place(self, recorder: Recorder) -> None:
        for kind, hooks, owner in recorder.hooks.watched():
            self._replace(kind, hooks, owner)
        for _, parameter in recorder.scope.parameters():
            if parameter.requires_grad:
                self._place_leaf(parameter)
        for leaf in recorder.leaves():
            self._place_leaf(leaf)

    def _place_leaf(self, leaf: torch.Tensor) -> None:
        if _torch.is_wrapped(leaf):
            return
        entry = _Accumulated(leaf)
        self._insert(leaf, "post_accumulate_grad", entry, first=True)
        if leaf.grad is not None and leaf.numel() <= SMALL:
            self._insert(leaf, "tensor", entry.arrived, first=False)

    def _insert(self, leaf: torch.Tensor, kind: str, entry: Any, *, first: bool) -> None:
        attribute = TENSOR_HOOKS[kind]
        hooks = getattr(leaf, attribute)
        if hooks is None:
            hooks = OrderedDict()
            setattr(leaf, attribute, hooks)
            self._made.append((leaf, attribute))
        if _OURS not in hooks:
            self._replace(kind, hooks, leaf)
            hooks[_OURS] = entry
            hooks.move_to_end(_OURS, last=not first)

    def _replace(self, kind: str, hooks: Any, owner: torch.Tensor | None) -> None:
        _, originals = self._placed.setdefault(id(hooks), (hooks, {}))
        for number, function in tuple(hooks.items()):
            if number != _OURS and not isinstance(function, _TensorHookSpy):
                originals[number] = function
                hooks[number] = _TensorHookSpy(function, kind, number, owner)

    def _take_back(self) -> None:
        for hooks, originals in self._placed.values():
            hooks.pop(_OURS, None)
            for number, function in originals.items():
                spy = hooks.get(number)
                if isinstance(spy, _TensorHookSpy) and spy.hook is function:
                    hooks[number] = function
        for leaf, attribute in self._made:
            if not getattr(leaf, attribute):
                setattr(leaf, attribute, None)
        self._made.clear()
        self._placed.clear()


_OURS = "hooktrace"  # key of our own entry in a leaf's dictionary


class _TensorHookSpy:
    """Stands for a tensor hook or a post-accumulate hook while the engine runs.

    It has the ``__name__`` of what it stands for, which PyTorch quotes in error messages.
    """

    def __init__(self, hook: Any, kind: str, number: int, owner: torch.Tensor | None) -> None:
        functools.update_wrapper(self, hook)
        self.hook = hook
        self.kind = kind
        self.number = number
        self.owner = owner

    def __call__(self, argument: torch.Tensor) -> Any:
        firings = []
        for recorder in active():
            try:
                row = recorder.hooks.find(self.kind, self.number, self.hook)
                if row is None:
                    continue
                if self.kind == "tensor":
                    seen: list[tuple[str, Any]] = [("grad", argument)]
                else:
                    seen = [("param", argument), ("param.grad", argument.grad)]
                firings.append(Firing(recorder, row, seen))
            except Exception:
                recorder.failed(f"a {self.kind} hook")
        try:
            result = self.hook(argument)
        except BaseException as error:
            for firing in reversed(firings):
                firing.raised(error)
            raise
        for firing in reversed(firings):
            try:
                if self.kind == "tensor":
                    firing.returned(result, "grad")
                else:
                    firing.returned_and_assigned(argument.grad)
            except Exception:
                firing.recorder.failed(f"what a {self.kind} hook did")
        return result


class _Accumulated:
    """Our own entry in a leaf's post-accumulate hooks: notes what came into ``.grad``."""

    def __init__(self, leaf: torch.Tensor) -> None:
        gradient = leaf.grad
        self.before: dict[Recorder, Observation] = {}
        self.came: dict[Recorder, Observation] = {}
        if gradient is not None:
            for recorder in active():
                self.before[recorder] = recorder.observe(gradient, "before", quiet=True)

    def arrived(self, gradient: torch.Tensor) -> None:
        """Stand last among the leaf's tensor hooks: note what they let through."""
        for recorder in active():
            try:
                self.came[recorder] = recorder.observe(gradient, "arrived", quiet=True)
            except Exception:
                recorder.failed("the arrival of a gradient")

    def __call__(self, leaf: torch.Tensor) -> None:
        for recorder in active():
            try:
                gradient = leaf.grad
                if gradient is None:
                    continue
                after = recorder.observe(gradient, "after", quiet=True)
                before = self.before.get(recorder)
                arrived = self.came.pop(recorder, after if before is None else None)
                tensor = recorder.identities.name(leaf, "", leaf=True)
                number = recorder.current_backward()
                recorder.emit(GradientAccumulated, tensor, arrived, before, after, number)
                self.before[recorder] = after
            except Exception:
                recorder.failed("the accumulation of a gradient")
