"""Runs a program with or without a trace, and says everything a user could notice of the run."""

from __future__ import annotations

import contextlib
import gc
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
import torch.nn.modules.module as torch_module
from torch import nn
from torch.autograd import Variable
from torch.autograd.function import BackwardCFunction, _HookMixin
from torch.utils.hooks import RemovableHandle

import hooktrace as ht

Program = Callable[[], tuple[Any, Callable[[], Any]]]
"""Builds models and returns them (a module, a dict of them, or None) with the step to run."""

TRACED: dict[str, Callable[[Any], Any]] = {
    "everything": lambda models: ht.trace(),
    "everything kept": lambda models: ht.trace(keep=True),
    "the model": ht.trace,
    "the model kept": lambda models: ht.trace(models, keep=True),
    "versions only": lambda models: ht.trace(models, edits="versions"),
    "two traces": lambda models: two_traces(models),
}
"""Ways to trace a program; each makes a context manager."""


@contextlib.contextmanager
def two_traces(models: Any) -> Any:
    with ht.trace() as outer, ht.trace(models, keep=True):
        yield outer


CLASS_ATTRIBUTES = (
    (nn.Module, "__call__"),
    (nn.Module, "_call_impl"),
    (nn.Module, "_wrapped_call_impl"),
    (nn.Module, "_get_backward_hooks"),
    (nn.Module, "_get_backward_pre_hooks"),
    (RemovableHandle, "__init__"),
    (RemovableHandle, "remove"),
    (Variable, "_execution_engine"),
    (_HookMixin, "_register_hook"),
    (torch.Tensor, "register_hook"),
    (torch.Tensor, "register_post_accumulate_grad_hook"),
    (torch.Tensor, "backward"),
    (torch.autograd, "backward"),
    (torch.autograd, "grad"),
)


def class_attributes() -> list[Any]:
    """What hooktrace may patch while a trace is open, as objects to compare by identity."""
    return [vars(owner)[name] for owner, name in CLASS_ATTRIBUTES]


@dataclass
class Outcome:
    """What can be noticed of one run; two of them are compared field by field."""

    raised: Any
    result: Any
    state: Any
    hooks: Any
    rng: Any
    next_id: int
    warned: list[Any]
    class_attributes: list[int]


def run(program: Program, tracing: Callable[[Any], Any] | None = None) -> Outcome:
    """Run a program from a fixed seed and return what can be noticed of it."""
    return run_with_trace(program, tracing)[0]


def run_with_trace(
    program: Program, tracing: Callable[[Any], Any] | None = None
) -> tuple[Outcome, Any]:
    """As `run`; returns the trace as well."""
    torch.manual_seed(0)
    RemovableHandle.next_id = 1000
    models, step = program()
    context = contextlib.nullcontext() if tracing is None else tracing(models)
    result = raised = t = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with context as t:
                result = step()
        except BaseException as error:
            raised = error_of(error)
    outcome = Outcome(
        raised,
        frozen(result),
        [state_of(module) for module in modules_of(models)],
        [hooks_of(module) for module in modules_of(models)] + global_hooks(),
        torch.get_rng_state(),
        RemovableHandle.next_id,
        [
            (one.category, str(one.message))
            for one in caught
            if one.category is not ht.errors.NothingTracedWarning
        ],
        [id(one) for one in class_attributes()],
    )
    for one in torch_module.__dict__.values():  # global hooks are not to reach the next test
        if isinstance(one, dict) and one.keys() and all(isinstance(key, int) for key in one):
            one.clear()
    torch_module._global_is_full_backward_hook = None
    return outcome, t


def assert_same(traced: Outcome, untraced: Outcome) -> None:
    """Compare two outcomes bit by bit."""
    for field in fields(Outcome):
        difference = differs(getattr(traced, field.name), getattr(untraced, field.name), field.name)
        assert difference is None, difference


def differs(one: Any, other: Any, where: str) -> str | None:
    """Return where two frozen structures differ, or None."""
    if type(one) is not type(other):
        return _both(where, one, other)
    if isinstance(one, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape
        equal = same and bool(((one == other) | ((one != one) & (other != other))).all())
        return None if equal else _both(where, one, other)
    if isinstance(one, dict):
        if list(one) != list(other):
            return f"{where}: keys {list(one)} traced, {list(other)} untraced"
        pairs = [(f"{where}[{key!r}]", one[key], other[key]) for key in one]
    elif isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return _both(where, one, other)
        pairs = [(f"{where}[{n}]", a, b) for n, (a, b) in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other else _both(where, one, other)
    return next((found for w, a, b in pairs if (found := differs(a, b, w))), None)


def _both(where: str, one: Any, other: Any) -> str:
    return f"{where}: {one!r:.600} traced, {other!r:.600} untraced"


def frozen(thing: Any) -> Any:
    """Turn a result into plain containers and copies of tensors that can be compared."""
    if isinstance(thing, torch.Tensor):
        return tensor_state(thing)
    if isinstance(thing, Mapping):
        return {str(key): frozen(item) for key, item in thing.items()} | {"": type(thing).__name__}
    if isinstance(thing, (list, tuple)):
        return [type(thing).__name__, *map(frozen, thing)]
    if is_dataclass(thing) and not isinstance(thing, type):
        return {field.name: frozen(getattr(thing, field.name)) for field in fields(thing)}
    if thing is None or isinstance(thing, (bool, int, float, str, bytes)):
        return thing
    if isinstance(thing, BaseException):
        return error_of(thing)
    return type(thing).__name__


def tensor_state(tensor: torch.Tensor) -> dict[str, Any]:
    """A copy, the flags, the gradient, and the autograd graph by kinds of nodes."""
    return {
        "type": type(tensor).__name__,
        "data": tensor.detach().clone() if tensor.device.type != "meta" else str(tensor.shape),
        "requires_grad": tensor.requires_grad,
        "leaf": tensor.is_leaf,
        "inference": tensor.is_inference(),
        "version": None if tensor.is_inference() else tensor._version,
        "grad": frozen(tensor.grad) if tensor.is_leaf else None,
        "nodes": graph_of(tensor),
        "hooks": hook_keys(tensor._backward_hooks),
        "post_hooks": hook_keys(tensor._post_accumulate_grad_hooks) if tensor.is_leaf else None,
    }


def graph_of(tensor: torch.Tensor) -> list[str]:
    """Names of all nodes of the graph behind `tensor` and their edges, breadth first."""
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
        text.append(f"{node.name()}({', '.join(edges)})")
    return text


def error_of(error: BaseException | None, depth: int = 0) -> Any:
    """Type, message and traceback of an exception and of what led to it."""
    if error is None or depth > 4:
        return None
    frames = [(f.filename, f.name) for f in traceback.extract_tb(error.__traceback__)]
    return [
        type(error).__name__,
        str(error),
        frames,
        error_of(error.__cause__, depth + 1),
        error_of(error.__context__, depth + 1),
    ]


def modules_of(models: Any) -> list[nn.Module]:
    if models is None:
        return []
    roots = models.values() if isinstance(models, dict) else [models]
    return [module for root in roots for module in root.modules()]


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
        "buffers": {name: tensor_state(one) for name, one in module.named_buffers(recurse=False)},
        "legacy": module._is_full_backward_hook,
    }


def hook_keys(hooks: Any) -> Any:
    """Numbers and functions of a hook dictionary; None stays None."""
    if hooks is None:
        return None
    return [(key, _function_name(function)) for key, function in hooks.items()]


def _function_name(function: Any) -> str:
    return f"{type(function).__name__} {getattr(function, '__qualname__', '')}"


def hooks_of(module: nn.Module) -> dict[str, Any]:
    """Every hook dictionary of a module."""
    return {
        name: hook_keys(value)
        for name, value in sorted(module.__dict__.items())
        if isinstance(value, dict) and "hooks" in name
    }


def global_hooks() -> list[Any]:
    """Every dictionary of global module hooks."""
    return [
        (name, hook_keys(value))
        for name, value in sorted(vars(torch_module).items())
        if name.startswith("_global") and isinstance(value, dict)
    ]


def alive() -> Counter[str]:
    """Count the tensors, modules and contexts of autograd functions that are alive."""
    gc.collect()
    found: Counter[str] = Counter()
    for thing in gc.get_objects():
        kind = type(thing)
        if issubclass(kind, torch.Tensor):
            found["tensor"] += 1
        elif issubclass(kind, nn.Module):
            found["module"] += 1
        elif issubclass(kind, BackwardCFunction):
            found["context"] += 1
    return found


def left_behind(program: Program, tracing: Callable[[Any], Any] | None = None) -> Counter[str]:
    """Return what a run leaves alive, while its trace lives, but for the copies of edits."""
    before = alive()
    t = run_with_trace(program, tracing)[1]
    after = alive()
    if t is not None:
        after["tensor"] -= len(t.log.snapshots)
    return after - before
