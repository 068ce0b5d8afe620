"""What optimizers are called in a trace, and which belong to it."""

from __future__ import annotations

import weakref
from typing import Any

import torch

from hooktrace.scope import Scope

__all__ = ["Optimizers"]


class Optimizers:
    """The optimizers of a trace: those that update a parameter of a traced model.

    Without models every optimizer belongs to it.

    Args:
        scope: The modules of the trace.

    Attributes:
        steps: For each step, the name of the optimizer that took it.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.steps: list[str] = []
        self._names: dict[int, tuple[weakref.ref[Any], str]] = {}
        self._outside: dict[int, weakref.ref[Any]] = {}

    def name(self, optimizer: torch.optim.Optimizer) -> str:
        """Return the class of an optimizer, with a number where there are several of it."""
        known = self._names.get(id(optimizer))
        if known is not None and known[0]() is optimizer:
            return known[1]
        kind = type(optimizer).__name__
        taken = {name for _, name in self._names.values()}
        name = kind
        while name in taken:
            name = f"{kind}-{len(taken) + 1}" if name == kind else f"{name}'"
        self._names[id(optimizer)] = (weakref.ref(optimizer), name)
        return name

    def belongs(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether an optimizer belongs to the trace."""
        if self.scope.everything:
            return True
        known = self._names.get(id(optimizer))
        if known is not None and known[0]() is optimizer:
            return True
        outside = self._outside.get(id(optimizer))
        if outside is not None and outside() is optimizer:
            return False
        traced = {id(parameter) for _, parameter in self.scope.parameters()}
        own = (one for group in optimizer.param_groups for one in group["params"])
        if any(id(one) in traced for one in own):
            return True
        self._outside[id(optimizer)] = weakref.ref(optimizer)
        return False

    def forget(self) -> None:
        """Drop what refers to the traced program."""
        self._names.clear()
        self._outside.clear()
