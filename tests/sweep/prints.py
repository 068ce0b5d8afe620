"""Prints of runs: everything that can be told of one, with digests in place of numbers.

Two prints are equal if and only if the runs were, bit by bit; large models need no copies.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy
import torch
from torch import nn

import hooktrace as ht

from .subjects import Subject, score, tensors

Print = dict[str, Any]

CACHES = {"attention_bias_cache"}
"""Attributes in which models keep what they computed in an earlier run, its graph included."""


def digest(tensor: torch.Tensor | None) -> str | None:
    """Return dtype, shape and a hash of the bits."""
    if tensor is None:
        return None
    plain = tensor.detach()
    if plain.is_quantized:
        plain = plain.int_repr()
    if plain.layout is not torch.strided:
        plain = plain.to_dense()
    data = plain.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
    bits = hashlib.blake2b(data.numpy(), digest_size=12).hexdigest()
    return f"{type(tensor).__name__} {tensor.dtype} {tuple(tensor.shape)} {bits}"


def printed(thing: Any) -> Any:
    """Return a structure with digests for tensors and names for what is neither."""
    if isinstance(thing, torch.Tensor):
        return [digest(thing), thing.requires_grad, thing.is_leaf]
    if isinstance(thing, dict):
        return {str(key): printed(item) for key, item in thing.items()} | {"": type(thing).__name__}
    if isinstance(thing, (list, tuple)):
        return [type(thing).__name__, *map(printed, thing)]
    if thing is None or isinstance(thing, (bool, int, float, str)):
        return repr(thing)
    return [type(thing).__name__, *map(printed, tensors(thing))]


def nodes(output: Any) -> dict[str, int]:
    """Count the autograd nodes behind an output by name."""
    queue = [one.grad_fn for one in tensors(output) if one.grad_fn is not None]
    seen = set(queue)
    for node in queue:
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                queue.append(following)
    return dict(sorted(Counter(node.name() for node in seen).items()))


def seed() -> None:
    torch.manual_seed(0)
    random.seed(0)
    numpy.random.seed(0)


def generators() -> list[str]:
    """Digests of the states of all random number generators."""
    state = hashlib.blake2b(repr(random.getstate()).encode())
    state.update(numpy.random.get_state()[1].tobytes())  # type: ignore[index,union-attr]
    return [str(digest(torch.get_rng_state())), state.hexdigest()]


def hooks(model: nn.Module) -> list[str]:
    """Name every hook dictionary of a module that is not empty."""
    return [
        f"{name}.{attribute}: {len(value)}"
        for name, module in model.named_modules()
        for attribute, value in module.__dict__.items()
        if "hooks" in attribute and value
    ]


class Runs:
    """Runs of one subject in one mode, each from the same state.

    Args:
        subject: What to run.
        mode: ``"train"`` or ``"eval"``.
    """

    def __init__(self, subject: Subject, mode: str) -> None:
        self.subject = subject
        self.mode = mode
        self.model = subject.model.train(mode == "train")
        self.buffers = [(one, one.detach().clone()) for one in self.model.buffers()]

    def restore(self) -> None:
        """Bring buffers, gradients and generators back to where the first run began."""
        with torch.no_grad():
            for buffer, content in self.buffers:
                buffer.copy_(content)
        self.model.zero_grad(set_to_none=True)
        for module in self.model.modules():
            for name in CACHES & vars(module).keys():
                setattr(module, name, {})
        seed()

    def run(self, tracing: Callable[[], Any] = contextlib.nullcontext) -> tuple[Print, Any]:
        """Run forward and backward; return what can be told of it, and the trace."""
        self.restore()
        args, kwargs = self.subject.arguments(self.mode)
        seed()
        raised = output = t = None
        graph: dict[str, int] = {}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                with tracing() as t:
                    output = self.model(*args, **kwargs)
                    graph = nodes(output)
                    loss = score(output)
                    if loss is not None:
                        loss.backward()
            except Exception as error:
                raised = [type(error).__name__, str(error)[:2000]]
        return {
            "raised": raised,
            "output": printed(output),
            "nodes": graph,
            "input gradients": [digest(one.grad) for one in tensors([args, kwargs]) if one.is_leaf],
            "gradients": {name: digest(one.grad) for name, one in self.model.named_parameters()},
            "written": {name: one._version for name, one in self.model.named_parameters()},
            "buffers": {name: digest(one) for name, one in self.model.named_buffers()},
            "generators": generators(),
            "hooks": hooks(self.model),
            "warnings": [
                (one.category.__name__, str(one.message))
                for one in caught
                if one.category is not ht.errors.NothingTracedWarning
            ],
        }, t


def difference(one: Any, other: Any, where: str = "") -> str | None:
    """Say where two prints differ first, or None."""
    if isinstance(one, dict) and isinstance(other, dict) and list(one) == list(other):
        pairs = [(f"{where}[{key}]" if where else str(key), one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{where}[{n}]", a, b) for n, (a, b) in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other else f"{where}: {one!r:.300} traced, {other!r:.300} untraced"
    return next((found for w, a, b in pairs if (found := difference(a, b, w))), None)
