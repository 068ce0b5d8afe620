"""What a model returned, as a description from which it can be put together again.

The description holds no tensor: in the place of each stands its role, under which the log has it.
Nothing of the user's runs while it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import torch

from hooktrace.identity import text_of

__all__ = ["Container", "Slot", "build", "describe"]

_DEEPEST = 20


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


def describe(tree: Any, role: str = "output", depth: int = 0) -> Any:
    """Describe a result: tensors become `Slot`, containers `Container`, anything else plain."""
    if isinstance(tree, torch.Tensor):
        return Slot(role)
    if depth > _DEEPEST:
        return text_of(tree)
    if isinstance(tree, dict):
        named = is_dataclass(tree)
        pairs = [(key, item, f".{key}" if named else f"[{key!r}]") for key, item in tree.items()]
        how = "attributes" if named else "mapping"
    elif isinstance(tree, (tuple, list)):
        names = getattr(tree, "_fields", None)
        places = [f".{one}" for one in names] if names else [f"[{n}]" for n in range(len(tree))]
        pairs = list(zip(range(len(tree)), tree, places, strict=True))
        how = "named" if names else "sequence"
    elif is_dataclass(tree) and not isinstance(tree, type):
        own = [field.name for field in fields(tree) if field.init]
        pairs = [(name, getattr(tree, name, None), f".{name}") for name in own]
        how = "attributes"
    else:
        return tree if isinstance(tree, (bool, int, float, str, type(None))) else text_of(tree)
    items = tuple((key, describe(item, role + place, depth + 1)) for key, item, place in pairs)
    return Container(type(tree), how, items)


def build(description: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """Put a result together again.

    Args:
        description: What `describe` made.
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
