"""The seam: where PyTorch stores hooks, and which functions register them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from types import CellType, CodeType, FrameType
from typing import Any, NamedTuple

import torch
import torch.nn.modules.module as torch_module
import torch.optim.optimizer as torch_optimizer
from torch import Tensor, nn
from torch.autograd.function import _HookMixin
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from hooktrace._torch import gradient_of

__all__ = [
    "HANDLE",
    "REGISTRATIONS",
    "TENSOR_HOOKS",
    "MultiGrad",
    "global_flag_is_left",
    "global_hooks",
    "has_hooks",
    "hook_options",
    "hooks_on",
    "is_bare",
    "is_compiled",
    "is_internal",
    "module_has_hooks",
    "module_has_own_hooks",
    "multi_grad",
    "own_buffers",
    "own_hooks",
    "own_parameters",
    "own_tensors",
    "parameters_of",
    "registered",
    "registration",
    "torch_file",
]

HANDLE: Any = RemovableHandle  # made by every register_* function


def module_has_hooks(module: nn.Module) -> bool:
    """Whether a call of `module` takes PyTorch's slow path, with hooks."""
    return bool(
        module._forward_pre_hooks
        or module._forward_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or torch_module._global_forward_pre_hooks
        or torch_module._global_forward_hooks
        or torch_module._global_backward_hooks
        or torch_module._global_backward_pre_hooks
    )


def is_compiled(module: nn.Module) -> bool:
    """Whether ``module.compile()`` was called: then its calls run compiled code."""
    return module._compiled_call_impl is not None


def own_parameters(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters of `module` itself that have a size yet, without its children's."""
    return [
        (name, one)
        for name, one in module._parameters.items()
        if type(one) is nn.Parameter or not (one is None or nn.parameter.is_lazy(one))
    ]


def parameters_of(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """Return all of `own_parameters` of these modules, and those without a size."""
    return [one for own in modules for one in own._parameters.values() if one is not None]


def own_buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the buffers of `module` itself that have a size yet, without its children's."""
    for name, buffer in module._buffers.items():
        if buffer is not None and not nn.parameter.is_lazy(buffer):
            yield name, buffer


def own_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yield the parameters and buffers of `module` itself that have a size yet."""
    for _, parameter in own_parameters(module):
        yield parameter
    for _, buffer in own_buffers(module):
        yield buffer


TENSOR_HOOKS = {
    "tensor": "_backward_hooks",
    "post_accumulate_grad": "_post_accumulate_grad_hooks",
}
"""Where a tensor stores its hooks of each kind: None, or a dictionary of number -> function."""


def hooks_on(tensor: Tensor, kind: str) -> dict[int, Any]:
    """Return the hooks of a kind in `TENSOR_HOOKS` that are registered on `tensor`."""
    return getattr(tensor, TENSOR_HOOKS[kind]) or {}


def has_hooks(tensor: Tensor) -> bool:
    """Whether hooks of the kinds in `TENSOR_HOOKS` are registered on `tensor`."""
    return bool(tensor._backward_hooks or tensor._post_accumulate_grad_hooks)


def is_bare(leaf: Tensor) -> bool:
    """Whether a leaf has neither a gradient nor a dictionary of hooks."""
    return (
        gradient_of(leaf) is None
        and leaf._backward_hooks is None
        and leaf._post_accumulate_grad_hooks is None
    )


def global_hooks() -> dict[str, dict[int, Any]]:
    """Return the dictionaries of global module hooks by kind; the backward one by its flag."""
    legacy = torch_module._global_is_full_backward_hook is False
    return {
        "forward_pre": torch_module._global_forward_pre_hooks,
        "forward": torch_module._global_forward_hooks,
        "full_backward_pre": torch_module._global_backward_pre_hooks,
        "backward" if legacy else "full_backward": torch_module._global_backward_hooks,
    }


def global_flag_is_left() -> bool:
    """Whether PyTorch takes global backward hooks for full ones though there are none now."""
    full = torch_module._global_is_full_backward_hook is True
    return full and not torch_module._global_backward_hooks


def own_hooks(module: nn.Module) -> dict[str, dict[int, Any]]:
    """Return the dictionaries of a module's own hooks by kind."""
    legacy = module._is_full_backward_hook is False
    backward = module._backward_hooks
    return {
        "forward_pre": module._forward_pre_hooks,
        "full_backward_pre": module._backward_pre_hooks,
        "forward": module._forward_hooks,
        "full_backward": {} if legacy else backward,
        "backward": backward if legacy else {},
    }


def module_has_own_hooks(module: nn.Module) -> bool:
    """Whether hooks of the kinds in `own_hooks` are registered on `module` itself."""
    return bool(
        module._forward_pre_hooks
        or module._forward_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def hook_options(module: nn.Module | None, kind: str, number: int) -> tuple[str, ...]:
    """Return the options that a forward hook was registered with, as far as they are stored.

    Args:
        module: The module that it is registered on; None for a global hook.
        kind: PyTorch's word for it.
        number: Its key in the dictionary that holds it.
    """
    owner, start = (torch_module, "_global") if module is None else (module, "")
    return tuple(
        option
        for option, name in _STORED.items()
        if number in getattr(owner, f"{start}_{kind}_hooks_{name}", ())
    )


# Code object of a registering function -> kind.
REGISTRATIONS: dict[CodeType, str] = {
    inspect.unwrap(function).__code__: kind
    for kind, function in (
        ("forward_pre", nn.Module.register_forward_pre_hook),
        ("forward", nn.Module.register_forward_hook),
        ("full_backward_pre", nn.Module.register_full_backward_pre_hook),
        ("full_backward", nn.Module.register_full_backward_hook),
        ("backward", nn.Module.register_backward_hook),
        ("tensor", Tensor.register_hook),
        ("post_accumulate_grad", Tensor.register_post_accumulate_grad_hook),
        ("node", _HookMixin._register_hook),
        ("forward_pre", torch_module.register_module_forward_pre_hook),
        ("forward", torch_module.register_module_forward_hook),
        ("full_backward_pre", torch_module.register_module_full_backward_pre_hook),
        ("full_backward", torch_module.register_module_full_backward_hook),
        ("backward", torch_module.register_module_backward_hook),
        ("parameter_registration", torch_module.register_module_parameter_registration_hook),
        ("buffer_registration", torch_module.register_module_buffer_registration_hook),
        ("module_registration", torch_module.register_module_module_registration_hook),
        ("state_dict_pre", nn.Module.register_state_dict_pre_hook),
        ("state_dict_post", nn.Module.register_state_dict_post_hook),
        ("state_dict_post", nn.Module._register_state_dict_hook),
        ("load_state_dict_pre", nn.Module._register_load_state_dict_pre_hook),
        ("load_state_dict_post", nn.Module.register_load_state_dict_post_hook),
        ("optimizer_step_pre", Optimizer.register_step_pre_hook),
        ("optimizer_step_post", Optimizer.register_step_post_hook),
        ("optimizer_step_pre", torch_optimizer.register_optimizer_step_pre_hook),
        ("optimizer_step_post", torch_optimizer.register_optimizer_step_post_hook),
        ("optimizer_state_dict_pre", Optimizer.register_state_dict_pre_hook),
        ("optimizer_state_dict_post", Optimizer.register_state_dict_post_hook),
        ("optimizer_load_state_dict_pre", Optimizer.register_load_state_dict_pre_hook),
        ("optimizer_load_state_dict_post", Optimizer.register_load_state_dict_post_hook),
    )
}

_OPTIONS = ("prepend", "with_kwargs", "always_call")
_STORED = {"with_kwargs": "with_kwargs", "always_call": "always_called"}
_EVERYWHERE = {"optimizer_step_pre": "every optimizer", "optimizer_step_post": "every optimizer"}
_PUBLIC = nn.Module.register_load_state_dict_pre_hook.__code__


def registration(frame: FrameType) -> tuple[str, Any, Any, tuple[str, ...]] | None:
    """Read a registration from the frame of PyTorch's registering function.

    Args:
        frame: The frame that is making a ``RemovableHandle``.

    Returns:
        Kind, owner (a module, a tensor, an optimizer; None for a global module hook, a text for
        what cannot be told), function and options; None where the frame is none of
        `REGISTRATIONS`, or is PyTorch's own way to bring about another kind of hook.
    """
    kind = REGISTRATIONS.get(frame.f_code)
    if kind is None:
        return None
    names = frame.f_locals
    function = names["hook"]
    if kind == "node":
        return None if is_internal(function) else (kind, "an autograd node", function, ())
    options = tuple(option for option in _OPTIONS if names.get(option))
    if frame.f_code.co_name.startswith("_"):
        caller = frame.f_back
        if caller is None or caller.f_code is not _PUBLIC:
            options = (*options, "private")
    return kind, names.get("self", _EVERYWHERE.get(kind)), function, options


def is_internal(hook: Any) -> bool:
    """Whether a node's hook is PyTorch's own means to call hooks of modules."""
    module = getattr(hook, "__module__", None)
    return type(hook) is torch_module._WrappedHook or module == torch.utils.hooks.__name__


def registered(hook: Any) -> Any:
    """Return what the user registered where PyTorch's dictionary holds a wrapper of it."""
    return hook.hook if type(hook) is torch_module._WrappedHook else hook


class MultiGrad(NamedTuple):
    """What stands behind the tensor hooks that ``register_multi_grad_hook`` makes.

    Attributes:
        function: The user's function.
        mode: ``all`` or ``any``.
        cell: Where the tensor hooks look it up.
    """

    function: Any
    mode: str
    cell: CellType


def multi_grad(hook: Any) -> MultiGrad | None:
    """Return what a tensor hook is a part of, if ``register_multi_grad_hook`` made it."""
    code = getattr(hook, "__code__", None)
    if not isinstance(code, CodeType) or not torch_file(code.co_filename):
        return None
    mode = _MULTI_GRAD.get(code.co_qualname)
    if mode is None:
        return None
    cell = hook.__closure__[code.co_freevars.index("fn")]
    return MultiGrad(cell.cell_contents, mode, cell)


_MULTI_GRAD = {
    "register_multi_grad_hook.<locals>.get_inner_hook.<locals>.inner_hook": "all",
    "register_multi_grad_hook.<locals>.wrapped_fn": "any",
}


def torch_file(filename: str) -> bool:
    """Whether `filename` lies in PyTorch itself."""
    return filename.startswith(_TORCH_FOLDER)


_TORCH_FOLDER = torch.__file__.rpartition("/")[0] + "/"
