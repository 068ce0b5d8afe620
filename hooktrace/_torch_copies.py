"""The seam: copies of models without some of their hooks, and PyTorch's state around a run."""

from __future__ import annotations

import contextlib
import copy
import random
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.modules.module as torch_module
from torch import Tensor, nn

from hooktrace._torch_hooks import global_hooks, is_compiled, registered
from hooktrace._torch_stores import MODULE_HOOKS

__all__ = ["copied", "eager", "fresh", "lean_copy", "same_randomness", "without_global_hooks"]

_DICTIONARIES = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_backward_pre_hooks",
    "_backward_hooks",
    *MODULE_HOOKS.values(),
)


def copied(model: nn.Module, keeps: Callable[[str, Any], bool]) -> nn.Module:
    """Return a deep copy of a model that has only some of its hooks.

    Args:
        model: The model; nothing of it is touched.
        keeps: Takes the name of the attribute that holds a hook, and the hook.
    """
    memo: dict[int, Any] = {}
    pairs = []
    for module in model.modules():
        for name in _DICTIONARIES:
            hooks = getattr(module, name)
            new: Any = OrderedDict()
            memo[id(hooks)] = new
            pairs.append((name, hooks, new))
    made = copy.deepcopy(model, memo)
    for name, hooks, new in pairs:
        for number, hook in hooks.items():
            if keeps(name, registered(hook)):
                new[number] = copy.deepcopy(hook, memo)
    return made


def lean_copy(model: nn.Module) -> nn.Module:
    """Return a deep copy of a model that shares its parameters."""
    shared = (one for one in model.parameters() if not nn.parameter.is_lazy(one))
    return copy.deepcopy(model, {id(one): one for one in shared})


def fresh(tensor: Tensor) -> Tensor:
    """Return a copy that is a leaf, or no leaf, as the tensor is."""
    with torch.enable_grad():
        if tensor.is_leaf:
            return copy.deepcopy(tensor)
        return tensor.detach().clone().requires_grad_().clone()


@contextlib.contextmanager
def without_global_hooks() -> Iterator[None]:
    """Set aside the hooks that are registered for every module."""
    held = [(hooks, dict(hooks)) for hooks in global_hooks().values()]
    flag = torch_module._global_is_full_backward_hook
    for hooks, _ in held:
        hooks.clear()
    torch_module._global_is_full_backward_hook = None
    try:
        yield
    finally:
        torch_module._global_is_full_backward_hook = flag
        for hooks, had in held:
            hooks.update(had)


@contextlib.contextmanager
def same_randomness() -> Iterator[None]:
    """Put all random number generators back as they were."""
    numpy = sys.modules.get("numpy")
    states = random.getstate(), numpy.random.get_state() if numpy else None
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            random.setstate(states[0])
            if numpy:
                numpy.random.set_state(states[1])


def eager(model: nn.Module) -> Any:
    """Return a context in which compiled parts of a model run uncompiled."""
    compiled = any(
        is_compiled(one) or type(one).__name__ == "OptimizedModule" for one in model.modules()
    )
    return torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext()
