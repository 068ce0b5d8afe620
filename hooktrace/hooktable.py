"""The hooks that a trace knows: what each is, where it came from, and where it is stored."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any

import msgspec
import torch
from torch import nn

from hooktrace import _torch_hooks
from hooktrace.events import HookId, ModuleId, NodeId, TensorId, TracedHook
from hooktrace.features import feature_of
from hooktrace.hookfacts import HookFacts, defined_at, function_name
from hooktrace.identity import Identities
from hooktrace.kinds import KINDS
from hooktrace.log import EventLog
from hooktrace.optimizers import Optimizers
from hooktrace.scope import Scope
from hooktrace.spies import user_hook

__all__ = ["HookTable", "caller_frame", "calling_line"]

_HERE = __file__.rpartition("/")[0] + "/"
_PROGRAMS = f"{_HERE}demo/assets/"  # which count as the user's
_WRAPPERS = ("/typing_extensions.py", "/warnings.py", "/contextlib.py", "/functools.py")


class HookTable:
    """Finds the row of a hook by its kind, the number in its dictionary, and its function.

    The number alone would not do: after unpickling, PyTorch gives the same number twice.

    Attributes:
        fresh: Whether a dictionary was remembered that may hold hooks without a spy.
    """

    def __init__(self, log: EventLog, scope: Scope, identities: Identities) -> None:
        self.log = log
        self.scope = scope
        self.identities = identities
        self.optimizers = Optimizers(scope)
        self.facts = HookFacts(log)
        self._numbering = threading.Lock()
        self._rows: dict[tuple[str, int, int], HookId] = {}
        self._copies: dict[tuple[HookId, ModuleId | None], HookId] = {}  # on copies of modules
        self._dicts: dict[int, tuple[weakref.ref[Any], str]] = {}
        self.fresh = False
        self._groups: dict[int, tuple[HookId, weakref.ref[Any]]] = {}  # of hooks on several tensors
        self._members: dict[HookId, dict[int, TensorId]] = {}
        self._alike: dict[Any, HookId] = {}
        self._removed: set[HookId] = set()
        self.unplaced: set[HookId] = set()  # hooks on autograd nodes, of which not known which

    def concerns(self, owner: Any) -> bool:
        """Whether hooks on a module or optimizer belong to the trace; all others do."""
        if isinstance(owner, nn.Module):
            return self.scope.everything or self.scope.known(owner) is not None
        if isinstance(owner, torch.optim.Optimizer):
            return self.optimizers.belongs(owner)
        return True

    def gets_gradients(self, row: HookId) -> bool:
        """Whether a hook is given gradients."""
        return KINDS[self.log.hooks[row].kind].gradient

    def find(self, kind: str, number: int, function: Any, owner: Any = None) -> HookId | None:
        """Return the row of a hook, or None if the trace does not know it.

        Args:
            kind: PyTorch's word for it.
            number: Its key in the dictionary that holds it.
            function: What the user registered.
            owner: The module whose dictionary that is, if it is a module's: a copied module has
                hooks of the same numbers and functions as the original.
        """
        row = self._rows.get((kind, number, id(function)))
        if row is None or not isinstance(owner, nn.Module):
            return row
        module = self.log.hooks[row].module
        if module is None:
            self._place(row, owner)
        if module is None or module == self.scope.known(owner):
            return row
        return self._copies.get((row, self.scope.known(owner)))

    def _place(self, row: HookId, module: nn.Module) -> None:
        """Note the module of a hook that was registered before the trace knew it."""
        if self.log.hooks[row].owner != "every module" and self.scope.known(module) is not None:
            self._replace(row, module=self.scope.known(module), owner=self.scope.name_of(module))
            self.facts.placed(row)

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
            owner: The module, tensor or optimizer that it is registered on, or a text for
                whatever else; None for a global module hook.
        """
        known = self.find(kind, number, function, owner)
        if known is not None:
            return known
        first = self.find(kind, number, function)
        if first is not None:
            row = self._append(kind, function, owner, registered_at, options, number)
            self._copies[first, self.log.hooks[row].module] = row
            return row
        several = _torch_hooks.multi_grad(function) if kind == "tensor" else None
        if several is not None:
            row = self._of_several(several, function, number, owner, registered_at)
            self._rows["multi_grad", number, id(user_hook(several.function))] = row
        else:
            row = self._append(kind, function, owner, registered_at, options, number)
        self._rows[kind, number, id(function)] = row
        return row

    def add_alike(self, kind: str, function: Any, owner: str, line: str | None) -> HookId:
        """Return the row of what is registered anew in each step of a loop: one row for all."""
        key = (kind, function_name(function), defined_at(function), owner, line)
        row = self._alike.get(key)
        if row is None:
            row = self._alike[key] = self._append(kind, function, owner, line, ())
        return row

    def _append(
        self,
        kind: str,
        function: Any,
        owner: Any,
        line: str | None,
        options: tuple[str, ...],
        number: int = -1,
    ) -> HookId:
        module = self.scope.known(owner) if isinstance(owner, nn.Module) else None
        tensor = self.identities.seen(owner).id if isinstance(owner, torch.Tensor) else None
        what = (
            kind,
            self._owner_name(owner),
            function_name(function),
            defined_at(function),
            line,
            module,
            tensor,
            options,
            feature_of(function),
        )
        with self._numbering:  # threads may register hooks at the same time
            row = HookId(len(self.log.hooks))
            self.log.hooks.append(TracedHook(row, *what))
        self.facts.add(row, -1 if kind == "retain_grad" else number, function)  # it has no handle
        return row

    def _of_several(
        self, several: _torch_hooks.MultiGrad, part: Any, number: int, owner: Any, line: str | None
    ) -> HookId:
        """Return the row of a multi-grad hook, of which `part` is the one on one tensor.

        The parts share a cell, whose address is not used again as long as the first one lives.
        """
        row, first = self._groups.get(id(several.cell), (None, None))
        if row is None or first is None or first() is None:
            row = self._append("multi_grad", user_hook(several.function), "", line, (several.mode,))
            self._groups[id(several.cell)] = row, weakref.ref(part)
            self._members[row] = {}
        self._members[row][number] = self.identities.seen(owner).id
        self._rename(row, self._names(row))
        return row

    def find_any(self, number: int, function: Any) -> HookId | None:
        """Return the row of a hook of whatever kind."""
        for kind in KINDS:
            row = self.find(kind, number, function)
            if row is not None:
                return row
        return None

    def removed(self, row: HookId) -> bool:
        """Note that a hook was removed; return whether that is news."""
        news = row not in self._removed
        self._removed.add(row)
        return news

    def specify(self, row: HookId, kind: str) -> None:
        """Note of which kind a hook is, now that it has shown itself."""
        self._replace(row, kind=kind)

    def found_on(self, row: HookId, kind: str, owner: str, node: NodeId) -> None:
        """Note on which autograd node a hook was found, and of which kind it is."""
        if self.log.hooks[row].node is None:
            self._replace(row, kind=kind, owner=owner, node=node)

    def watch(self, kind: str, hooks: Any) -> None:
        """Remember a dictionary of hooks that C++ walks, without keeping it alive."""
        self.fresh = True
        self._dicts[id(hooks)] = (weakref.ref(hooks), kind)

    def watched(self) -> Iterator[tuple[str, Any]]:
        """Yield kind and dictionary of the hooks on tensors and nodes that still live."""
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
                self._rename(row.id, self.log.tensors[row.tensor].name)
            elif row.id in self._members:
                self._rename(row.id, self._names(row.id))

    def forget(self) -> None:
        """Drop what refers to the traced program."""
        for held in (
            self._rows,
            self._copies,
            self._dicts,
            self._groups,
            self._members,
            self._alike,
        ):
            held.clear()
        self.optimizers.forget()
        self.facts.forget()

    def _names(self, row: HookId) -> str:
        members = [tensor for _, tensor in sorted(self._members[row].items())]
        names = [self.log.tensors[one].name or f"tensor t{one}" for one in members]
        return ", ".join(names)

    def _rename(self, row: HookId, owner: str) -> None:
        if owner and owner != self.log.hooks[row].owner:
            self._replace(row, owner=owner)

    def _replace(self, row: HookId, **changes: Any) -> None:
        self.log.hooks[row] = msgspec.structs.replace(self.log.hooks[row], **changes)

    def _owner_name(self, owner: Any) -> str:
        if owner is None:
            return "every module"
        if isinstance(owner, str):
            return owner
        if isinstance(owner, nn.Module):
            return self.scope.name_of(owner)
        if isinstance(owner, torch.optim.Optimizer):
            return self.optimizers.name(owner)
        seen = self.identities.seen(owner)
        return self.log.tensors[seen.id].name or f"tensor t{seen.id}"


def calling_line(frame: FrameType | None) -> str | None:
    """Return ``file:line`` of the innermost frame that is neither PyTorch's nor hooktrace's.

    Nor is it one of Python's own wrappers, such as what warns of a deprecated function.
    """
    while frame is not None:
        file = frame.f_code.co_filename
        between = _own(file) or file.startswith("<frozen") or file.endswith(_WRAPPERS)
        if not (between or _torch_hooks.torch_file(file)):
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def _own(file: str) -> bool:
    return file.startswith(_HERE) and not file.startswith(_PROGRAMS)


def caller_frame(depth: int = 1) -> FrameType | None:
    """Return the innermost frame outside of hooktrace and contextlib."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None and (
        _own(frame.f_code.co_filename) or frame.f_code.co_filename.endswith("/contextlib.py")
    ):
        frame = frame.f_back
    return frame
