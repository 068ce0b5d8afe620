"""What `trace()` and others take as models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from hooktrace import _torch
from hooktrace.errors import UnsupportedModuleError

__all__ = ["resolve_models"]


def resolve_models(what: Any, asked: str = "trace()") -> tuple[list[tuple[str, nn.Module]], bool]:
    """Turn what `asked` was given into pairs (prefix, module) and whether to record everything.

    Raises:
        UnsupportedModuleError: It is not made of modules, or holds a ScriptModule.
    """
    if what is None:
        return [], True
    if isinstance(what, nn.Module):
        pairs = [("", what)]
    elif isinstance(what, Mapping):
        pairs = [(str(name), module) for name, module in what.items()]
    elif isinstance(what, Sequence) and not isinstance(what, str):
        pairs = [(str(index), module) for index, module in enumerate(what)]
    else:
        raise UnsupportedModuleError(
            f"{asked} takes a module, several modules (a dict or a sequence) or nothing, "
            f"but got {type(what).__name__}."
        )
    if not pairs:
        raise UnsupportedModuleError(
            f"{asked} got an empty collection; leave it out to record all."
        )
    for name, module in pairs:
        if not isinstance(module, nn.Module):
            raise UnsupportedModuleError(
                f"{asked} got {type(module).__name__} as model {name!r}; it takes nn.Module."
            )
        if _torch.is_script_module(module):
            raise UnsupportedModuleError(
                f"{name or 'The model'} is a ScriptModule: TorchScript runs its inside "
                f"without Python, so no hook of its children fires and none can be seen. Trace the "
                f"eager model, or put `with trace() as t:` around the code that calls it, to "
                f"see the outermost calls, tensor hooks and gradients."
            )
    return pairs, False
