"""Spies in the dictionaries of hooks on tensors and nodes, for the time of a backward run.

Also our own entries in the hooks of leaves, which note what came into ``.grad``.  Leaves that have
neither hooks nor a gradient are left alone: see `hooktrace.leaves`.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from types import CellType
from typing import Any, ClassVar

import torch

from hooktrace import _torch, _torch_hooks
from hooktrace.callspies import CallSpy
from hooktrace.events import GradientAccumulated, Observation
from hooktrace.identity import SMALL
from hooktrace.patches import active
from hooktrace.recorder import Recorder
from hooktrace.spies import Spy, user_hook

__all__ = ["Placement"]


class Placement:
    """Puts spies into the dictionaries that C++ walks, for the time of a backward run.

    Several runs may overlap, nested or on several threads: what is in place stays until the
    last of them ends.
    """

    _lock = threading.RLock()
    _running = 0
    _placed: ClassVar[
        dict[int, tuple[Any, dict[Any, Any]]]
    ] = {}  # id -> dictionary, key -> original
    _made: ClassVar[
        list[tuple[torch.Tensor, str]]
    ] = []  # leaves that had no dictionary of that name
    _cells: ClassVar[list[CellType]] = []  # where multi-grad hooks look up the user's function

    def __init__(self, runs: list[tuple[Recorder, list[torch.Tensor]]]) -> None:
        self.runs = runs

    @_torch.unseen
    def __enter__(self) -> None:
        with self._lock:
            Placement._running += 1
            for recorder, leaves in self.runs:
                try:
                    self._place(recorder, leaves)
                    recorder.on_fired[:] = [functools.partial(self._place_fresh, recorder)]
                except Exception:
                    recorder.failed("tensor hooks")

    @_torch.unseen
    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            Placement._running -= 1
            if Placement._running == 0:
                self._take_back()
                for recorder, _ in self.runs:
                    recorder.on_fired.clear()

    def _place(self, recorder: Recorder, leaves: list[torch.Tensor]) -> None:
        for leaf in leaves:
            if _torch_hooks.has_hooks(leaf):
                recorder.watch_leaf(leaf, "")
        self._place_all(recorder)
        for leaf in leaves:
            entry = _Accumulated(leaf)
            self._insert(leaf, "post_accumulate_grad", entry, first=True)
            if entry.before and leaf.numel() <= SMALL:
                self._insert(leaf, "tensor", entry.arrived, first=False)

    def _place_fresh(self, recorder: Recorder) -> None:
        """Put spies where a hook that fired has registered others."""
        if recorder.hooks.fresh:
            self._place_all(recorder)

    def _place_all(self, recorder: Recorder) -> None:
        """Put spies where there are none yet."""
        with self._lock:
            recorder.hooks.fresh = False
            for kind, hooks in recorder.hooks.watched():
                self._replace(kind, hooks)

    def _insert(self, leaf: torch.Tensor, kind: str, entry: Any, *, first: bool) -> None:
        attribute = _torch_hooks.TENSOR_HOOKS[kind]
        hooks = getattr(leaf, attribute)
        if hooks is None:
            hooks = OrderedDict()
            hooks[_OURS] = entry
            setattr(leaf, attribute, hooks)
            self._made.append((leaf, attribute))
        elif _OURS not in hooks:
            self._replace(kind, hooks)
            others = tuple(hooks.items()) if first else ()
            if first:  # C++ walks the plain dictionary, whose order move_to_end does not change
                hooks.clear()
            hooks[_OURS] = entry
            hooks.update(others)

    def _replace(self, kind: str, hooks: Any) -> None:
        _, originals = self._placed.setdefault(id(hooks), (hooks, {}))
        for number, function in tuple(hooks.items()):
            if not isinstance(number, int) or isinstance(function, Spy):
                continue
            several = _torch_hooks.multi_grad(function) if kind == "tensor" else None
            if several is not None:
                self._replace_in_cell(several, number)
            elif kind != "node" or not _torch_hooks.is_internal(function):
                originals[number] = function
                hooks[number] = CallSpy(function, kind, number)

    def _replace_in_cell(self, several: _torch_hooks.MultiGrad, number: int) -> None:
        """Let a spy stand where the parts of a multi-grad hook look up the user's function."""
        if not isinstance(several.function, Spy):
            several.cell.cell_contents = CallSpy(several.function, "multi_grad", number)
            self._cells.append(several.cell)

    def _take_back(self) -> None:
        for hooks, originals in self._placed.values():
            hooks.pop(_OURS, None)
            for number, function in originals.items():
                spy = hooks.get(number)
                if isinstance(spy, CallSpy) and spy.hook is function:
                    hooks[number] = function
        for cell in self._cells:
            cell.cell_contents = user_hook(cell.cell_contents)
        self._cells.clear()
        for leaf, attribute in self._made:
            hooks = getattr(leaf, attribute)
            if hooks is not None:
                hooks.pop(_OURS, None)
                if not hooks:
                    setattr(leaf, attribute, None)
        self._made.clear()
        self._placed.clear()


_OURS = "hooktrace"  # key of our own entry in a leaf's dictionary


class _Accumulated:
    """Our own entry in a leaf's post-accumulate hooks: notes what came into ``.grad``.

    Attributes:
        before: Per recorder, what ``.grad`` held when the run began; empty if nothing.
        came: Per recorder, what the tensor hooks let through.
    """

    __slots__ = ("before", "came")

    def __init__(self, leaf: torch.Tensor) -> None:
        gradient = _torch.gradient_of(leaf)
        self.before: dict[Recorder, Observation] = {}
        self.came: dict[Recorder, Observation] = {}
        if gradient is not None:
            for recorder in active():
                self.before[recorder] = recorder.observe(gradient, ".grad", quiet=True)

    @_torch.unseen
    def arrived(self, gradient: torch.Tensor) -> None:
        """Stand last among the leaf's tensor hooks: note what they let through."""
        for recorder in active():
            try:
                self.came[recorder] = recorder.observe(gradient, "grad", quiet=True)
            except Exception:
                recorder.failed("the arrival of a gradient")

    @_torch.unseen
    def __call__(self, leaf: torch.Tensor) -> None:
        gradient = _torch.gradient_of(leaf)
        if gradient is None:
            return
        for recorder in active():
            try:
                state = recorder.state()
                after, seen = recorder.sight(state, gradient, ".grad", True)
                before = self.before.get(recorder)
                arrived = after if before is None else self.came.pop(recorder, None)
                tensor = recorder.leaf(leaf)
                number = state.backwards[-1] if state.backwards else recorder.backward
                recorder.log.accumulated[tensor] = seen.ref
                now = recorder.clock()
                fields = now, state.number, tensor, arrived, before, after, number
                recorder.write((GradientAccumulated, fields))
                self.before[recorder] = after
            except Exception:
                recorder.failed("the accumulation of a gradient")
