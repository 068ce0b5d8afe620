"""Describes what a model returned.  Nothing of the user's runs while that is done."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import torch

from hooktrace.descriptions import Container, Slot
from hooktrace.identity import text_of

__all__ = ["describe"]

_DEEPEST = 20


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
