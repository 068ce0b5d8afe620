"""Turns whatever a program returns into plain structures that can be compared bit by bit."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.function import _HookMixin
from torch.autograd.graph import Node
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.hooks import BackwardHook, RemovableHandle

from hooktrace.doctor.explain import MARK

PLAIN = (torch.Tensor, nn.Parameter, nn.parameter.Buffer)


def frozen(thing: Any) -> Any:
    """Turn a result into plain containers and copies of tensors that can be compared."""
    for kind, freeze in FREEZERS:
        if isinstance(thing, kind):
            return freeze(thing)
    if is_dataclass(thing) and not isinstance(thing, type):
        return {field.name: frozen(getattr(thing, field.name)) for field in fields(thing)}
    return type(thing).__name__


def frozen_mapping(thing: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): frozen(item) for key, item in thing.items()} | {"": type(thing).__name__}


# ------------------------------------------------------------------ tensors and nodes


def tensor_state(tensor: torch.Tensor) -> dict[str, Any]:
    """A copy, the flags, the gradient, and the autograd graph by kinds of nodes."""
    leaf = tensor.is_leaf
    return {
        "type": type(tensor).__name__,
        "data": data_of(tensor),
        "layout": layout_of(tensor),
        "requires_grad": tensor.requires_grad,
        "leaf": leaf,
        "inference": tensor.is_inference(),
        "version": None if tensor.is_inference() else tensor._version,
        "grad": frozen(tensor.grad) if leaf or tensor.retains_grad else None,
        "retains_grad": tensor.retains_grad,
        "nodes": graph_of(tensor),
        "hooks": hook_keys(tensor._backward_hooks),
        "post_hooks": hook_keys(tensor._post_accumulate_grad_hooks) if leaf else None,
    }


def data_of(tensor: torch.Tensor) -> Any:
    """Copies of the numbers, whatever the layout; of a tensor without numbers its shape."""
    if tensor.device.type == "meta" or "Fake" in type(tensor).__name__:
        return str(tensor.shape)
    detached = tensor.detach()
    if tensor.is_nested:
        return [one.clone() for one in detached.unbind()]
    if tensor.layout is torch.sparse_coo:
        whole = detached.coalesce()
        return [whole.indices().clone(), whole.values().clone(), str(tensor.shape)]
    if tensor.layout is not torch.strided:
        return [str(tensor.layout), detached.to_dense()]
    return detached.clone()


def layout_of(tensor: torch.Tensor) -> Any:
    """How the numbers lie in memory, and what shares it."""
    if type(tensor) not in PLAIN or tensor.layout is not torch.strided or tensor.is_nested:
        return None
    base = tensor._base if tensor._is_view() else None
    return [
        tensor.stride(),
        tensor.storage_offset(),
        tensor.is_conj(),
        tensor.is_neg(),
        str(tensor.device),
        None if base is None else base.dim(),
    ]


def graph_of(tensor: torch.Tensor) -> list[str]:
    """Names of all nodes of the graph behind `tensor`, edges and hooks, breadth first."""
    if tensor.grad_fn is None:
        return []
    queue, seen = [tensor.grad_fn], {tensor.grad_fn: 0}
    text = []
    for node in queue:
        edges = []
        for following, output in node.next_functions:
            if following is not None and following not in seen:
                seen[following] = len(queue)
                queue.append(following)
            edges.append(f"{seen.get(following)}:{output}")
        hooks = "".join(f" {one}" for one in node_hooks(node) if one)
        text.append(f"{node.name()}({', '.join(edges)}){hooks}")
    return text


class _PeekedError(Exception):
    """Raised so that nothing is registered."""


def node_hooks(node: Any) -> list[Any]:
    """Numbers and functions of a node's prehooks and of its hooks."""
    found: list[Any] = []

    def peek(hooks: Any, hook: Any) -> Any:
        found.append(hook_keys(hooks) or [])
        raise _PeekedError

    original = vars(_HookMixin)["_register_hook"]
    _HookMixin._register_hook = staticmethod(peek)  # type: ignore[method-assign]
    try:
        for register in (node.register_prehook, node.register_hook):
            with contextlib.suppress(_PeekedError):
                register(print)
    finally:
        _HookMixin._register_hook = original  # type: ignore[method-assign]
    return found


def frozen_node(node: Any) -> list[Any]:
    try:
        node.name()
    except RuntimeError:  # the node of a custom function that is gone, on older versions
        return [type(node).__name__]
    return [node.name(), *node_hooks(node), [one.name() for one, _ in node.next_functions if one]]


# ------------------------------------------------------------------ hooks and their owners


def hook_keys(hooks: Any) -> Any:
    """Numbers and functions of a hook dictionary; None stays None."""
    if hooks is None:
        return None
    return [(key, function_name(function)) for key, function in hooks.items()]


def function_name(function: Any) -> str:
    """Kind and name of a hook; of PyTorch's own closures also the hooks that they will call."""
    inner = [
        [function_name(one) for one in (*cell.user_hooks, *cell.user_pre_hooks)]
        for cell in contents(function)
        if isinstance(cell, BackwardHook)
    ]
    name = getattr(function, "__qualname__", "")
    return f"{type(function).__name__} {name}" + (f" {inner}" if inner else "")


def contents(function: Any) -> list[Any]:
    """What a closure closes over."""
    found = []
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):
            found.append(cell.cell_contents)
    return found


def state_of(module: nn.Module) -> dict[str, Any]:
    """Parameters, buffers, gradients, flags and the names of all attributes."""
    return {
        "training": module.training,
        "attributes": sorted(module.__dict__),
        "class": type(module).__name__,
        "parameters": {
            name: tensor_state(one) if not nn.parameter.is_lazy(one) else "lazy"
            for name, one in module.named_parameters(recurse=False)
        },
        "buffers": {
            name: tensor_state(one) if not nn.parameter.is_lazy(one) else "lazy"
            for name, one in module.named_buffers(recurse=False)
        },
        "legacy": module._is_full_backward_hook,
    }


def hooks_of(thing: Any) -> dict[str, Any]:
    """Every hook dictionary of a module or of an optimizer."""
    return {
        name: hook_keys(value)
        for name, value in sorted(vars(thing).items())
        if isinstance(value, dict) and "hooks" in name
    }


def frozen_module(module: nn.Module) -> list[Any]:
    return [[name, state_of(one), hooks_of(one)] for name, one in module.named_modules()]


def frozen_optimizer(optimizer: Optimizer) -> list[Any]:
    step = vars(optimizer).get("step")
    return [
        type(optimizer).__name__,
        hooks_of(optimizer),
        frozen(optimizer.state_dict()),
        sorted(vars(optimizer)),
        function_name(step),
        sorted(vars(step)) if hasattr(step, "__dict__") else None,
        function_name(type(optimizer).step),
    ]


def frozen_scheduler(scheduler: LRScheduler) -> list[Any]:
    numbers = {name: one for name, one in vars(scheduler).items() if not callable(one)}
    numbers.pop("optimizer", None)
    return [type(scheduler).__name__, frozen(numbers)]


def frozen_handle(handle: RemovableHandle) -> list[Any]:
    hooks = handle.hooks_dict_ref()
    others = [ref() for ref in handle.extra_dict_ref]
    return [
        handle.id,
        hooks is not None and handle.id in hooks,
        [one is not None and handle.id in one for one in others],
    ]


# ------------------------------------------------------------------ exceptions


def error_of(error: BaseException | None, depth: int = 0) -> Any:
    """Type, message, notes but ours, and traceback of an exception and of what led to it."""
    if error is None or depth > 4:
        return None
    frames = [
        (frame.filename, frame.name, frame.lineno, frame.colno)
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return [
        type(error).__name__,
        str(error),
        frames,
        error_of(error.__cause__, depth + 1),
        error_of(error.__context__, depth + 1),
        error.__suppress_context__,
        [note for note in getattr(error, "__notes__", ()) if not str(note).startswith(MARK)],
        [error_of(one, depth + 1) for one in getattr(error, "exceptions", ())],
    ]


FREEZERS: tuple[tuple[Any, Any], ...] = (
    (torch.Tensor, tensor_state),
    (nn.Module, frozen_module),
    (Optimizer, frozen_optimizer),
    (LRScheduler, frozen_scheduler),
    (RemovableHandle, frozen_handle),
    (Node, frozen_node),
    (Mapping, frozen_mapping),
    ((list, tuple), lambda thing: [type(thing).__name__, *map(frozen, thing)]),
    ((type(None), bool, int, float, str, bytes, torch.Size), lambda thing: thing),
    (BaseException, error_of),
)
