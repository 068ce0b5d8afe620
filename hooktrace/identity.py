"""Who is who: stable numbers for tensors, and what is read of them when they are seen."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any
from weakref import ref

import torch

from hooktrace import _torch
from hooktrace._torch import version_of
from hooktrace.events import (
    NodeId,
    Observation,
    StorageId,
    TensorId,
    TensorSummary,
    TracedTensor,
    Value,
)
from hooktrace.log import EventLog

__all__ = ["SMALL", "Identities", "Seen", "arguments", "leaves", "text_of"]

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
        row: Of a leaf, the row of its ``AccumulateGrad`` node.
        edge: Sequence number of the node that made this value, and output number; None if
            that was not looked up, or if there is none.
        measured: The value whose statistics were taken last, and their number.
    """

    __slots__ = (
        "edge",
        "id",
        "measured",
        "ref",
        "row",
        "shape",
        "small",
        "storage",
        "summary",
        "value",
    )

    ref: Callable[[], torch.Tensor | None]
    id: TensorId
    value: Value
    storage: StorageId | None
    summary: TensorSummary
    shape: Any
    small: bool
    edge: tuple[Value, tuple[int, int]] | None
    row: NodeId | None
    measured: tuple[Value, int] | None

    @property
    def is_view(self) -> bool:
        """Whether the tensor was a view of another one when it was first seen."""
        return self.storage != self.id  # type: ignore[comparison-overlap]


class _Unread(Seen):
    """The entry of a parameter of which only the version was read: the rest is when asked for."""

    __slots__ = ("identities",)

    identities: Identities

    def __getattr__(self, name: str) -> Any:
        tensor = self.ref() if name in Seen.__slots__ else None
        if tensor is None:
            raise AttributeError(name)
        base = _torch.base_of(tensor)
        self.storage = self.id if base is None else self.identities.seen(base).storage  # type: ignore[assignment]
        self.identities.read(tensor, self)
        return getattr(self, name)


class Identities:
    """Gives each tensor object a row number and describes what is seen of it.

    A tensor is known by its address as long as it lives, which a weak reference watches: an
    address that is used again gets a new number.
    """

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.table: dict[int, Seen] = {}
        self._numbers = itertools.count()
        self._summaries: dict[Any, tuple[TensorSummary, bool, Any]] = {}

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
        number: Any = next(self._numbers)
        entry.id = entry.storage = number
        entry.ref = ref(tensor)
        entry.edge = entry.row = entry.measured = None
        try:
            what, version, base = _torch.facts_of(tensor)
            known = self._summaries.get(what)
        except (RuntimeError, TypeError):  # no sizes, sizes that do not hash, or no version
            known, base = None, _torch.base_of(tensor)
            entry.value = Value(number, version_of(tensor))
        else:
            entry.value = Value(number, version)
        if known is None:
            self.read(tensor, entry)
        else:
            entry.summary, small, entry.shape = known
            entry.small = small and not _torch.is_wrapped(tensor)
        if base is not None:
            entry.storage = self.seen(base).storage
        return entry

    def read(self, tensor: torch.Tensor, entry: Seen) -> None:
        """Bring the summary of an entry up to date."""
        try:
            shape = tensor.shape
            key = (shape, tensor.dtype, tensor.device, tensor.requires_grad)
            known = self._summaries.get(key)
        except (RuntimeError, TypeError):  # a nested tensor has no sizes, symbolic ones no hash
            shape, key, known = _torch.shape_of(tensor), None, None
        if known is None:
            known = *_summarise(tensor, shape), shape
            if key is not None:
                self._summaries[key] = known
        entry.summary, small, entry.shape = known
        entry.small = small and not _torch.is_wrapped(tensor)

    def name(
        self, tensor: torch.Tensor, name: str, *, leaf: bool = False, parameter: bool = False
    ) -> TensorId:
        """Give `tensor` a name, unless it has one; return its number."""
        number = self.seen(tensor).id
        rows = self.log.tensors
        if number not in rows:
            rows[number] = TracedTensor(number, name, leaf, parameter)
            return number
        row = rows[number]
        if not row.name or (leaf and not row.leaf):
            rows[number] = TracedTensor(
                number, row.name or name, row.leaf or leaf, row.parameter or parameter
            )
        return number

    def enter_parameters(self, named: Iterable[tuple[str, torch.Tensor]]) -> Iterator[torch.Tensor]:
        """Enter the parameters of models with their names, and yield them."""
        table, rows, numbers = self.table, self.log.tensors, self._numbers
        for name, parameter in named:
            entry = table.get(id(parameter))
            if entry is None or entry.ref() is not parameter:
                entry = table[id(parameter)] = _Unread()
                entry.identities = self
                number: Any = next(numbers)
                entry.id = number
                entry.ref = ref(parameter)
                entry.value = Value(number, version_of(parameter))
                entry.edge = entry.row = entry.measured = None
                rows[number] = TracedTensor(number, name, True, True)
            elif not rows[entry.id].parameter:  # it was seen before its model was
                rows[entry.id] = TracedTensor(entry.id, name, True, True)
            yield parameter

    def unnumbered(self, seen: Observation) -> Observation:
        """Return a sighting under a value of its own, for content that no version tells apart."""
        number: Any = next(self._numbers)
        value = Value(number, None)
        return Observation(seen.role, value, seen.summary, seen.storage, seen.numbers, seen.stats)

    def refresh(self, tensor: torch.Tensor, entry: Seen) -> None:
        """Bring an entry up to date with its tensor."""
        version = _torch.version_of(tensor)
        if version != entry.value.version:
            entry.value = Value(entry.id, version)
        self.read(tensor, entry)

    def release(self, tensor: torch.Tensor) -> None:
        """Drop every weak reference to `tensor`: from now on it counts as dead."""
        entry = self.table.pop(id(tensor), None)
        if entry is not None:
            entry.ref = _dead
        for leaf, gradient in tuple(self.log.accumulated.items()):
            if gradient() is tensor:
                del self.log.accumulated[leaf]

    def prune(self) -> None:
        """Drop the entries of tensors that are gone."""
        for address, seen in tuple(self.table.items()):
            if seen.ref() is None:
                del self.table[address]

    def forget(self) -> None:
        """Drop all references; later sightings get new numbers."""
        self.table.clear()


def _dead() -> None:
    """Stand for the weak reference of a tensor that was released."""


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
