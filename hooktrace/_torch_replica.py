"""A second tree of modules over the same parameters, to run a model without touching it."""

from __future__ import annotations

from collections import OrderedDict
from types import MethodType
from typing import Any

from torch import Tensor, nn

__all__ = ["Buffers", "replicate", "version_of"]

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def replicate(module: nn.Module) -> nn.Module:
    """Return a twin of a module: the same parameters, cloned buffers, and no hooks.

    Lists, dicts and sets among the attributes are copied one level deep; a module that occurs
    twice has one twin.
    """
    return _twin(module, {}, {})


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor was written to in place."""
    return 0 if tensor.is_inference() else tensor._version


class Buffers:
    """The buffers of a twin, to be put back to what they are of its original.

    Args:
        original: A module.
        twin: Its twin, before it was run.
    """

    def __init__(self, original: nn.Module, twin: nn.Module) -> None:
        self._own = [(one, dict(one._buffers)) for one in twin.modules() if one._buffers]
        pairs = zip(twin.buffers(), original.buffers(), strict=True)
        self._pairs = [(one, source, version_of(one)) for one, source in pairs]

    def put_back(self) -> None:
        """Undo what runs of the twin have written to them, or put in their places."""
        for module, own in self._own:
            module._buffers.update(own)
        for number, (buffer, source, version) in enumerate(self._pairs):
            if version_of(buffer) != version:
                buffer.data.copy_(source)
                self._pairs[number] = buffer, source, version_of(buffer)


def _twin(module: nn.Module, known: dict[int, nn.Module], buffers: dict[int, Tensor]) -> nn.Module:
    if id(module) in known:
        return known[id(module)]
    kind = type(module)
    twin = known[id(module)] = kind.__new__(kind)
    own = twin.__dict__
    own.update(module.__dict__)
    own.update((name, OrderedDict()) for name in _HOOKS if name in own)
    own["_compiled_call_impl"] = None
    own["_parameters"] = own["_parameters"].copy()
    own["_buffers"] = own["_buffers"].copy()
    for name, buffer in own["_buffers"].items():
        if buffer is not None:
            own["_buffers"][name] = buffers.setdefault(id(buffer), buffer.detach().clone())
    own["_modules"] = own["_modules"].copy()
    for name, child in own["_modules"].items():
        if child is not None:
            own["_modules"][name] = _twin(child, known, buffers)
    for name, value in module.__dict__.items():
        if name not in ("_parameters", "_buffers", "_modules", *_HOOKS):
            own[name] = _attribute(value, known) if name != "_compiled_call_impl" else None
    return twin


def _attribute(value: Any, known: dict[int, nn.Module]) -> Any:
    """Return what a twin has as an attribute: never a container that the original writes to."""
    if isinstance(value, MethodType) and id(value.__self__) in known:
        return MethodType(value.__func__, known[id(value.__self__)])
    if isinstance(value, nn.Module):
        return known.get(id(value), value)
    if type(value) is list:
        return [known.get(id(one), one) for one in value]
    if type(value) is dict:
        return {key: known.get(id(one), one) for key, one in value.items()}
    return set(value) if type(value) is set else value
