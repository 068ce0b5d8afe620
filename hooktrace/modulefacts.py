"""What a row of the table of modules tells of a module."""

from __future__ import annotations

from torch import nn

from hooktrace._torch_hooks import own_parameters

__all__ = ["base_of", "config_of", "size_of"]


def config_of(module: nn.Module) -> str:
    """Return how a module is configured, as it says itself, in one line."""
    try:
        return " ".join(module.extra_repr().split())
    except Exception:  # the user's own code; its text is not worth a failure
        return ""


def base_of(kind: type[nn.Module]) -> str:
    """Return the name of the first class that PyTorch defines among those of a module."""
    for one in kind.__mro__:
        if one.__module__.startswith("torch.nn."):
            return one.__name__
    return "Module"


def size_of(module: nn.Module) -> int:
    """Return how many numbers a module's own parameters have, without its children's."""
    return sum([parameter.numel() for _, parameter in own_parameters(module)])
