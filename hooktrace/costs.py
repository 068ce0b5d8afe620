"""What tracing a model costs on this machine, as ratios."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hooktrace.errors import MissingExtraError, UnknownNameError, UnsupportedModuleError, nearest
from hooktrace.session import trace
from hooktrace.timing import medians

__all__ = ["Cost", "costs", "model_of"]


class Cost(NamedTuple):
    """One comparison.

    Attributes:
        work: What was done.
        plain, traced: CPU seconds without a trace and with one, the medians.
    """

    work: str
    plain: float
    traced: float

    @property
    def ratio(self) -> float:
        """How many times as long it takes with the trace."""
        return self.traced / self.plain


def model_of(name: str) -> tuple[nn.Module, Callable[[int, int], Any]]:
    """Return a model, and what makes a batch for it of so many items of such a size.

    Args:
        name: A classification model of torchvision, such as ``resnet18``; or ``module:callable``,
            where the callable returns a model, or a pair of a model and one batch.

    Raises:
        UnknownNameError: There is no such model, module or callable.
        MissingExtraError: torchvision is not installed.
        UnsupportedModuleError: The callable returned something else.
    """
    module, colon, function = name.partition(":")
    if not colon:
        return _torchvision(name), lambda items, size: torch.randn(items, 3, size, size)
    made = _callable(module, function)()
    model, batch = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise UnsupportedModuleError(
            f"{name} returned {type(made).__name__}; it is to return a module, or a pair of a "
            "module and one batch."
        )
    if batch is None:
        return model, lambda items, size: torch.randn(items, 3, size, size)
    return model, lambda items, size: batch


def _torchvision(name: str) -> nn.Module:
    try:
        from torchvision import models
    except ImportError as error:
        raise MissingExtraError("Models by name", "torchvision", "images") from error
    known = models.list_models(module=models)
    if name not in known:
        raise UnknownNameError(f"torchvision has no model {name!r}.{nearest(name, known)}")
    return models.get_model(name, weights=None)  # type: ignore[no-any-return]


def _callable(module: str, name: str) -> Callable[[], Any]:
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise UnknownNameError(f"There is no module {error.name!r} to import.") from error
    except AttributeError:
        known = [one for one in vars(sys.modules[module]) if not one.startswith("_")]
        raise UnknownNameError(f"{module} has no {name!r}.{nearest(name, known)}") from None
    finally:
        sys.path.pop(0)
    return found  # type: ignore[no-any-return]


def costs(model: nn.Module, batch: Any, rounds: int, *, backward: bool = True) -> Iterator[Cost]:
    """Measure steps of a model with a trace and without, in turns.

    Each traced step opens and closes a trace of its own.

    Args:
        model: It is run in the mode that it is in; its gradients are cleared.
        batch: What it is called with: a tuple for several arguments, a dict for keywords.
        rounds: Of each; the figures are medians.
        backward: Whether to measure a backward run as well.

    Raises:
        UnsupportedModuleError: The model cannot be run on this batch.
    """
    try:
        _step(model, batch, backward=backward)
    except Exception as error:
        kind = type(model).__name__
        raise UnsupportedModuleError(
            f"{kind} cannot be run on this batch: {type(error).__name__}: {error}"
        ) from error
    run = partial(_step, model, batch, backward=False)
    whole = partial(_step, model, batch, backward=True)
    works: list[tuple[str, Callable[[], None], dict[str, Any]]] = [("forward", run, {})]
    if backward:
        works.append(("forward and backward", whole, {}))
        works.append(("the same, with stats=True", whole, {"stats": True}))
        works.append(("the same, with keep=True", whole, {"keep": True}))
    for name, work, options in works:
        plain, traced = medians(rounds, work, partial(_traced, model, work, options))
        yield Cost(name, plain, traced)


def _traced(model: nn.Module, work: Callable[[], None], options: dict[str, Any]) -> None:
    with trace(model, **options):
        work()


def _step(model: nn.Module, batch: Any, *, backward: bool) -> None:
    model.zero_grad()
    if isinstance(batch, dict):
        output = model(**batch)
    else:
        output = model(*batch) if isinstance(batch, tuple) else model(batch)
    if backward:
        sum(one.float().sum() for one in _tensors(output) if one.requires_grad).backward()  # type: ignore[union-attr]


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        for one in output.values():
            yield from _tensors(one)
    elif isinstance(output, (list, tuple)):
        for one in output:
            yield from _tensors(one)
