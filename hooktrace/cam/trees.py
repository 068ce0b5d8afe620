"""Trees of tuples, lists and dicts that hold tensors, as models take and return them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

__all__ = ["mapped", "repeated", "tensors_of"]


def mapped(tree: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return a tree of tuples, lists and dicts with every tensor changed."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        items = {key: mapped(one, change) for key, one in tree.items()}
        return items if type(tree) is dict else type(tree)(**items)
    if isinstance(tree, (tuple, list)):
        values = [mapped(one, change) for one in tree]
        return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)
    return tree


def tensors_of(tree: Any) -> list[Tensor]:
    """Return the tensors of a tree, in its order."""
    found: list[Tensor] = []
    mapped(tree, found.append)
    return found


def repeated(tree: Any, rows: Tensor, count: int, *, shared: bool = False) -> Any:
    """Return a tree with each tensor of `count` images as copies of the images `rows`.

    Args:
        tree: Tensors in tuples, lists and dicts.
        rows: Which images, (M,).
        count: How many there are; other tensors stay as they are.
        shared: Whether nobody writes to them, so that they need not be copies of their own.
    """
    first = int(rows[0]) if shared and len(rows) and bool((rows == rows[0]).all()) else None

    def change(tensor: Tensor) -> Tensor:
        if not tensor.dim() or len(tensor) != count:
            return tensor if shared else tensor.clone()
        if first is not None:
            return tensor[first].expand(len(rows), *tensor.shape[1:])
        return tensor.index_select(0, rows.to(tensor.device))

    return mapped(tree, change)
