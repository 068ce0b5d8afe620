"""What is swept: models with a way to make inputs for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Inputs = Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]


class NotHere(Exception):  # noqa: N818 - it is no error
    """A model that cannot run on this machine, traced or not; the message says why."""


@dataclass
class Subject:
    """A model to run.

    Attributes:
        model: The model.
        inputs: Makes positional and keyword arguments anew, from the current seed.
        modes: Which of ``train`` and ``eval`` to run.
        evaluation_inputs: The same for ``eval``, if they differ.
    """

    model: nn.Module
    inputs: Inputs
    modes: tuple[str, ...] = ("train", "eval")
    evaluation_inputs: Inputs | None = None

    def arguments(self, mode: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Make the arguments of a run."""
        if mode == "eval" and self.evaluation_inputs is not None:
            return self.evaluation_inputs()
        return self.inputs()


@dataclass(frozen=True)
class Library:
    """Where subjects come from.

    Attributes:
        name: Of the library; its version is that of the package of this name.
        names: The names of all subjects, in a fixed order.
        build: Makes the subject of a name.
    """

    name: str
    names: Callable[[], list[str]]
    build: Callable[[str], Subject]


def tensors(thing: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of a nested structure of containers and dataclasses."""
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, Mapping):
        for key in thing:
            yield from tensors(thing[key])
    elif isinstance(thing, (list, tuple)):
        for item in thing:
            yield from tensors(item)
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        for field in dataclasses.fields(thing):
            yield from tensors(getattr(thing, field.name))


def score(output: Any) -> torch.Tensor | None:
    """Return a number that depends on every element of an output, or None without gradient."""
    total = None
    for one in tensors(output):
        if not one.requires_grad or not one.numel():
            continue
        values = one.abs() if one.is_complex() else one
        weights = torch.linspace(0.5, 1.5, values.numel(), dtype=values.dtype)
        part = (values * weights.view(values.shape)).mean()
        total = part if total is None else total + part
    return total
