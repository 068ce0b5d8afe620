"""The seam: dictionaries of hooks that PyTorch loops over in Python, and the functions that do."""

from __future__ import annotations

from types import FrameType
from typing import Any

import torch.nn.modules.module as torch_module
import torch.optim.optimizer as torch_optimizer
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = [
    "LOOPS",
    "MODULE_HOOKS",
    "OPTIMIZER_HOOKS",
    "REGISTRATION_HOOKS",
    "REGISTRATION_OWNER",
    "STEP_OWNER",
    "has_saving_hooks",
    "registration_hooks",
    "saving_options",
    "schedulers",
    "step_hooks",
    "step_of",
    "steps_around",
]

MODULE_HOOKS = {
    "state_dict_pre": "_state_dict_pre_hooks",
    "state_dict_post": "_state_dict_hooks",
    "load_state_dict_pre": "_load_state_dict_pre_hooks",
    "load_state_dict_post": "_load_state_dict_post_hooks",
}
"""Where a module stores its hooks for saving and loading: dictionaries of number -> function."""


def has_saving_hooks(module: nn.Module) -> bool:
    """Whether hooks of the kinds in `MODULE_HOOKS` are registered on `module` itself."""
    return bool(
        module._state_dict_pre_hooks
        or module._state_dict_hooks
        or module._load_state_dict_pre_hooks
        or module._load_state_dict_post_hooks
    )


OPTIMIZER_HOOKS = {
    "optimizer_step_pre": "_optimizer_step_pre_hooks",
    "optimizer_step_post": "_optimizer_step_post_hooks",
    "optimizer_state_dict_pre": "_optimizer_state_dict_pre_hooks",
    "optimizer_state_dict_post": "_optimizer_state_dict_post_hooks",
    "optimizer_load_state_dict_pre": "_optimizer_load_state_dict_pre_hooks",
    "optimizer_load_state_dict_post": "_optimizer_load_state_dict_post_hooks",
}
"""Where an optimizer stores its hooks of each kind."""


LOOPS: dict[type, dict[str, tuple[str, ...]]] = {
    nn.Module: {
        "state_dict": ("_state_dict_pre_hooks", "_state_dict_hooks"),
        "_load_from_state_dict": ("_load_state_dict_pre_hooks",),
        "load_state_dict": ("_load_state_dict_post_hooks",),
    },
    Optimizer: {
        "state_dict": ("_optimizer_state_dict_pre_hooks", "_optimizer_state_dict_post_hooks"),
        "load_state_dict": (
            "_optimizer_load_state_dict_pre_hooks",
            "_optimizer_load_state_dict_post_hooks",
        ),
    },
}
"""Class -> method -> the attributes with the hooks that it loops over."""


REGISTRATION_OWNER: Any = torch_module
REGISTRATION_HOOKS = {
    "parameter_registration": "_global_parameter_registration_hooks",
    "buffer_registration": "_global_buffer_registration_hooks",
    "module_registration": "_global_module_registration_hooks",
}
"""Globals of `REGISTRATION_OWNER`, where hooks on the registration of members are stored."""


def registration_hooks() -> dict[str, Any]:
    """Return the dictionaries of hooks on the registration of members, by kind."""
    return {kind: getattr(torch_module, name) for kind, name in REGISTRATION_HOOKS.items()}


def saving_options(kind: str, hook: Any) -> tuple[str, ...]:
    """Return ``("private",)`` for what was registered by one of PyTorch's private functions."""
    if kind == "state_dict_post" and not getattr(hook, "_from_public_api", False):
        return ("private",)
    if kind == "load_state_dict_pre" and not getattr(hook, "with_module", True):
        return ("private",)
    return ()


STEP_OWNER: Any = torch_optimizer  # whose `chain` the wrapper of every `step` calls for its hooks


def step_of(frame: FrameType) -> tuple[Optimizer | None, bool]:
    """Return the optimizer whose step a frame is the wrapper of, and whether it has run."""
    names = frame.f_locals
    optimizer = names.get("self")
    if frame.f_code.co_name != "wrapper" or not isinstance(optimizer, Optimizer):
        return None, False
    return optimizer, "out" in names


def steps_around(frame: FrameType) -> int:
    """Return how many steps of optimizers run below a frame that is the wrapper of one."""
    wrappers = 0
    around = frame.f_back
    while around is not None:
        wrappers += around.f_code is frame.f_code
        around = around.f_back
    return wrappers


def schedulers() -> list[type]:
    """Return PyTorch's own classes of learning rate schedulers that have a ``step`` of their own.

    A ``step`` of the user's is left alone: it calls the one of a class of PyTorch's.
    """
    classes: list[type] = [LRScheduler]
    for kind in classes:
        classes += kind.__subclasses__()
    own = [one for one in dict.fromkeys(classes) if one.__module__ == LRScheduler.__module__]
    return [one for one in own if "step" in vars(one)]


def step_hooks() -> dict[str, Any]:
    """Return the dictionaries of the hooks on every optimizer's step, by kind."""
    return {
        "optimizer_step_pre": torch_optimizer._global_optimizer_pre_hooks,
        "optimizer_step_post": torch_optimizer._global_optimizer_post_hooks,
    }
