"""The seam: Dynamo compiles no code of ours."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import torch

__all__ = ["leave_uncompiled"]


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


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_inner(constant)
