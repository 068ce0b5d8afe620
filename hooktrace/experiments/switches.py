"""Hooks that are switched off for one run: taken out of their dictionaries, later put back.

PyTorch is then in the very state as if they had not been registered: no entry, so no identity
nodes around a module and no slow path because of them.  Those that the program registers while it
runs are known by their registration, and taken out as soon as they are in a dictionary.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from hooktrace import _torch, _torch_hooks, _torch_state
from hooktrace.hookfacts import defined_at, function_name
from hooktrace.hooktable import calling_line
from hooktrace.patches import Patch
from hooktrace.recorder import Recorder
from hooktrace.spiedhooks import stored
from hooktrace.spies import user_hook

__all__ = ["Registrations", "Signature", "Sites"]

_DEEP = 6  # frames between PyTorch's registering function and ours


class Signature(NamedTuple):
    """What a registration has in common with the same one in another run.

    Attributes:
        kind: PyTorch's word for it; of hooks on nodes ``node``.
        name, defined_at: Of the function.
        line: Where it is registered.
    """

    kind: str
    name: str
    defined_at: str
    line: str | None


Sites = dict[Signature, set[int]]
"""Registrations: which of those with one signature, counted from 0."""


class Registrations:
    """Sees every registration of a hook, and takes out those that are not wanted.

    Enter `sensor` before a trace begins, so that the trace's own sensor is above it; then
    `attend` to the trace.

    Args:
        unwanted: Those to take out.
    """

    def __init__(self, unwanted: Sites) -> None:
        self.unwanted = unwanted
        self.made: list[tuple[Signature, int, int, Any]] = []
        """Signature, its count, number and function of each registration, in order."""
        self._counts: Counter[Signature] = Counter()
        self._group: Any = None  # the cell that the parts of one multi-grad hook share
        self._pending: list[tuple[Any, int]] = []

    # -------------------------------------------------------------- while the program runs

    def sensor(self) -> Patch:
        """Return the patch that sees registrations."""
        return Patch(_torch_hooks.HANDLE, "__init__", self._sensing)

    def attend(self, recorder: Recorder) -> list[Patch]:
        """Take out what is pending whenever the trace records something, and before it is saved.

        A trace records what is about to look for hooks: a call, a backward run, a step.

        Returns:
            Patches to install after those of the trace.
        """
        write = recorder.write

        def write_after_sweep(row: Any) -> None:
            self.sweep()
            write(row)

        recorder.write = write_after_sweep
        return [
            *(Patch(owner, name, self._sweeping) for owner, name in _torch_state.registrars()),
            *(Patch(owner, name, self._swept) for owner, name in _torch_state.SAVING),
        ]

    def sweep(self) -> None:
        """Take out the unwanted hooks that are in their dictionaries by now."""
        waiting, self._pending = self._pending, []
        for hooks, number in waiting:
            if hooks.pop(number, None) is None:  # the registering function has not come so far
                self._pending.append((hooks, number))

    def _sensing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def __init__(handle: Any, hooks_dict: Any, *, extra_dict: Any = None) -> None:
            original(handle, hooks_dict, extra_dict=extra_dict)
            if not _torch.is_compiling():
                self.sweep()
                self._registered(handle.id, stored(hooks_dict), sys._getframe(1))

        return __init__

    def _sweeping(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def register(*args: Any, **kwargs: Any) -> Any:
            handle = original(*args, **kwargs)
            self.sweep()
            return handle

        return register

    def _swept(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def save_or_load(*args: Any, **kwargs: Any) -> Any:
            self.sweep()
            return original(*args, **kwargs)

        return save_or_load

    def _registered(self, number: int, hooks: Any, frame: FrameType | None) -> None:
        for _ in range(_DEEP):
            if frame is None or frame.f_code in _torch_hooks.REGISTRATIONS:
                break
            frame = frame.f_back
        found = None if frame is None else _torch_hooks.registration(frame)
        if found is None:
            return
        kind, _, function, _ = found
        several = _torch_hooks.multi_grad(function) if kind == "tensor" else None
        known = function if several is None else user_hook(several.function)
        part = several is not None and several.cell is self._group
        signature = Signature(
            kind if several is None else "multi_grad",
            function_name(known),
            defined_at(known),
            calling_line(frame),
        )
        self._group = None if several is None else several.cell
        count = self._counts[signature] - part
        self._counts[signature] = count + 1
        self.made.append((signature, count, number, known))
        if count in self.unwanted.get(signature, ()):
            self._pending.append((hooks, number))
