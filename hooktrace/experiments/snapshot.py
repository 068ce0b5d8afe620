"""The state that a program runs from: taken down, and put back bit for bit.

Everything is put back *in place*: the same tensors, dictionaries and lists as before hold what
they held, and version counters say so, so that a graph which was made before is still good.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from hooktrace import _torch, _torch_graph, _torch_state
from hooktrace.errors import UnsupportedModuleError
from hooktrace.spiedhooks import stored

__all__ = ["Snapshot"]

_OBJECTS = (nn.Module, Optimizer, LRScheduler, GradScaler)
"""Objects that are looked into wherever they are found."""


class Snapshot:
    """What some things hold now, with all that they are made of.

    Taken down are the attributes of modules, optimizers, schedulers and scalers, the dictionaries,
    lists, sets and tensors in them, with gradients and hooks; what was given itself, of whatever
    class; the hooks on all modules and all optimizers; the states of generators of random
    numbers; whether autograd records.

    Args:
        things: Where to begin.

    Raises:
        UnsupportedModuleError: A parameter has no size yet.
    """

    def __init__(self, things: Iterable[Any]) -> None:
        self._seen: dict[int, Any] = {}
        self._containers: list[tuple[Any, Any]] = []
        self._tensors: list[_Held] = []
        self._generators: list[tuple[torch.Generator, torch.Tensor]] = []
        self._flag = _torch_state.global_backward_flag()
        self._grad = torch.is_grad_enabled()
        with torch.no_grad():
            for thing in things:
                if hasattr(thing, "__dict__") and not isinstance(thing, torch.Tensor):
                    self._visit(vars(thing))
                self._visit(thing)
            for hooks in _torch_state.every_dictionary():
                self._visit(stored(hooks))
        self._random = list(_generators())

    def tensors(self) -> list[torch.Tensor]:
        """Return the tensors that were found, gradients among them."""
        return [one.tensor for one in self._tensors]

    def restore(self) -> None:
        """Put everything back."""
        torch.set_grad_enabled(self._grad)
        with torch.no_grad():
            for container, content in self._containers:
                _refill(container, content)
            for held in self._tensors:
                held.restore()
        for generator, state in self._generators:
            generator.set_state(state)
        for put, state in self._random:
            put(state)
        _torch_state.restore_global_backward_flag(self._flag)

    def _visit(self, thing: Any) -> None:
        if id(thing) in self._seen:
            return
        if isinstance(thing, torch.Tensor):
            self._seen[id(thing)] = thing
            self._hold(thing)
        elif isinstance(thing, (dict, list, set, deque)):
            self._seen[id(thing)] = thing
            copy: Any = dict(thing) if isinstance(thing, dict) else list(thing)
            self._containers.append((thing, copy))
            if isinstance(thing, dict):
                self._all(thing.keys())
            self._all(thing.values() if isinstance(thing, dict) else thing)
        elif isinstance(thing, tuple):
            self._all(thing)
        elif isinstance(thing, _OBJECTS):
            self._visit(vars(thing))
        elif isinstance(thing, torch.Generator):
            self._generators.append((thing, thing.get_state()))

    def _all(self, things: Iterable[Any]) -> None:
        for one in tuple(things):
            self._visit(one)

    def _hold(self, tensor: torch.Tensor) -> None:
        if nn.parameter.is_lazy(tensor):
            raise UnsupportedModuleError(
                "A parameter in state= has no size yet, and could not be put back as it is. Run "
                "the model once before."
            )
        gradient = _torch.gradient_of(tensor) if tensor.is_leaf else None
        if gradient is not None:
            self._visit(gradient)
        self._tensors.append(_Held(tensor, gradient))


class _Held:
    """One tensor: what it holds, and what hangs on it if it is a leaf."""

    def __init__(self, tensor: torch.Tensor, gradient: torch.Tensor | None) -> None:
        self.tensor = tensor
        self.alias = tensor.data
        self.copy = None if tensor.is_meta else tensor.detach().clone()
        self.version = _torch.version_of(tensor)
        self.requires_grad = tensor.requires_grad
        self.gradient = gradient
        self.hooks = {
            name: (hooks, dict(hooks or {}))
            for name, hooks in (_torch_state.tensor_hooks(tensor) if tensor.is_leaf else {}).items()
        }
        self.node_hooks = {id(hooks): (hooks, dict(hooks)) for hooks in _node_hooks(tensor)}

    def restore(self) -> None:
        self._restore_content()
        if not self.tensor.is_leaf:
            return
        if self.tensor.requires_grad != self.requires_grad:
            self.tensor.requires_grad_(self.requires_grad)
        if _torch.gradient_of(self.tensor) is not self.gradient:
            self.tensor.grad = self.gradient
        for name, (hooks, content) in self.hooks.items():
            _torch_state.give_hooks(self.tensor, name, hooks)
            if hooks is not None:
                _refill(hooks, content)
        for hooks in _node_hooks(self.tensor):
            _refill(hooks, self.node_hooks.get(id(hooks), (hooks, {}))[1])
        for hooks, content in self.node_hooks.values():
            _refill(hooks, content)

    def _restore_content(self) -> None:
        tensor = self.tensor
        if not _torch_state.same_storage(tensor, self.alias):
            tensor.data = self.alias
        if self.copy is None:
            return
        if tensor.is_inference():
            with torch.inference_mode():
                tensor.copy_(self.copy)
        elif _torch.version_of(tensor) != self.version or not _same(tensor, self.copy):
            tensor.detach().copy_(self.copy)
            if self.version is not None:
                _torch_state.set_version(tensor, self.version)


def _same(tensor: torch.Tensor, copy: torch.Tensor) -> bool:
    return tensor.layout is torch.strided and torch.equal(tensor, copy)


def _node_hooks(leaf: torch.Tensor) -> list[Any]:
    """Return the dictionaries of hooks on the node that accumulates the gradient of a leaf."""
    if not (leaf.is_leaf and leaf.requires_grad):
        return []
    nodes = [_torch_graph.node_of(leaf)]
    return [hooks for _, _, hooks in _torch_graph.hooks_of_nodes(nodes)]


def _refill(container: Any, content: Any) -> None:
    """Let a container hold the very things again, in the same order."""
    if _identities(container) == _identities(content):
        return
    container.clear()
    if isinstance(container, (dict, set)):
        container.update(content)
    else:
        container.extend(content)


def _identities(container: Any) -> list[Any]:
    if isinstance(container, dict):
        return [(id(key), id(value)) for key, value in container.items()]
    if isinstance(container, set):
        return sorted(map(id, container))
    return list(map(id, container))


def _generators() -> Iterable[tuple[Callable[[Any], Any], Any]]:
    """Yield, for each global generator of random numbers, what sets its state, and that."""
    yield torch.set_rng_state, torch.get_rng_state()
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        yield torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()
    yield random.setstate, random.getstate()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        yield numpy.random.set_state, numpy.random.get_state()
