"""Spies for hooks that are called with plain arguments, as `hooktrace.kinds` describes them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType
from typing import Any

import torch
from torch import nn

from hooktrace import _torch, _torch_hooks, _torch_stores
from hooktrace.containers import Contents
from hooktrace.events import HookId, HookRegistered, HookRemoved
from hooktrace.firing import Firing
from hooktrace.hooktable import calling_line
from hooktrace.identity import leaves
from hooktrace.kinds import KINDS
from hooktrace.patches import active
from hooktrace.recorder import Recorder
from hooktrace.spies import Spy

__all__ = ["CallSpy", "StandIn", "spied"]

_GIVING = {
    "pack": "packed",
    "unpack": "tensor",
    "comm": "result",
    "function_backward": "grad_inputs",
}
"""Kinds whose result is something new, not a change of what they were given; what it is."""

_OWNED = {one.name for one in KINDS.values() if one.arguments[:1] in (("module",), ("optimizer",))}
"""Kinds that are called with what they hang on."""


class CallSpy(Spy):
    """Stands for a hook of one of the kinds in `hooktrace.kinds.KINDS`.

    Args:
        hook: The user's hook.
        kind: PyTorch's word for it.
        number: Its key in the dictionary that holds it, or another number under which the traces
            know it.
    """

    __slots__ = ("number",)

    def __init__(self, hook: Any, kind: str, number: int) -> None:
        super().__init__(hook, kind)
        self.number = number

    def called(self, arguments: tuple[Any, ...]) -> list[Any]:
        """Begin a firing for every trace that knows the hook."""
        firings: list[Any] = []
        if _torch.is_compiling():
            return firings
        kind = self.kind_of(arguments)
        owner = arguments[0] if kind in _OWNED else None
        with _torch.aside():
            for recorder in active():
                try:
                    row = self.row_in(recorder, owner)
                    if row is not None and (owner is None or recorder.hooks.concerns(owner)):
                        if kind != self.kind:
                            recorder.hooks.specify(row, kind)
                        seen = described(kind, arguments)
                        firings.append(Firing(recorder, row, seen, function=self.hook))
                except Exception:
                    recorder.failed(f"a {kind} hook")
        return firings

    def returned(self, firings: list[Any], result: Any, arguments: tuple[Any, ...]) -> None:
        """End the firings."""
        kind = self.kind_of(arguments)
        with _torch.aside():
            for firing in reversed(firings):
                try:
                    if kind == "tensor":  # these fire more often than any others
                        firing.returned(result, "grad")
                    else:
                        _record(firing, kind, result, arguments)
                except Exception:
                    firing.abandon()
                    firing.recorder.failed(f"what a {kind} hook did")

    def row_in(self, recorder: Recorder, owner: Any = None) -> HookId | None:
        """Return the row of the hook in the log of a trace, or None.

        Args:
            recorder: Of the trace.
            owner: The module or optimizer that it was called for, if it is called with one.
        """
        hook = _torch_hooks.registered(self.hook)
        return recorder.hooks.find(self.kind, self.number, hook, owner)

    def kind_of(self, arguments: tuple[Any, ...]) -> str:
        """Return the kind of the hook: of a node's hook only the number of arguments tells it."""
        return "node_pre" if self.kind == "node" and len(arguments) == 1 else self.kind


def spied(
    kind: str, hooks: dict[int, Any], owner: Any, spy: type[CallSpy] = CallSpy
) -> Iterator[Any]:
    """Yield what stands for the hooks in a dictionary, while PyTorch loops over it.

    Args:
        kind: Of which kind they are.
        hooks: The dictionary.
        owner: The module or optimizer that it belongs to, or a text.
        spy: What shall stand for each of them.
    """
    for number, hook in hooks.items():
        if active() and not _torch.is_compiling():
            _enter(kind, number, hook, owner)
            yield spy(hook, kind, number)
        else:
            yield hook


@_torch.unseen
def _enter(kind: str, number: int, hook: Any, owner: Any) -> None:
    """Make a row for a hook that is about to fire, for every trace that it belongs to."""
    function = _torch_hooks.registered(hook)
    for recorder in active():
        try:
            unknown = recorder.hooks.find(kind, number, function, owner) is None
            if unknown and recorder.hooks.concerns(owner):
                options = _torch_stores.saving_options(kind, hook)
                recorder.hooks.add(kind, number, function, owner, options=options)
        except Exception:
            recorder.failed(f"a {kind} hook")


class StandIn(CallSpy):
    """Stands for a hook that PyTorch takes without giving it a number.

    Args:
        hook: The user's hook.
        kind: PyTorch's word for it.
        owner: What it is registered for.
        frame: The innermost frame of the registration; None if it was registered before.
    """

    __slots__ = ("_line", "_owner", "_rows")

    def __init__(self, hook: Any, kind: str, owner: str, frame: FrameType | None) -> None:
        super().__init__(hook, kind, 0)
        self._owner = owner
        self._line = None if frame is None else calling_line(frame)
        self._rows: list[tuple[weakref.ref[Recorder], HookId]] = []
        for recorder in active():
            try:
                row = self.enter(recorder)
                if frame is not None:
                    recorder.emit(HookRegistered, row)
            except Exception:
                recorder.failed("the registration of a hook")

    def enter(self, recorder: Recorder) -> HookId:
        """Let a trace know the hook; return its row there."""
        row = recorder.hooks.add_alike(self.kind, self.hook, self._owner, self._line)
        self._rows.append((weakref.ref(recorder), row))
        return row

    def row_in(self, recorder: Recorder, owner: Any = None) -> HookId | None:
        """Return the row of the hook in the log of a trace, or None."""
        return next((row for ref, row in self._rows if ref() is recorder), None)

    def taken_away(self) -> None:
        """Note that the hook is registered no more."""
        for recorder in active():
            row = self.row_in(recorder)
            if row is not None:
                recorder.emit(HookRemoved, row)


def described(kind: str, arguments: tuple[Any, ...]) -> Iterable[tuple[str, Any]]:
    """Return roles and what stands for them: leaves, or the `Contents` of what may be edited.

    The module that a hook hangs on is left out, and of an optimizer the options of its groups are
    shown.
    """
    return (("grad", *arguments),) if kind == "tensor" else _described(kind, arguments)


def _described(kind: str, arguments: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    names = KINDS[kind].arguments
    for name, argument in zip(names[len(names) - len(arguments) :], arguments, strict=False):
        if name == "module":
            continue
        if name == "optimizer":
            for place, group in enumerate(argument.param_groups):
                role = f"param_groups[{place}]"
                yield role, Contents(role, group)
            continue
        if KINDS[kind].family == "state_dict" and isinstance(argument, (Mapping, list)):
            yield name, Contents(name, argument)
        elif name == "incompatible_keys":
            for field in argument._fields:
                yield field, Contents(field, getattr(argument, field))
        elif isinstance(argument, nn.Module) or name == "node":
            yield name, argument
        elif name == "bucket":
            yield name, argument.buffer()
        elif name == "param":
            yield name, argument
            yield "param.grad", _torch.gradient_of(argument)
        else:
            yield from leaves(argument, name)


def _record(firing: Firing, kind: str, result: Any, arguments: tuple[Any, ...]) -> None:
    role = KINDS[kind].replaces
    if kind == "post_accumulate_grad":
        firing.returned_and_assigned(_torch.gradient_of(arguments[0]))
    elif kind == "comm" and isinstance(result, torch.futures.Future) and result.done():
        value = result.value()
        firing.returned(value[0] if isinstance(value, list) else value, "bucket")
    elif kind in _GIVING:
        firing.gave(result, _GIVING[kind])
    elif role == "args, kwargs":
        pair = result if isinstance(result, tuple) and len(result) == 2 else (None, None)
        firing.returned_pair(*pair)
    elif role == "state_dict" and isinstance(result, Mapping):
        firing.exchanged(result, role)
    elif role or result is None:
        firing.returned(result, role)
    else:  # PyTorch does nothing with it
        firing.gave(result, "result")
