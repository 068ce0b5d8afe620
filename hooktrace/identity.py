"""Who is who: stable numbers for tensors, and what is read of them when they are seen."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch

from hooktrace import _torch
from hooktrace.events import Observation, StorageId, TensorId, TensorSummary, TracedTensor, Value
from hooktrace.log import EventLog

__all__ = ["SMALL", "Identities", "Seen", "arguments", "leaves", "results", "text_of"]

SMALL = 16
"""CPU tensors of at most this many elements are recorded whole."""

_DEEPEST = 20  # containers nested deeper than this, or in themselves, are not looked into


class Seen:
    """What is remembered of a tensor between two sightings, without keeping it alive.

    Attributes:
        ref: Weak reference to the tensor, which tells whether its address was used again.
        id: Its row number.
        value: The tensor at the version it was last seen with.
        storage: Number of its storage; views have their base's.
        summary: What was last read of it, for these sizes.
        small: Whether its numbers are recorded.
        edge: Sequence number of the node that made this value, and output number; None if
            that was not looked up, or if there is none.
    """

    __slots__ = ("edge", "id", "ref", "shape", "small", "storage", "summary", "value")

    ref: weakref.ref[torch.Tensor]
    id: TensorId
    value: Value
    storage: StorageId | None
    summary: TensorSummary
    shape: Any
    small: bool
    edge: tuple[Value, int, int] | None


class Identities:
    """Gives each tensor object a row number and describes what is seen of it.

    A tensor is known by its address as long as it lives, which a weak reference watches: an
    address that is used again gets a new number.
    """

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.table: dict[int, Seen] = {}
        self._numbers = itertools.count()
        self._summaries: dict[Any, tuple[TensorSummary, bool]] = {}

    def seen(self, tensor: torch.Tensor) -> Seen:
        """Return the entry of `tensor`, making one if need be."""
        entry = self.table.get(id(tensor))
        if entry is None or entry.ref() is not tensor:
            entry = self.enter(tensor)
        return entry

    def known(self, tensor: torch.Tensor) -> Seen | None:
        """Return the entry of `tensor` if it has one."""
        entry = self.table.get(id(tensor))
        return entry if entry is not None and entry.ref() is tensor else None

    def enter(self, tensor: torch.Tensor) -> Seen:
        """Make an entry for a tensor that has none."""
        entry = self.table[id(tensor)] = Seen()
        entry.ref = weakref.ref(tensor)
        number: Any = next(self._numbers)
        entry.id = number
        entry.value = Value(entry.id, _torch.version_of(tensor))
        entry.edge = None
        self.read(tensor, entry)
        if _torch.is_view(tensor):
            base = _torch.base_of(tensor)
            entry.storage = number if base is None else self.seen(base).storage
        else:
            entry.storage = number
        return entry

    def read(self, tensor: torch.Tensor, entry: Seen) -> None:
        """Bring the summary of an entry up to date."""
        shape = entry.shape = _torch.shape_of(tensor)
        key = (shape, tensor.dtype, tensor.device, tensor.requires_grad)
        try:
            known = self._summaries.get(key)
        except TypeError:  # symbolic sizes do not hash
            known = _summarise(tensor, shape)
        if known is None:
            known = self._summaries[key] = _summarise(tensor, shape)
        entry.summary, small = known
        entry.small = small and not _torch.is_wrapped(tensor)

    def name(
        self, tensor: torch.Tensor, name: str, *, leaf: bool = False, parameter: bool = False
    ) -> TensorId:
        """Give `tensor` a name, unless it has one; return its number."""
        number = self.seen(tensor).id
        row = self.log.tensors[number]
        if not row.name or (leaf and not row.leaf):
            self.log.tensors[number] = TracedTensor(
                number, row.name or name, row.leaf or leaf, row.parameter or parameter
            )
        return number

    def describe(self, tensor: torch.Tensor, entry: Seen, role: str) -> Observation:
        """Return what is known of `tensor`, whose entry is up to date; read it if it is small."""
        numbers = _torch.numbers_of(tensor) if entry.small else None
        return Observation(role, entry.value, entry.summary, entry.storage, numbers)

    def refresh(self, tensor: torch.Tensor, entry: Seen) -> None:
        """Bring an entry up to date with its tensor."""
        version = _torch.version_of(tensor)
        if version != entry.value.version:
            entry.value = Value(entry.id, version)
        self.read(tensor, entry)

    def forget(self) -> None:
        """Drop all references; later sightings get new numbers."""
        self.table.clear()


def _summarise(tensor: torch.Tensor, sizes: Any) -> tuple[TensorSummary, bool]:
    shape = tuple(size if isinstance(size, int) else -1 for size in sizes)
    summary = TensorSummary(
        shape,
        str(tensor.dtype).removeprefix("torch."),
        str(tensor.device),
        bool(tensor.requires_grad),
    )
    elements = 1
    for size in shape:
        elements *= size
    small = 0 <= elements <= SMALL and tensor.device.type == "cpu" and not tensor.dtype.is_complex
    return summary, small and -1 not in shape


def leaves(tree: Any, role: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested containers with their roles.

    Looks into tuples, named tuples, lists, dicts, dataclasses and mappings that are
    dataclasses too (such as ``ModelOutput``).

    >>> list(leaves({"a": (1, None)}, "output"))
    [("output['a'][0]", 1), ("output['a'][1]", None)]
    """
    if isinstance(tree, torch.Tensor) or depth > _DEEPEST:
        yield role, tree
    elif isinstance(tree, dict):
        attributes = is_dataclass(tree)
        for key, item in tree.items():
            place = f"{role}.{key}" if attributes else f"{role}[{key!r}]"
            yield from leaves(item, place, depth + 1)
    elif isinstance(tree, (tuple, list)):
        names = getattr(tree, "_fields", None)
        for index, item in enumerate(tree):
            place = f".{names[index]}" if names else f"[{index}]"
            yield from leaves(item, role + place, depth + 1)
    elif is_dataclass(tree) and not isinstance(tree, type):
        for field in fields(tree):
            value = getattr(tree, field.name, None)
            yield from leaves(value, f"{role}.{field.name}", depth + 1)
    else:
        yield role, tree


def arguments(args: Any, kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the leaves of positional and keyword arguments with their roles."""
    if not kwargs and type(args) is tuple and len(args) == 1 and isinstance(args[0], torch.Tensor):
        return [("args[0]", args[0])]
    found = list(leaves(args, "args"))
    for name, argument in kwargs.items():
        found += leaves(argument, f"kwargs[{name!r}]")
    return found


def results(result: Any) -> list[tuple[str, Any]]:
    """Return the leaves of what a module returned with their roles."""
    if isinstance(result, torch.Tensor):
        return [("output", result)]
    return list(leaves(result, "output"))


def text_of(thing: Any) -> str:
    """Describe something that is no tensor, running none of the user's code."""
    if thing is None or isinstance(thing, (bool, int, float)):
        return repr(thing)
    if isinstance(thing, str):
        return repr(thing if len(thing) <= 40 else thing[:37] + "...")
    return type(thing).__name__
