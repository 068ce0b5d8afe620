"""The seam: the tensors that autograd's nodes have saved, and the memory of tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from hooktrace._torch import LEAF_SEQUENCE, is_wrapped, leaf_of, sequence_of
from hooktrace._torch_graph import SAVED_TENSOR, reachable

__all__ = [
    "TELLS_HOOKS",
    "graph_bytes",
    "memory_of",
    "saved_content",
    "saved_tensors",
    "storage_of",
]

TELLS_HOOKS: bool = hasattr(SAVED_TENSOR, "unpack_hook")  # from 2.10 on, or somewhat earlier
"""Whether a saved tensor tells whether it has an unpack hook, and shows what it holds."""


def storage_of(tensor: Tensor) -> int:
    """Return a number for the memory of a tensor, equal for tensors that share it; 0 for none."""
    if is_wrapped(tensor):
        return 0
    return tensor.untyped_storage()._cdata  # type: ignore[no-any-return]


def memory_of(tensor: Tensor) -> int:
    """Return the size of the memory of a tensor in bytes, that of the rest of its base included."""
    return 0 if is_wrapped(tensor) else tensor.untyped_storage().nbytes()


def saved_tensors(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a node saved, by the name of the attribute without ``_saved_``.

    A node that has let go of it yields nothing.
    """
    for name in _raw_names(type(node)):
        try:
            raw = getattr(node, name)
        except RuntimeError:  # it has run
            continue
        attribute = name.removeprefix("_raw_saved_")
        if isinstance(raw, tuple):
            for place, one in enumerate(raw):
                yield f"{attribute}[{place}]", one
        elif raw is not None:
            yield attribute, raw


def _raw_names(kind: type) -> tuple[str, ...]:
    names = _RAW_NAMES.get(kind)
    if names is None:
        names = tuple(name for name in dir(kind) if name.startswith("_raw_saved_"))
        if not issubclass(kind, torch.autograd.function.BackwardCFunction):  # those come and go
            _RAW_NAMES[kind] = names
    return names


_RAW_NAMES: dict[type, tuple[str, ...]] = {}


def saved_content(raw: Any) -> Tensor | None:
    """Return the tensor that was saved, as it is now; None if PyTorch does not show it.

    It is not unpacked: no hook is called, and no version is compared.
    """
    if not TELLS_HOOKS or raw.unpack_hook is not None:
        return None
    try:
        content = raw.data
    except RuntimeError:
        return None
    return content if isinstance(content, Tensor) else None


def refusal(node: Any, attribute: str) -> str:
    """Return what PyTorch raises when something that a node saved is unpacked; empty if nothing.

    This calls unpack hooks, if there are any.
    """
    name = attribute.partition("[")[0]
    python = isinstance(node, torch.autograd.function.BackwardCFunction)
    try:
        getattr(node, "saved_tensors" if python else f"_saved_{name}")
    except RuntimeError as error:
        return str(error)
    return ""


def created_at(node: Any, skip: Callable[[str], bool]) -> str:
    """Return the ``file:line`` at which a node was created; empty without anomaly detection.

    Args:
        node: A node.
        skip: Whether a file is not one to tell of.
    """
    if not torch.is_anomaly_enabled():
        return ""
    frames = "".join(node.metadata.get("traceback_", ()))
    lines = re.findall(r'File "(.+?)", line (\d+)', frames)
    return next((f"{file}:{line}" for file, line in reversed(lines) if not skip(file)), "")


def graph_bytes(tensor: Tensor, budget: list[int]) -> int | None:
    """Return how much memory a tensor keeps alive by its autograd graph, beside its own.

    Args:
        tensor: Any tensor.
        budget: How many nodes may be looked at still; it is counted down.

    Returns:
        The size of all that its graph has saved, without that of leaves, in bytes, as far as
        PyTorch shows it and the budget reaches; None if it has no graph.
    """
    if tensor.grad_fn is None:
        return None
    sizes: dict[int, int] = {}
    leaves = {storage_of(tensor)}
    nodes = reachable([tensor.grad_fn]) if budget[0] > 0 else []
    budget[0] -= len(nodes)
    for node in nodes:
        if sequence_of(node) == LEAF_SEQUENCE:
            leaves.add(storage_of(leaf_of(node)))
            continue
        for _, raw in saved_tensors(node):
            content = saved_content(raw)
            if content is not None:
                sizes[storage_of(content)] = memory_of(content)
    return sum(size for storage, size in sizes.items() if storage not in leaves)
