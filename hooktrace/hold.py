"""One tensor that a hook stored: what is remembered of it, weakly, until the block ends."""

from __future__ import annotations

import dis
import functools
import weakref
from types import CodeType, FunctionType, MethodType
from typing import Any

import torch

from hooktrace import _torch
from hooktrace.events import Change, HookId, Value
from hooktrace.identity import Identities, Seen
from hooktrace.looks import Looks
from hooktrace.measure import difference
from hooktrace.reach import Place, Reach
from hooktrace.spies import user_hook

__all__ = ["Hold", "code_of", "may_store"]


class Hold:
    """What is remembered of one stored tensor.

    Args:
        identities: Of the trace.
        firing: In which `Firing` it was stored.
        place: Where it was found.
        found: Role, tensor and entry of what the hook was given and it shares memory with.

    Attributes:
        hook: Row of the hook, and `started` its firing, by ``time_ns``.
        function: Returns the hook, as long as it lives, and `owner` the module it hangs on.
        role: Where the hook had the tensor from.
        entry: Of the stored tensor, with `version` at the end of the firing.
        source: Of the tensor that the hook was given: its entry and its version then.
        copy: Of the content, if it is small.
        path: Where it was found last.
        doubt: Why it is not sure that it was stored then; empty if it is.
        told: What was found out while it was certain to be there.
    """

    __slots__ = (
        "copy",
        "doubt",
        "entry",
        "function",
        "hook",
        "owner",
        "path",
        "role",
        "source",
        "started",
        "told",
        "version",
    )

    def __init__(self, identities: Identities, firing: Any, place: Place, found: Any) -> None:
        role, thing, seen = found
        tensor = place.tensor
        self.hook: HookId = firing.hook
        self.started: int = firing.started
        self.role: str = role
        self.function, self.owner = _weak(firing.function), _weak(firing.owner)
        self.entry = identities.seen(tensor)
        self.version = Value(self.entry.id, _torch.version_of(tensor))
        self.source: tuple[Seen, int | None] = seen, _torch.version_of(thing)
        self.copy: torch.Tensor | None = None
        self.path = place.path
        self.doubt = ""
        self.told: tuple[Value, Change | None] | None = None

    def rewritten(self, tensor: torch.Tensor) -> bool:
        """Whether the counter of the tensor, or of what it was made from, has gone up."""
        source, version = self.source
        given = source.ref()
        return _torch.version_of(tensor) != self.version.version or (
            given is not None and _torch.version_of(given) != version
        )

    def now(self, tensor: torch.Tensor) -> tuple[Value, Change | None]:
        """Return the tensor as it is, and how it differs from its copy; None if that is not known.

        On a device other than the CPU nothing is compared, for that would synchronise it.
        """
        value = Value(self.entry.id, _torch.version_of(tensor))
        change = None
        if self.copy is not None and tensor.device.type == "cpu":
            with _torch.hidden():
                change = difference(self.copy, tensor.detach())
        source, version = self.source
        if value == self.version:  # one that ``.data`` returned has a counter of its own
            given = source.ref()
            now = version if given is None else _torch.version_of(given)
            value = value if now == version else Value(value.tensor, now)
        elif self.entry is not source and source.value.version == value.version:
            self.entry.value = value  # the write was noted, of the tensor that the hook was given
        return value, change

    def is_there(self, tensor: torch.Tensor, reach: Reach) -> bool | None:
        """Whether the hook still holds a tensor; None if the hook is gone.

        What is not the very tensor that the hook was given, the hook made; if it lives, then
        where it was stored.

        Args:
            tensor: The tensor.
            reach: What looks for it: a `Reach` where nothing changes any more, so that one look
                will do for all tensors.
        """
        function = self.function()
        if function is None:
            return True if self.entry is not self.source[0] else None
        if isinstance(reach, Looks):
            paths = reach.paths_of(tensor, function, self.owner())
        else:
            paths = reach.paths(function, self.owner()).get(id(tensor), [])
        if paths and self.path not in paths:
            self.path = paths[0]
        return bool(paths)


def _weak(thing: Any) -> Any:
    """Return what returns a function as long as it lives; of a method, what it is bound to."""
    try:
        return weakref.WeakMethod(thing) if type(thing) is MethodType else weakref.ref(thing)
    except TypeError:
        return _nothing


def _nothing() -> None:
    """Stand for a reference to what takes none."""


def code_of(function: Any) -> Any:
    """Return what tells whether two functions do the same."""
    if type(function) is functools.partial:
        return code_of(function.func)
    function = function.__func__ if type(function) is MethodType else function
    return function.__code__ if type(function) is FunctionType else type(function)


_STORING = ("CALL", "PRECALL", "STORE_ATTR", "STORE_SUBSCR", "STORE_GLOBAL", "STORE_DEREF", "YIELD")


def may_store(function: Any) -> bool:
    """Whether a function may store what it is given: it calls something, or assigns to a place.

    Operators, but for those like ``+=``, are taken not to store their operands.
    """
    function = user_hook(function)
    return type(function) is not FunctionType or _storing(function.__code__)


def _storing(code: CodeType) -> bool:
    return any(
        one.opname.startswith(_STORING) or (one.opname == "BINARY_OP" and one.argrepr.endswith("="))
        for one in dis.get_instructions(code)
    )
