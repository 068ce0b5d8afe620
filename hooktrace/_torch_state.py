"""The seam: what a program's state consists of beyond values, and how it is put back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.modules.module as torch_module
import torch.optim.optimizer as torch_optimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from hooktrace._torch_hooks import TENSOR_HOOKS

__all__ = [
    "SAVING",
    "every_dictionary",
    "give_hooks",
    "global_backward_flag",
    "registrars",
    "restore_global_backward_flag",
    "same_storage",
    "set_version",
    "tensor_hooks",
    "versions_of",
]


def every_dictionary() -> list[Any]:
    """Return the process-wide dictionaries of hooks and of their options."""
    return [
        value
        for owner in (torch_module, torch_optimizer)
        for name, value in vars(owner).items()
        if name.startswith("_global") and hasattr(value, "values")
    ]


def global_backward_flag() -> bool | None:
    """Return whether global backward hooks are full ones; None if there never were any."""
    return torch_module._global_is_full_backward_hook


def restore_global_backward_flag(flag: bool | None) -> None:
    """Put back what `global_backward_flag` returned."""
    torch_module._global_is_full_backward_hook = flag


def registrars() -> Iterator[tuple[Any, str]]:
    """Yield owner and name of every public function that registers hooks, but for tensors'.

    Those of tensors are left out because Dynamo looks for the very functions.
    """
    for owner in (nn.Module, Optimizer, torch_module, torch_optimizer):
        for name, function in tuple(vars(owner).items()):
            if name.startswith("register_") and name.endswith("_hook"):
                if inspect.isfunction(function):
                    yield owner, name


SAVING: tuple[tuple[Any, str], ...] = (
    (nn.Module, "state_dict"),
    (nn.Module, "load_state_dict"),
)
"""Methods that look for hooks which private functions may have registered."""


def tensor_hooks(tensor: Tensor) -> dict[str, Any]:
    """Return the dictionaries of hooks on a leaf by the attribute that holds them; or None."""
    return {name: getattr(tensor, name) for name in TENSOR_HOOKS.values()}


def give_hooks(tensor: Tensor, attribute: str, hooks: Any) -> None:
    """Let a leaf have this dictionary of hooks, or None."""
    if getattr(tensor, attribute) is not hooks:
        setattr(tensor, attribute, hooks)


def same_storage(tensor: Tensor, alias: Tensor) -> bool:
    """Whether a tensor still lies where it lay when `alias` was made of it."""
    try:
        same = tensor.data_ptr() == alias.data_ptr() and tensor.stride() == alias.stride()
        return same and tensor.shape == alias.shape and tensor.dtype == alias.dtype
    except (RuntimeError, NotImplementedError):  # such as sparse tensors, which have no address
        return True


def _set_version(tensor: Tensor, version: int) -> None:
    _unsafe_set_version((tensor,), (version,))


def _set_version_before_2_7(tensor: Tensor, version: int) -> None:
    _unsafe_set_version(tensor, version)


_unsafe_set_version: Any = torch._C._autograd._unsafe_set_version_counter
_one_at_a_time = "arg0: torch.Tensor" in (_unsafe_set_version.__doc__ or "")

set_version: Callable[[Tensor, int], None] = (
    _set_version_before_2_7 if _one_at_a_time else _set_version
)
"""Puts a version counter back, for a tensor that holds again what it held at that version."""


def versions_of(tensors: Sequence[Tensor]) -> list[int] | None:
    """Return the version counters of tensors; None if one of them has none."""
    try:
        return [one._version for one in tensors]
    except (RuntimeError, NotImplementedError):
        return None
