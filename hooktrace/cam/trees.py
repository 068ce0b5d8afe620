"""Trees of tuples, lists, dicts and dataclasses with tensors, as models take and return them."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

__all__ = ["mapped", "repeated", "tensors_of"]


def mapped(tree: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return a tree with every tensor changed, in new containers of the same classes."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return _like(tree, {key: mapped(one, change) for key, one in tree.items()})
    if isinstance(tree, (tuple, list)):
        values = [mapped(one, change) for one in tree]
        return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)
    if is_dataclass(tree) and not isinstance(tree, type):
        changed = copy(tree)
        for one in fields(tree):
            if one.init and hasattr(tree, one.name):
                object.__setattr__(changed, one.name, mapped(getattr(tree, one.name), change))
        return changed
    return tree


def _like(tree: Any, items: dict[Any, Any]) -> Any:
    """Return a dict of the same class with other values."""
    if type(tree) is dict:
        return items
    if is_dataclass(tree):  # as the outputs of transformers are
        kind: Any = type(tree)
        return kind(**items)
    changed = copy(tree)  # a defaultdict keeps its factory
    changed.update(items)
    return changed


def tensors_of(tree: Any) -> list[Tensor]:
    """Return the tensors of a tree, in its order."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    mapped(tree, note)
    return found


def repeated(tree: Any, rows: Tensor, count: int, *, shared: bool = False, axis: int = 0) -> Any:
    """Return a tree with each tensor of `count` images as copies of the images `rows`.

    Args:
        tree: Tensors in tuples, lists, dicts and dataclasses.
        rows: Which images, (M,).
        count: How many there are; other tensors stay as they are.
        shared: Whether nobody writes to them, so that they need not be copies of their own.
        axis: Which axis the images are along, where that fits; else the first.
    """
    first = int(rows[0]) if shared and len(rows) and bool((rows == rows[0]).all()) else None

    def change(tensor: Tensor) -> Tensor:
        fits = [one for one in (axis, 0) if one < tensor.dim() and tensor.shape[one] == count]
        if not fits:
            return tensor if shared else tensor.clone()
        along = fits[0]
        if first is not None:
            sizes = [len(rows) if one == along else -1 for one in range(tensor.dim())]
            return tensor.narrow(along, first, 1).expand(sizes)
        return tensor.index_select(along, rows.to(tensor.device))

    return mapped(tree, change)
