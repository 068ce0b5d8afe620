"""Runs a program with or without a trace, and says everything a user could notice of the run."""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from frozen import error_of, frozen, hooks_of, state_of
from surroundings import (
    attributes,
    class_attributes,
    clear_global_hooks,
    global_hooks,
    modes,
    patched,
    random_state,
    seed,
)
from torch import nn
from torch.autograd.function import BackwardCFunction
from torch.utils.hooks import RemovableHandle

import hooktrace as ht

__all__ = [
    "TRACED",
    "Outcome",
    "Program",
    "alive",
    "assert_same",
    "class_attributes",
    "differs",
    "left_behind",
    "run",
    "run_with_trace",
    "state_of",
]

Program = Callable[[], tuple[Any, Callable[[], Any]]]
"""Builds models and returns them (a module, a dict of them, or None) with the step to run."""

TRACED: dict[str, Callable[[Any], Any]] = {
    "everything": lambda models: ht.trace(),
    "everything kept": lambda models: ht.trace(keep=True),
    "the model": ht.trace,
    "the model kept": lambda models: ht.trace(models, keep=True),
    "versions only": lambda models: ht.trace(models, edits="versions"),
    "statistics": lambda models: ht.trace(stats=True),
    "two traces": lambda models: two_traces(models),
}
"""Ways to trace a program; each makes a context manager."""


@contextlib.contextmanager
def two_traces(models: Any) -> Any:
    with ht.trace() as outer, ht.trace(models, keep=True) as outer.inner:
        yield outer


@dataclass
class Outcome:
    """What can be noticed of one run; two of them are compared field by field.

    Attributes:
        raised: The exception that left the block.
        result: What the step returned.
        state: Parameters, buffers, gradients and flags of the models.
        hooks: All hook dictionaries, those of the models and the global ones.
        replaced: Dictionaries and functions in them that are no longer the same objects.
        rng: The states of all generators of random numbers.
        next_id: The number that the next handle will get.
        nodes: How many autograd nodes this thread has made, but for the tokens by which a trace
            holds the edges of kept outputs of Python functions.
        warned: Category, message, file and line of every warning.
        patched: Attributes of PyTorch that are no longer the same objects.
        modes: What is switched on or off now and was not before.
    """

    raised: Any
    result: Any
    state: Any
    hooks: Any
    replaced: list[str]
    rng: Any
    next_id: int
    nodes: int
    warned: list[Any]
    patched: list[str]
    modes: dict[str, Any]


def run(program: Program, tracing: Callable[[Any], Any] | None = None) -> Outcome:
    """Run a program from a fixed seed and return what can be noticed of it."""
    return run_with_trace(program, tracing)[0]


def run_with_trace(
    program: Program, tracing: Callable[[Any], Any] | None = None
) -> tuple[Outcome, Any]:
    """As `run`; returns the trace as well."""
    seed()
    RemovableHandle.next_id = 1000
    models, step = program()
    context = contextlib.nullcontext() if tracing is None else tracing(models)
    result = raised = t = None
    before, dictionaries, then = attributes(), dictionaries_of(models), modes()
    first = torch.autograd._get_sequence_nr()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with context as t:
                result = step()
        except BaseException as error:
            raised = error_of(error)
    nodes = torch.autograd._get_sequence_nr() - first - tokens(t)
    rng, next_id, now = random_state(), RemovableHandle.next_id, modes()
    outcome = Outcome(
        raised,
        frozen(result),
        [state_of(module) for module in modules_of(models)],
        [hooks_of(module) for module in modules_of(models)] + global_hooks(),
        replaced(dictionaries),
        rng,
        next_id,
        nodes,
        [
            (one.category, str(one.message), one.filename, one.lineno)
            for one in caught
            if one.category is not ht.errors.NothingTracedWarning
        ],
        patched(before, attributes()),
        {name: [then[name], now[name]] for name in now if now[name] != then[name]},
    )
    clear_global_hooks()
    return outcome, t


def tokens(t: Any) -> int:
    """Count the nodes that hold the kept edges of a trace and of one inside it."""
    if t is None:
        return 0
    edges = t.log.edges.values() if hasattr(t, "log") else ()
    own = sum(getattr(edge, "ownership_token", None) is not None for edge in edges)
    return own + tokens(getattr(t, "inner", None))


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
        return None if same and bits(one) == bits(other) else _both(where, one, other)
    if isinstance(one, dict):
        if list(one) != list(other):
            return f"{where}: keys {list(one)} traced, {list(other)} untraced"
        pairs = [(f"{where}[{key!r}]", one[key], other[key]) for key in one]
    elif isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return _both(where, one, other)
        pairs = [(f"{where}[{n}]", a, b) for n, (a, b) in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other or one != one != other else _both(where, one, other)
    return next((found for w, a, b in pairs if (found := differs(a, b, w))), None)


def bits(tensor: torch.Tensor) -> Any:
    """The very bits of a tensor's numbers: -0.0 is not 0.0, and one NaN is not another."""
    if tensor.is_quantized:
        return repr(tensor)
    plain = tensor.detach().as_subclass(torch.Tensor).resolve_conj().resolve_neg()
    dense = torch.empty(plain.numel(), dtype=plain.dtype).copy_(plain.flatten())
    return dense.view(torch.uint8).numpy().tobytes()


def _both(where: str, one: Any, other: Any) -> str:
    return f"{where}: {one!r:.600} traced, {other!r:.600} untraced"


def modules_of(models: Any) -> list[nn.Module]:
    if models is None:
        return []
    roots = models.values() if isinstance(models, dict) else [models]
    return [module for root in roots for module in root.modules()]


def dictionaries_of(models: Any) -> list[tuple[str, Any, str, Any, dict[Any, Any]]]:
    """Every hook dictionary of the models with its owner, its name, and what is in it."""
    found = []
    for number, module in enumerate(modules_of(models)):
        for name in vars(module):
            hooks = vars(module)[name]
            if isinstance(hooks, dict) and "hooks" in name:
                found.append((f"{number}.{name}", module, name, hooks, dict(hooks)))
        for own, parameter in module.named_parameters(recurse=False):
            for name in ("_backward_hooks", "_post_accumulate_grad_hooks"):
                hooks = getattr(parameter, name) if parameter.is_leaf else None
                if hooks is not None:
                    label = f"{number}.{own}.{name}"
                    found.append((label, parameter, name, hooks, dict(hooks)))
    return found


def replaced(dictionaries: list[tuple[str, Any, str, Any, dict[Any, Any]]]) -> list[str]:
    """Name the dictionaries and the hooks in them that are no longer the same objects."""
    found = []
    for label, owner, name, hooks, held in dictionaries:
        now = getattr(owner, name, None)
        if now is not hooks:
            found.append(label)
        for key, function in held.items():
            if now is not None and key in now and now[key] is not function:
                found.append(f"{label}[{key}]")
    return found


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
