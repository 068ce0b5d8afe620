"""Runs of a model from which heat maps are made, and that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from hooktrace import _torch
from hooktrace._torch_hooks import own_buffers
from hooktrace._torch_state import set_version
from hooktrace.cam.trees import mapped
from hooktrace.errors import UnknownNameError, nearest
from hooktrace.session import Trace

__all__ = ["traced_run", "untouched"]


def traced_run(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    names: list[str],
    *,
    whole: bool,
) -> Trace:
    """Run a model in a trace that keeps some layers, with a graph from the earliest of them on.

    Args:
        model: The model.
        args, kwargs: What it is called with.
        names: The layers, as calls are named: ``layer4``, ``layer@1``.
        whole: Whether to keep every layer instead, with a graph from the inputs on.

    Raises:
        UnknownNameError: The model has no such module.
    """
    modules = [_module(model, name) for name in names]
    trace = Trace(model, keep=True if whole else modules, edits="versions")
    trace._recorder.maps_only = True
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        args = tuple(map(_usable, args))
        kwargs = {name: _usable(one) for name, one in kwargs.items()}
        if whole:
            stack.enter_context(torch.enable_grad())
            args, kwargs = _growing(args), dict(zip(kwargs, _growing(kwargs.values()), strict=True))
        else:
            stack.enter_context(torch.no_grad())
            for module, name in zip(modules, names, strict=True):
                stack.enter_context(_beginning(module, _number(name)))
        with trace:
            model(*args, **kwargs)
    return trace


def _usable(argument: Any) -> Any:
    """Return a tensor of inference mode as one that autograd can save."""
    inference = isinstance(argument, Tensor) and argument.is_inference()
    return argument.clone() if inference else argument


def _module(model: nn.Module, name: str) -> nn.Module:
    """Return the module that a name of a call, such as ``layer@1``, belongs to."""
    base = name.rpartition("@")[0] if "@" in name else name
    known: dict[str, nn.Module] = dict(model.named_modules())
    if base in known:
        return known[base]
    if base == type(model).__name__:
        return model
    raise UnknownNameError(f"The model has no module {base!r}.{nearest(base, list(known))}")


def _growing(values: Any) -> tuple[Any, ...]:
    """Return arguments of which those of floating-point numbers require a gradient."""
    return tuple(
        one.detach().requires_grad_()
        if isinstance(one, Tensor) and one.is_floating_point() and not one.requires_grad
        else one
        for one in values
    )


def _number(name: str) -> int:
    """Return which call of a module a name such as ``layer@1`` stands for."""
    number = name.rpartition("@")[2] if "@" in name else "0"
    return int(number) if number.isdigit() else 0


@contextmanager
def _beginning(module: nn.Module, number: int) -> Iterator[None]:
    """Let a graph begin at what a call of a module returns, if none has begun before.

    Args:
        module: The module.
        number: Which of its calls, from 0.
    """
    calls = count()

    def begin(_module: nn.Module, _args: Any, result: Any) -> Any:
        return _begun(result) if next(calls) == number else result

    handle = module.register_forward_hook(begin)
    try:
        yield
    finally:
        handle.remove()


def _begun(result: Any) -> Any:
    """Record a graph from here on; return the result as its beginning."""
    torch.set_grad_enabled(True)  # until the no_grad() around the model ends
    return mapped(result, _leaf)


def _leaf(tensor: Tensor) -> Tensor:
    """Return what can be differentiated for, and written to in place as the original can."""
    if tensor.requires_grad or not tensor.is_floating_point():
        return tensor
    return tensor.detach().requires_grad_().clone()


# ------------------------------------------------------------------ as it was


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put buffers and the state of the generators of random numbers back afterwards."""
    buffers = [
        (module, name, one, one.detach().clone(), _torch.version_of(one))
        for module in model.modules()
        for name, one in own_buffers(module)
    ]
    devices = {one.device for one in (*model.parameters(), *model.buffers())}
    cuda = [one for one in devices if one.type == "cuda"]
    with torch.random.fork_rng(devices=cuda):
        try:
            yield
        finally:
            with torch.no_grad():
                for place in buffers:
                    _put_back(*place)


def _put_back(
    module: nn.Module, name: str, buffer: Tensor, held: Tensor, version: int | None
) -> None:
    """Let a module have the very buffer again, with what it held and its version."""
    if getattr(module, name, None) is not buffer:
        setattr(module, name, buffer)
    if not buffer.is_meta and not torch.equal(buffer, held):
        buffer.copy_(held)
    if version is not None and _torch.version_of(buffer) != version:
        set_version(buffer, version)
