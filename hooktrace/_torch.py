"""The seam: the only file that touches PyTorch's underscore names and version differences.

Everything here is small and says what PyTorch does, so that a new PyTorch release is a matter
of this file.  Checked on 2.14 and 2.15.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any

import torch
import torch.nn.modules.module as torch_module
from torch import Tensor, nn
from torch.autograd import Variable
from torch.autograd.function import _HookMixin
from torch.utils.hooks import RemovableHandle

__all__ = [
    "ENGINE_OWNER",
    "HANDLE",
    "NODE_REGISTRAR",
    "LEAF_SEQUENCE",
    "REGISTRATIONS",
    "content_copy",
    "current_sequence",
    "global_hooks",
    "hidden",
    "instrumented_call_impl",
    "hook_options",
    "is_compiling",
    "is_plain",
    "is_script_module",
    "is_wrapped",
    "module_has_hooks",
    "module_has_own_hooks",
    "numbers_of",
    "own_hooks",
    "plain_sum",
    "registration",
    "same_content",
    "storage_key",
    "torch_file",
    "version_of",
]

# ------------------------------------------------------------------ tensors

_PLAIN = frozenset({Tensor, nn.Parameter, nn.Buffer})


def is_plain(tensor: Tensor) -> bool:
    """Whether reading attributes of `tensor` runs no code of the user's.

    False for subclasses with a ``__torch_function__`` of their own and under a
    ``TorchFunctionMode``: both see even ``tensor.shape``.
    """
    return type(tensor) in _PLAIN and not torch._C._len_torch_function_stack()


@contextlib.contextmanager
def hidden() -> Any:
    """Within it, what hooktrace asks of tensors is seen by no function or dispatch mode."""
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        yield


def is_wrapped(tensor: Tensor) -> bool:
    """Whether the data of `tensor` cannot be read: functorch's wrappers, fake and meta tensors."""
    return (
        type(tensor) not in _PLAIN
        or tensor.device.type == "meta"
        or tensor.layout is not torch.strided
        or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        or torch._is_functional_tensor(tensor)
    )


def version_of(tensor: Tensor) -> int | None:
    """Return the version counter, or None for an inference tensor, which has none."""
    try:
        return int(tensor._version)
    except (RuntimeError, NotImplementedError):
        return None


def storage_key(tensor: Tensor) -> int | None:
    """Return the address of the storage object, or None where there is no storage.

    Addresses are reused after the storage has died: compare only while a tensor lives.
    """
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):
        return None


def content_copy(tensor: Tensor) -> Tensor:
    """Return a copy on the same device that shares nothing with `tensor` or its graph."""
    if torch._C._len_torch_dispatch_stack() or not is_plain(tensor):
        with hidden():
            return tensor.detach().clone()
    return tensor.detach().clone()


def numbers_of(tensor: Tensor) -> tuple[float, ...] | None:
    """Return all elements in row-major order, or None where they cannot be read."""
    if is_wrapped(tensor):
        return None
    try:
        if torch._C._len_torch_dispatch_stack():
            with hidden():
                return tuple(_flat(tensor.tolist()))
        return tuple(_flat(tensor.tolist()))
    except (RuntimeError, NotImplementedError):
        return None


def same_content(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same numbers; NaN equals NaN.

    On a device other than the CPU nothing is compared, for that would synchronise it: there
    only the version counter tells, and this returns whether `other` was never written to.
    """
    if one.device.type != "cpu":
        return version_of(other) == 0
    with hidden():
        if one.shape != other.shape:
            return False
        same = one == other.detach()
        if not one.is_floating_point() and not one.is_complex():
            return bool(same.all())
        return bool((same | (one.isnan() & other.detach().isnan())).all())


def _flat(nested: Any) -> Iterator[float]:
    if isinstance(nested, list):
        for item in nested:
            yield from _flat(item)
    else:
        yield nested


def plain_sum(one: Tensor, other: Tensor) -> Tensor:
    """Return the sum of two copies, unseen by the user's modes."""
    with torch.no_grad(), hidden():
        return one + other


def is_script_module(module: nn.Module) -> bool:
    """Whether `module` was scripted or traced to TorchScript."""
    return isinstance(module, torch.jit.ScriptModule)


# ------------------------------------------------------------------ autograd

ENGINE_OWNER: Any = Variable  # whose `_execution_engine` every backward() and grad() goes through
NODE_REGISTRAR: Any = _HookMixin  # whose `_register_hook` C++ nodes call to store a Python hook


LEAF_SEQUENCE = 2**64 - 1  # the sequence number that all AccumulateGrad nodes have


def current_sequence() -> int:
    """Return the sequence number that the next autograd node of this thread will get."""
    return int(torch.autograd._get_sequence_nr())


# ------------------------------------------------------------------ hooks

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


def global_hooks() -> dict[str, dict[int, Any]]:
    """Return the dictionaries of global module hooks by kind; the backward one by its flag."""
    legacy = torch_module._global_is_full_backward_hook is False
    return {
        "forward_pre": torch_module._global_forward_pre_hooks,
        "forward": torch_module._global_forward_hooks,
        "full_backward_pre": torch_module._global_backward_pre_hooks,
        "backward" if legacy else "full_backward": torch_module._global_backward_hooks,
    }


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


def hook_options(module: nn.Module, kind: str, number: int) -> tuple[str, ...]:
    """Return the options that a forward hook of `module` was registered with, as far as stored."""
    if kind == "forward_pre":
        return ("with_kwargs",) if number in module._forward_pre_hooks_with_kwargs else ()
    if kind != "forward":
        return ()
    options = ["with_kwargs"] if number in module._forward_hooks_with_kwargs else []
    return (*options, *(["always_call"] if number in module._forward_hooks_always_called else []))


def is_compiling() -> bool:
    """Whether Dynamo or export is tracing this code."""
    return torch.compiler.is_compiling()


# Code object of a registering function -> (kind, whether its `self` is what it registers on).
REGISTRATIONS: dict[CodeType, str] = {
    function.__code__: kind
    for kind, function in (
        ("forward_pre", nn.Module.register_forward_pre_hook),
        ("forward", nn.Module.register_forward_hook),
        ("full_backward_pre", nn.Module.register_full_backward_pre_hook),
        ("full_backward", nn.Module.register_full_backward_hook),
        ("backward", nn.Module.register_backward_hook),
        ("tensor", Tensor.register_hook),
        ("post_accumulate_grad", Tensor.register_post_accumulate_grad_hook),
        ("forward_pre", torch_module.register_module_forward_pre_hook),
        ("forward", torch_module.register_module_forward_hook),
        ("full_backward_pre", torch_module.register_module_full_backward_pre_hook),
        ("full_backward", torch_module.register_module_full_backward_hook),
        ("backward", torch_module.register_module_backward_hook),
    )
}

_OPTIONS = ("prepend", "with_kwargs", "always_call")


def registration(frame: FrameType) -> tuple[str, Any, Any, tuple[str, ...]] | None:
    """Read a registration from the frame of PyTorch's registering function.

    Args:
        frame: The frame that is making a ``RemovableHandle``.

    Returns:
        Kind, owner (a module, a tensor, or None for a global hook), function and options; None
        where the frame is none of `REGISTRATIONS`.
    """
    kind = REGISTRATIONS.get(frame.f_code)
    if kind is None:
        return None
    names = frame.f_locals
    options = tuple(option for option in _OPTIONS if names.get(option))
    return kind, names.get("self"), names["hook"], options


def torch_file(filename: str) -> bool:
    """Whether `filename` lies in PyTorch itself."""
    return filename.startswith(_TORCH_FOLDER)


_TORCH_FOLDER = torch.__file__.rpartition("/")[0] + "/"


# ------------------------------------------------------------------ where hooks are called


class _HookSites(ast.NodeTransformer):
    """Puts an observation around every place where ``_call_impl`` calls a hook or forward.

    ``hook(self, args, result)`` becomes
    ``hook_returned(hook_called(hook_id, hook, self, args=args, result=result),
    hook(self, args, result))``, and ``forward_call(...)`` likewise.  The hook is still
    called by PyTorch's own frame, with PyTorch's own objects.
    """

    def __init__(self) -> None:
        self.sites = 0

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.func.id not in ("hook", "forward_call"):
            return node
        self.sites += 1
        if node.func.id == "hook":
            before = ast.Call(
                func=_name("hook_called"),
                args=[_name("hook_id"), _name("hook"), _name("self")],
                keywords=[
                    ast.keyword(arg=argument.id, value=_name(argument.id))
                    for argument in node.args[1:]
                    if isinstance(argument, ast.Name)
                ],
            )
            after = "hook_returned"
        else:
            before = ast.Call(
                func=_name("forward_called"),
                args=[_name("self"), _name("args"), _name("kwargs")],
                keywords=[],
            )
            after = "forward_returned"
        return ast.Call(func=_name(after), args=[before, node], keywords=[])


def _name(identifier: str) -> ast.Name:
    return ast.Name(id=identifier, ctx=ast.Load())


_GUARD = "if torch.compiler.is_compiling():\n    return original(self, *args, **kwargs)\n"
_SITES = ("original", "hook_called", "hook_returned", "forward_called", "forward_returned")


def instrumented_call_impl(original: Callable[..., Any], **sites: Callable[..., Any]) -> Any:
    """Return PyTorch's own ``Module._call_impl`` with an observation around each hook call.

    It is derived from the source of the installed PyTorch, keeps its file and line numbers (so
    tracebacks read as ever), shares its globals, and steps aside under Dynamo.

    Args:
        original: ``torch.nn.Module._call_impl``.
        sites: The functions ``hook_called``, ``hook_returned``, ``forward_called`` and
            ``forward_returned``.

    Raises:
        OSError: The source of PyTorch is not at hand.
        LookupError: The source does not look as expected.
    """
    lines, first = inspect.getsourcelines(original)
    tree = ast.parse(textwrap.dedent("".join(lines)))
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    visitor = _HookSites()
    visitor.visit(function)
    if visitor.sites < 6:  # two calls of forward, four or more of hooks
        raise LookupError(f"Module._call_impl calls hooks at {visitor.sites} places only")
    function.body[:0] = ast.parse(_GUARD).body
    factory = ast.parse(f"def factory({', '.join(_SITES)}):\n    return {function.name}").body[0]
    assert isinstance(factory, ast.FunctionDef)
    factory.body.insert(0, function)
    tree.body = [factory]
    ast.increment_lineno(tree, first - 1)
    namespace: dict[str, Any] = {}
    code = compile(ast.fix_missing_locations(tree), inspect.getfile(original), "exec")
    exec(code, original.__globals__, namespace)
    derived = namespace["factory"](original, **sites)
    derived.__qualname__ = original.__qualname__
    return derived
