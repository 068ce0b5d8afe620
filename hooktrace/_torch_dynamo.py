"""The seam: Dynamo compiles no code of ours, and takes what we put in place for PyTorch's own."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import torch

__all__ = ["graphs_compiled", "leave_uncompiled", "take_for_own"]


def _skipping() -> Callable[[CodeType], None]:
    dynamo: Any = torch._C._dynamo.eval_frame
    if hasattr(dynamo, "skip_code"):
        return dynamo.skip_code  # type: ignore[no-any-return]
    action = dynamo._FrameAction
    strategy = dynamo._FrameExecStrategy(action.SKIP, action.DEFAULT)
    return lambda code: dynamo.set_code_exec_strategy(code, strategy)


_SKIP = _skipping()


@functools.cache
def leave_uncompiled(folder: str) -> None:
    """Let Dynamo run the functions that are defined in a folder as they are.

    Between two graphs Dynamo tries to compile every frame that is run, ours as well.
    """
    for function in gc.get_objects():
        if type(function) is FunctionType and function.__code__.co_filename.startswith(folder):
            for code in _with_inner(function.__code__):
                _SKIP(code)


def graphs_compiled() -> int:
    """Return how many graphs Dynamo has compiled in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return 0 if dynamo is None else dynamo.counters["stats"]["unique_graphs"]


_UNPATCHED = {
    "__call__": "unpatched_nn_module_call",
    "_call_impl": "unpatched_nn_module_call_impl",
}


def take_for_own(owner: Any, attribute: str, there: Any, put: Any) -> None:
    """Let Dynamo, where it knew what stood in a place, know what stands there now.

    Of a module whose ``__call__`` it takes for PyTorch's own it compiles ``forward`` at once, and
    does not look whether hooks are registered later; otherwise it compiles all of the call.

    Args:
        owner: The class in which something was replaced.
        attribute: Where.
        there: What stood there.
        put: What stands there now.
    """
    name = _UNPATCHED.get(attribute)
    if owner is not torch.nn.Module or name is None:
        return
    for module in ("torch._dynamo.utils", "torch._dynamo.variables.nn_module"):
        known = sys.modules.get(module)
        if known is not None and getattr(known, name, None) is there:
            setattr(known, name, put)


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_inner(constant)
