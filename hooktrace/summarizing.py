"""`summary()`: what a model consists of and what one run of it costs."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hooktrace._torch_copies import same_randomness
from hooktrace.errors import CopyError, NothingTracedWarning
from hooktrace.firing import describe_error
from hooktrace.graphedruns import untouched
from hooktrace.session import Trace
from hooktrace.summaries import DEPTH, Summary

__all__ = ["summary"]


def summary(
    model: nn.Module,
    input_size: Any = None,
    *,
    input_data: Any = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    dtypes: torch.dtype | Sequence[torch.dtype] | None = None,
    flops: bool = False,
    depth: int | None = DEPTH,
    sort: str | None = None,
    columns: Sequence[str] | None = None,
    **kwargs: Any,
) -> Summary:
    """Run a model once under ``no_grad`` and return a row for each module; print it.

    The model runs in the mode that it is in, with your hooks on it.  Buffers, flags, gradients and
    the generators of random numbers are afterwards what they were.

    Args:
        model: What to summarise.
        input_size: The shape of its input, such as ``(1, 3, 224, 224)``; a sequence of shapes for
            several, a dict of them for keyword arguments.  The inputs are random, integers zero.
        input_data: The input itself instead: a tensor, a tuple or list of positional arguments, a
            dict of keyword arguments.  With neither, nothing runs, and there are no shapes.
        batch_size: Put in front of every `input_size`, which then has no batch dimension.
        device: Where the model runs; if it is elsewhere, a copy of it does.  ``"meta"`` computes
            nothing, so it is fast and needs no memory.
        dtypes: Of the inputs, one for all or one for each; that of the first floating-point
            parameter by default.
        flops: Whether to count floating-point operations with ``torch.utils.flop_counter``: those
            of convolutions, matrix products and attention.  The model runs once more for it, with
            PyTorch's fused path for transformers off.
        depth: Levels of modules to show; None for all.
        sort: A column to sort by, largest first: ``params``, ``memory``, ``forward``, ``flops`` ...
        columns: Which columns to show; None for those that have something to say.
        **kwargs: Further keyword arguments of the model.

    Raises:
        CopyError: The model is to run on another device, and cannot be copied.
        UnknownNameError: There is no such column; the message names the nearest.
        TypeError: What is given does not fit together.

    Example:
        >>> from torch import nn
        >>> found = summary(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (1, 4))
        >>> found["0"].outputs[0].shape, found.totals.sizes.parameters
        ((1, 3), 15)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"summary() takes a module, not a {type(model).__name__}.")
    trace = Trace(model, edits="versions")
    with same_randomness():
        ready = _ready(model, device)
        trace = Trace(ready, edits="versions")
        inputs = _inputs(ready, input_size, input_data, batch_size, device, dtypes)
        if inputs is None:
            if kwargs or flops:
                raise TypeError("summary() runs nothing without input_size= or input_data=.")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NothingTracedWarning)
                with trace:
                    pass
        else:
            args, named = inputs
            _run(ready, args, {**named, **kwargs}, trace, flops)
    return trace.summary(depth=depth, sort=sort, columns=columns)


def _run(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], trace: Trace, flops: bool
) -> None:
    with untouched(model), torch.no_grad():
        with trace:
            model(*args, **kwargs)
        if flops:
            trace.log.flops = _counted(model, args, kwargs)


def _counted(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, int]:
    """Count the operations of one run by names of modules."""
    with FlopCounterMode(display=False) as counter, _unfused():
        model(*args, **kwargs)
    found = {"": 0}
    first = {id(one): name for name, one in model.named_modules()}
    names = {name: first[id(one)] for name, one in model.named_modules(remove_duplicate=False)}
    for path, operations in counter.get_flop_counts().items():
        name = path.partition(".")[2]
        if path == "Global":
            found[""] = sum(operations.values())
        elif name in names and name:
            found[names[name]] = sum(operations.values())
    return found


@contextmanager
def _unfused() -> Iterator[None]:
    """Let transformers call their modules: what is fused into one call cannot be told apart."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


# ------------------------------------------------------------------ the model


def _ready(model: nn.Module, device: torch.device | str | None) -> nn.Module:
    """Return the model, or a copy: on another device, or of one whose parameters lack a size."""
    place = None if device is None else _placed(device)
    tensors = [*model.parameters(), *model.buffers()]
    lazy = [one for one in tensors if nn.parameter.is_lazy(one)]
    elsewhere = [one for one in tensors if place is not None and one.device != place]
    if not lazy and not elsewhere:
        return model
    memo = {id(one): _moved(one, place) for one in elsewhere if not nn.parameter.is_lazy(one)}
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise CopyError(
            f"summary() runs a copy of a model that is on another device or has parameters without "
            f"a size, but {type(model).__name__} cannot be copied: {describe_error(error)}. Leave "
            f"device= away, move the model there, or run it once before."
        ) from error


def _placed(device: torch.device | str) -> torch.device:
    """Return a device with its number, as tensors have it."""
    return torch.empty(0, device=device).device


def _moved(tensor: Tensor, place: torch.device | None) -> Tensor:
    there = tensor.detach().to(place)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(there, requires_grad=tensor.requires_grad)
    return there


# ------------------------------------------------------------------ the inputs


_Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def _inputs(
    model: nn.Module,
    sizes: Any,
    data: Any,
    batch: int | None,
    device: torch.device | str | None,
    dtypes: torch.dtype | Sequence[torch.dtype] | None,
) -> _Inputs | None:
    """Return the arguments of the model; None where nothing is to run."""
    first = next((one for one in (*model.parameters(), *model.buffers())), None)
    place = device if device is not None else getattr(first, "device", "cpu")
    if sizes is not None and data is not None:
        raise TypeError("summary() takes input_size= or input_data=, not both.")
    if data is not None:
        if batch is not None or dtypes is not None:
            raise TypeError("batch_size= and dtypes= belong to input_size=, not to input_data=.")
        return _given(data, device)
    if sizes is None:
        return None
    named = isinstance(sizes, Mapping)
    every = [*sizes.values()] if named else [sizes] if _is_shape(sizes) else list(sizes)
    shapes = [_shape(one, batch) for one in every]
    kinds = _kinds(model, dtypes, len(shapes))
    made = [_random(shape, kind, place) for shape, kind in zip(shapes, kinds, strict=True)]
    return ((), dict(zip(sizes, made, strict=True))) if named else (tuple(made), {})


def _given(data: Any, device: torch.device | str | None) -> _Inputs:
    def move(one: Any) -> Any:
        return one.to(device) if device is not None and isinstance(one, Tensor) else one

    if isinstance(data, Mapping):
        return (), {name: move(one) for name, one in data.items()}
    return tuple(move(one) for one in (data if isinstance(data, (tuple, list)) else (data,))), {}


def _is_shape(sizes: Any) -> bool:
    return isinstance(sizes, Sequence) and all(isinstance(one, int) for one in sizes)


def _shape(size: Any, batch: int | None) -> tuple[int, ...]:
    if not _is_shape(size):
        raise TypeError(
            f"input_size= is a shape such as (1, 3, 224, 224), a sequence of shapes, or a dict of "
            f"them, but got {size!r}."
        )
    return (*size,) if batch is None else (batch, *size)


def _kinds(
    model: nn.Module, dtypes: torch.dtype | Sequence[torch.dtype] | None, count: int
) -> list[torch.dtype]:
    if dtypes is None:
        floats = (one.dtype for one in model.parameters() if one.is_floating_point())
        return [next(floats, torch.get_default_dtype())] * count
    if isinstance(dtypes, torch.dtype):
        return [dtypes] * count
    if len(dtypes) != count:
        raise ValueError(f"There are {count} inputs, but {len(dtypes)} dtypes.")
    return list(dtypes)


def _random(shape: tuple[int, ...], kind: torch.dtype, place: torch.device | str) -> Tensor:
    if kind.is_floating_point or kind.is_complex:
        return torch.rand(shape, device=place).to(kind)
    return torch.zeros(shape, dtype=kind, device=place)
