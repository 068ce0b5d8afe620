"""Descriptions of what a model returned, from which it can be put together again.

A description holds no tensor: in the place of each stands its role, under which the log has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Container", "Slot", "build"]


class Slot(NamedTuple):
    """The place of a tensor: its role, such as ``output['logits']``."""

    role: str


class Container(NamedTuple):
    """A tuple, list, dict or dataclass: its class, and what it holds, by key.

    Attributes:
        kind: The class.
        how: ``sequence``, ``named`` (a named tuple), ``mapping`` or ``attributes`` (a dataclass).
        items: Pairs of a key and a description.
    """

    kind: type
    how: str
    items: tuple[tuple[Any, Any], ...]


def build(description: Any, tensors: Mapping[str, Any]) -> Any:
    """Put a result together again.

    Args:
        description: A `Slot`, a `Container`, or what is neither and stands for itself.
        tensors: By role, what goes to each place.

    Raises:
        KeyError: There is no tensor for a role.
    """
    if isinstance(description, Slot):
        return tensors[description.role]
    if not isinstance(description, Container):
        return description
    items = [(key, build(item, tensors)) for key, item in description.items]
    if description.how == "attributes":
        return description.kind(**dict(items))
    if description.how == "mapping":
        try:
            return description.kind(items)
        except TypeError:  # a subclass with a constructor of its own, such as defaultdict
            return dict(items)
    values = [item for _, item in items]
    return description.kind(*values) if description.how == "named" else description.kind(values)
