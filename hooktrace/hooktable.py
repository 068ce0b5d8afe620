"""The hooks that a trace knows: what each is, where it came from, and where it is stored."""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn

from hooktrace import _torch_hooks
from hooktrace.events import HookId, TracedHook
from hooktrace.identity import Identities
from hooktrace.log import EventLog
from hooktrace.scope import Scope

__all__ = [
    "KINDS",
    "HookTable",
    "caller_frame",
    "calling_line",
    "defined_at",
    "function_name",
]

_HERE = __file__.rpartition("/")[0] + "/"


KINDS = (
    "forward_pre",
    "forward",
    "full_backward_pre",
    "full_backward",
    "backward",
    "tensor",
    "post_accumulate_grad",
)
"""The kinds of hooks that are seen, by PyTorch's own words; ``backward`` is the legacy one."""


class HookTable:
    """Finds the row of a hook by its kind, the number in its dictionary, and its function.

    The number alone would not do: after unpickling, PyTorch gives the same number twice.
    """

    def __init__(self, log: EventLog, scope: Scope, identities: Identities) -> None:
        self.log = log
        self.scope = scope
        self.identities = identities
        self._rows: dict[tuple[str, int, int], HookId] = {}
        self._dicts: dict[int, tuple[weakref.ref[Any], str]] = {}

    def find(self, kind: str, number: int, function: Any) -> HookId | None:
        """Return the row of a hook, or None if the trace does not know it."""
        return self._rows.get((kind, number, id(function)))

    def add(
        self,
        kind: str,
        number: int,
        function: Any,
        owner: Any,
        *,
        registered_at: str | None = None,
        options: tuple[str, ...] = (),
    ) -> HookId:
        """Return the row of a hook, making one if need be.

        Args:
            kind: PyTorch's word for it.
            number: Its key in the dictionary that holds it.
            function: What the user registered.
            owner: The module or tensor that it is registered on; None for a global one.
        """
        known = self.find(kind, number, function)
        if known is not None:
            return known
        row = HookId(len(self.log.hooks))
        module = self.scope.known(owner) if isinstance(owner, nn.Module) else None
        tensor = self.identities.seen(owner).id if isinstance(owner, torch.Tensor) else None
        self.log.hooks.append(
            TracedHook(
                row,
                kind,
                self._owner_name(owner),
                function_name(function),
                defined_at(function),
                registered_at,
                module,
                tensor,
                options,
            )
        )
        self._rows[kind, number, id(function)] = row
        return row

    def find_any(self, number: int, function: Any) -> HookId | None:
        """Return the row of a hook of whatever kind."""
        for kind in KINDS:
            row = self.find(kind, number, function)
            if row is not None:
                return row
        return None

    def watch(self, kind: str, hooks: Any) -> None:
        """Remember a tensor's dictionary of hooks, without keeping it alive."""
        self._dicts[id(hooks)] = (weakref.ref(hooks), kind)

    def watched(self) -> Iterator[tuple[str, Any]]:
        """Yield kind and dictionary of the tensor hooks that still live."""
        for key, (ref, kind) in tuple(self._dicts.items()):
            hooks = ref()
            if hooks is None:
                del self._dicts[key]
            else:
                yield kind, hooks

    def rename_owners(self) -> None:
        """Take over the names that tensors have got since their hooks were registered."""
        for row in self.log.hooks:
            if row.tensor is not None:
                name = self.log.tensors[row.tensor].name
                if name and name != row.owner:
                    fields = {field: getattr(row, field) for field in row.__struct_fields__}
                    self.log.hooks[row.id] = TracedHook(**{**fields, "owner": name})

    def forget(self) -> None:
        """Drop what refers to the traced program."""
        self._rows.clear()
        self._dicts.clear()

    def _owner_name(self, owner: Any) -> str:
        if owner is None:
            return "every module"
        if isinstance(owner, nn.Module):
            return self.scope.name_of(owner)
        seen = self.identities.seen(owner)
        return self.log.tensors[seen.id].name or f"tensor t{seen.id}"


def _code_of(function: Any) -> CodeType | None:
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        code = getattr(vars(type(function)).get("__call__"), "__code__", None)
    return code if isinstance(code, CodeType) else None


def function_name(function: Any) -> str:
    """Return the name of a hook's function as its author would say it."""
    if isinstance(function, functools.partial):
        return f"partial({function_name(function.func)})"
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).rpartition("<locals>.")[2]


def defined_at(function: Any) -> str:
    """Return ``file:line`` of a hook's function; empty for builtins."""
    code = _code_of(function)
    return "" if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def calling_line(frame: FrameType | None) -> str | None:
    """Return ``file:line`` of the innermost frame that is neither PyTorch's nor hooktrace's."""
    while frame is not None:
        file = frame.f_code.co_filename
        if not (_torch_hooks.torch_file(file) or file.startswith((_HERE, "<frozen"))):
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def caller_frame(depth: int = 1) -> FrameType | None:
    """Return the innermost frame outside of hooktrace and contextlib."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None and (
        frame.f_code.co_filename.startswith(_HERE)
        or frame.f_code.co_filename.endswith("/contextlib.py")
    ):
        frame = frame.f_back
    return frame
