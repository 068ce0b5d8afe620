"""The seam, first half: tensors and autograd.

Only the files `_torch*` touch PyTorch's underscore names and version differences.  Everything in
them is small and says what PyTorch does.  They run on 2.6 and newer.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import Variable
from torch.autograd.function import _HookMixin

__all__ = [
    "ENGINE_OWNER",
    "LEAF_SEQUENCE",
    "NODE_REGISTRAR",
    "RUN_OWNERS",
    "aside",
    "base_of",
    "content_copy",
    "current_sequence",
    "differs",
    "facts_of",
    "geometry_of",
    "gradient_of",
    "hidden",
    "is_compiling",
    "is_python_node",
    "is_script_module",
    "is_view",
    "is_wrapped",
    "leaf_of",
    "node_name",
    "now_of",
    "numbers_of",
    "plain_sum",
    "same_content",
    "seen_as",
    "sequence_of",
    "shape_from",
    "shape_of",
    "unseen",
    "version_of",
]

Params = ParamSpec("Params")
Result = TypeVar("Result")

# ------------------------------------------------------------------ tensors

_PLAIN = frozenset({Tensor, nn.Parameter, nn.Buffer})


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Within it, what hooktrace asks of tensors is seen by no mode and by no subclass."""
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        yield


def aside() -> Any:
    """Return a context like `hidden`, which costs less where there is no dispatch mode."""
    return hidden() if _dispatch_modes() else _no_function_modes()


def unseen(function: Callable[Params, Result]) -> Callable[Params, Result]:
    """Let a function of ours run `aside`."""

    @functools.wraps(function)
    def run(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        with aside():
            return function(*args, **kwargs)

    return run


_no_function_modes = torch._C.DisableTorchFunction
_dispatch_modes = torch._C._len_torch_dispatch_stack
_now = operator.attrgetter("_version", "shape", "requires_grad")


def is_wrapped(tensor: Tensor) -> bool:
    """Whether the data of `tensor` cannot be read.

    True for subclasses, the wrappers of functorch and of the old vmap, fake, meta, sparse and
    nested tensors.
    """
    if type(tensor) is nn.Parameter:  # no wrapper is one
        return tensor.layout is not torch.strided or tensor.is_meta
    return (
        type(tensor) not in _PLAIN
        or tensor.layout is not torch.strided
        or tensor.is_meta
        or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        or torch._C._functorch.is_legacy_batchedtensor(tensor)
        or tensor.is_nested
        or torch._is_functional_tensor(tensor)
    )


def version_of(tensor: Tensor) -> int | None:
    """Return the version counter, or None for an inference tensor, which has none."""
    try:
        return tensor._version
    except (RuntimeError, NotImplementedError):
        return None


gradient_of: Callable[[Tensor], Tensor | None] = vars(torch._C.TensorBase)["grad"].__get__
"""Returns ``.grad``, also where a program has put a property of its own into its place."""


is_view: Callable[[Tensor], bool] = operator.methodcaller("_is_view")
"""Whether a tensor is a view, which shares its version counter with its base."""


def shape_of(tensor: Tensor) -> Any:
    """Return the sizes; -1 for each that there is none of, as in a nested tensor."""
    try:
        return tensor.shape
    except RuntimeError:
        return (-1,) * tensor.dim()


def facts_of(tensor: Tensor) -> tuple[Any, int, Tensor | None]:
    """Return what a plain tensor is, its version counter, and the tensor that it is a view of.

    What it is: sizes, dtype, device and whether it requires a gradient.

    Raises:
        RuntimeError: An inference tensor has no version, a nested one no sizes.
    """
    return _what(tensor), tensor._version, tensor._base


_what = operator.attrgetter("shape", "dtype", "device", "requires_grad")


def now_of(tensor: Tensor) -> tuple[int | None, Any, bool]:
    """Return what may have changed of a tensor: version, sizes, and whether it wants a gradient."""
    try:
        return _now(tensor)
    except (RuntimeError, NotImplementedError):
        return version_of(tensor), shape_of(tensor), tensor.requires_grad


base_of: Callable[[Tensor], Tensor | None] = operator.attrgetter("_base")
"""Returns the tensor that a tensor is a view of."""


def content_copy(tensor: Tensor) -> Tensor:
    """Return a copy on the same device that shares nothing with `tensor` or its graph."""
    return tensor.detach().clone()


def numbers_of(tensor: Tensor) -> tuple[float, ...] | None:
    """Return all elements in row-major order, or None where they cannot be read."""
    try:
        numbers: Any = tensor.tolist()
        for _ in range(tensor.dim() - 1):
            numbers = chain.from_iterable(numbers)
        return tuple(numbers if tensor.dim() else (numbers,))
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


def differs(copy: Tensor, tensor: Tensor) -> bool:
    """Whether `tensor` holds other numbers than its copy; never said of a device to be asked."""
    if tensor.device.type != "cpu" or copy.shape != tensor.shape:
        return False
    return not torch.equal(copy, tensor.detach()) and not same_content(copy, tensor)


def plain_sum(one: Tensor, other: Tensor) -> Tensor:
    """Return the sum of two copies, unseen by the user's modes."""
    with torch.no_grad(), hidden():
        return one + other


def seen_as(gradient: Tensor, shape: Any) -> Tensor:
    """Return a gradient as another tensor would have it.

    Args:
        gradient: It is not written to.
        shape: A dtype: that of the other; or how the other, a view, lies in the tensor whose
            gradient this is: sizes, strides and offset of the view, sizes and strides of its base.
    """
    with torch.no_grad(), hidden():
        if isinstance(shape, torch.dtype):
            return gradient if is_wrapped(gradient) else gradient.to(shape)
        size, stride, offset, base_size, base_stride = shape
        whole = torch.empty_strided(
            base_size, base_stride, dtype=gradient.dtype, device=gradient.device
        )
        return whole.copy_(gradient.detach()).as_strided(size, stride, offset)


def geometry_of(view: Tensor) -> tuple[Any, ...] | None:
    """Return how a view lies in its base, in the form of `seen_as`; None if that has no words."""
    base = view._base
    if base is None or base.dtype != view.dtype or is_wrapped(view) or is_wrapped(base):
        return None
    try:
        offset = view.storage_offset() - base.storage_offset()
        return view.size(), view.stride(), offset, base.size(), base.stride()
    except (RuntimeError, NotImplementedError):
        return None


def is_script_module(module: nn.Module) -> bool:
    """Whether `module` was scripted or traced to TorchScript."""
    return isinstance(module, torch.jit.ScriptModule)


# ------------------------------------------------------------------ autograd

ENGINE_OWNER: Any = Variable  # whose `_execution_engine` is asked to queue callbacks
RUN_OWNERS: Any = (torch.autograd.graph, torch.autograd)  # of `_engine_run_backward`
NODE_REGISTRAR: Any = _HookMixin  # whose `_register_hook` C++ nodes call to store a Python hook


sequence_of: Callable[[Any], int] = operator.methodcaller("_sequence_nr")
"""Returns the sequence number of an autograd node, which counts per thread."""


def node_name(node: Any) -> str:
    """Return the name of an autograd node, such as ``AddmmBackward0`` or ``AccumulateGrad``."""
    kind = type(node)
    return _NAMES.get(kind) or _name_of_kind(kind, node)


_NAMES: dict[type, str] = {}


def _name_of_kind(kind: type, node: Any) -> str:
    if kind.__name__ == "CppFunction":  # one class for all nodes that have none of their own
        return str(node.name()).rpartition("::")[2]
    if not issubclass(kind, torch.autograd.function.BackwardCFunction):  # those come and go
        _NAMES[kind] = kind.__name__
    return kind.__name__


leaf_of: Callable[[Any], Tensor] = operator.attrgetter("variable")
"""Returns the leaf tensor of an ``AccumulateGrad`` node."""


LEAF_SEQUENCE = 2**64 - 1  # the sequence number that all AccumulateGrad nodes have


def shape_from(node: Any, output: int) -> Any:
    """Return the sizes of what a node made; None where it does not tell."""
    try:
        return torch.Size(node._input_metadata[output].shape)
    except (AttributeError, IndexError, RuntimeError, TypeError):
        return None


def is_python_node(node: Any) -> bool:
    """Whether a node belongs to a custom ``autograd.Function``, which may do anything."""
    return isinstance(node, torch.autograd.function.BackwardCFunction)


current_sequence: Callable[[], int] = torch.autograd._get_sequence_nr  # type: ignore[attr-defined]
"""Returns the sequence number that the next autograd node of this thread will get."""


def is_compiling() -> bool:
    """Whether Dynamo, export or ``torch.jit.trace`` is tracing this code: then we step aside."""
    return _is_compiling() or _is_tracing()


_is_compiling = torch.compiler.is_compiling
_is_tracing = torch._C._is_tracing
