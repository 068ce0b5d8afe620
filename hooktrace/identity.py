"""Who is who: stable numbers for tensors, and what is read of them when they are seen."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch

from hooktrace import _torch
from hooktrace.events import Observation, StorageId, TensorId, TensorSummary, TracedTensor, Value
from hooktrace.log import EventLog

__all__ = ["SMALL", "Identities", "Seen", "arguments", "leaves", "text_of"]

SMALL = 16
"""CPU tensors of at most this many elements are recorded whole."""

_DEEPEST = 20  # containers nested deeper than this, or in themselves, are not looked into


class Seen:
    """What is remembered of a tensor between two sightings, without keeping it alive."""

    __slots__ = ("id", "ref", "storage", "version")

    def __init__(self, tensor: torch.Tensor, number: TensorId, storage: StorageId | None) -> None:
        self.ref = weakref.ref(tensor)
        self.id = number
        self.storage = storage
        self.version = _torch.version_of(tensor)


class Identities:
    """Gives each tensor object a row number and describes what is seen of it.

    A tensor is known by its address as long as it lives, which a weak reference watches: an
    address that is used again gets a new number.
    """

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._tensors: dict[int, Seen] = {}
        self._storages: dict[int, tuple[StorageId, weakref.ref[torch.Tensor]]] = {}
        self._storage_count = 0
        self._summaries: dict[Any, tuple[TensorSummary, bool]] = {}

    def seen(self, tensor: torch.Tensor) -> tuple[Seen, bool]:
        """Return the entry of `tensor`, and whether it is new."""
        entry = self._tensors.get(id(tensor))
        if entry is not None and entry.ref() is tensor:
            return entry, False
        number = TensorId(len(self.log.tensors))
        self.log.tensors.append(TracedTensor(number))
        entry = Seen(tensor, number, self._storage(tensor))
        self._tensors[id(tensor)] = entry
        return entry, True

    def known(self, tensor: torch.Tensor) -> TensorId | None:
        """Return the number of `tensor` if it has one."""
        entry = self._tensors.get(id(tensor))
        return entry.id if entry is not None and entry.ref() is tensor else None

    def name(
        self, tensor: torch.Tensor, name: str, *, leaf: bool = False, parameter: bool = False
    ) -> TensorId:
        """Give `tensor` a name, unless it has one; return its number."""
        number = self.seen(tensor)[0].id
        row = self.log.tensors[number]
        if not row.name or (leaf and not row.leaf):
            self.log.tensors[number] = TracedTensor(
                number, row.name or name, row.leaf or leaf, row.parameter or parameter
            )
        return number

    def describe(self, tensor: torch.Tensor, seen: Seen, role: str) -> Observation:
        """Return what can be read of `tensor` without touching its data, unless it is small."""
        if not _torch.is_plain(tensor):
            with _torch.hidden():
                return self._describe(tensor, seen, role)
        return self._describe(tensor, seen, role)

    def _describe(self, tensor: torch.Tensor, seen: Seen, role: str) -> Observation:
        key = (tensor.shape, tensor.dtype, tensor.device, tensor.requires_grad)
        try:
            known = self._summaries.get(key)
        except TypeError:  # symbolic sizes do not hash
            known = _summarise(tensor)
        if known is None:
            known = self._summaries[key] = _summarise(tensor)
        summary, small = known
        numbers = _torch.numbers_of(tensor) if small else None
        return Observation(role, Value(seen.id, seen.version), summary, seen.storage, numbers)

    def forget(self) -> None:
        """Drop all references; later sightings get new numbers."""
        self._tensors.clear()
        self._storages.clear()

    def _storage(self, tensor: torch.Tensor) -> StorageId | None:
        key = _torch.storage_key(tensor)
        if key is None:
            return None
        known = self._storages.get(key)
        if known is not None and known[1]() is not None:
            number = known[0]
        else:
            number = StorageId(self._storage_count)
            self._storage_count += 1
        self._storages[key] = (number, weakref.ref(tensor))
        return number


def _summarise(tensor: torch.Tensor) -> tuple[TensorSummary, bool]:
    shape = tuple(int(size) if isinstance(size, int) else -1 for size in tensor.shape)
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
    return summary, small


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
            yield from leaves(
                item, f"{role}.{key}" if attributes else f"{role}[{key!r}]", depth + 1
            )
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
    found = list(leaves(args, "args"))
    for name, argument in kwargs.items():
        found += leaves(argument, f"kwargs[{name!r}]")
    return found


def text_of(thing: Any) -> str:
    """Describe something that is no tensor, running none of the user's code."""
    if thing is None or isinstance(thing, (bool, int, float)):
        return repr(thing)
    if isinstance(thing, str):
        return repr(thing if len(thing) <= 40 else thing[:37] + "...")
    return type(thing).__name__
