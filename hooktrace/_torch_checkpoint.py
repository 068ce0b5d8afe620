"""The seam, third part: which checkpointed region of the program is running, and for which time."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType
from typing import Any

import torch
from torch.utils import checkpoint

__all__ = ["EARLY_STOP", "differentiable", "region_possible", "regions_around"]

EARLY_STOP = "_StopRecomputationError"
"""What checkpointing raises within a module when it has recomputed enough."""


def _functions() -> Iterator[Any]:
    """Yield the functions of PyTorch's file on checkpointing, without what decorates them."""
    for function in tuple(vars(checkpoint).values()):
        while hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        if isinstance(function, FunctionType):
            yield function


_REENTRANT_FIRST = checkpoint.CheckpointFunction.forward.__code__
_REENTRANT_AGAIN = checkpoint.CheckpointFunction.backward.__code__
# What runs a region for the first time holds a generator, and that the object for the region.
_FIRST = {one.__code__ for one in _functions() if "gen" in one.__code__.co_varnames}
_AGAIN = {
    code
    for code in checkpoint._checkpoint_hook.__init__.__code__.co_consts
    if isinstance(code, CodeType) and code.co_name == "unpack_hook"
}
# By id, because the hash of a code object is made anew each time, from all that it contains.
_CODES = {id(code) for code in {_REENTRANT_FIRST, _REENTRANT_AGAIN} | _FIRST | _AGAIN}


def region_possible() -> bool:
    """Whether a checkpointed region may be running on this thread, told in no time.

    The first time, a region either runs without gradients or has hooks for saved tensors on the
    thread, which below PyTorch 2.8 cannot be asked for; the second time, a backward run is on.
    """
    return (
        not torch.is_grad_enabled()
        or torch._C._current_graph_task_id() != -1
        or _TOP_PAIR is None
        or _TOP_PAIR(True) is not None
    )


_TOP_PAIR: Any = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)


def regions_around(
    frame: FrameType | None, stop: CodeType | None, whole: bool
) -> list[tuple[Any, bool]]:
    """Return the checkpointed regions that a frame runs in, innermost first.

    The last of them may be one that runs again: what is around it on the stack is the backward
    run that asked for it.

    Args:
        frame: Where to begin.
        stop: The code of the function that stands around every module call.
        whole: Whether to look at the whole stack; else only as far as a frame of `stop`.

    Returns:
        For each region the object that PyTorch keeps for it, and whether it runs again.
    """
    found: list[tuple[Any, bool]] = []
    while frame is not None:
        code = frame.f_code
        if code is stop and not whole:
            break
        if id(code) in _CODES:
            region = _region_of(frame, code)
            if region is not None:
                found.append(region)
                if region[1]:
                    break
        frame = frame.f_back
    return found


def _region_of(frame: FrameType, code: CodeType) -> tuple[Any, bool] | None:
    names = frame.f_locals
    if code in _AGAIN:
        return names["frame"], True
    if code is _REENTRANT_FIRST or code is _REENTRANT_AGAIN:
        return names["ctx"], code is _REENTRANT_AGAIN
    running = getattr(names.get("gen"), "gi_frame", None)
    region = None if running is None else running.f_locals.get("new_frame")
    return None if region is None else (region, False)


def differentiable(region: Any) -> bool | None:
    """Whether an input of a reentrant region requires a gradient; None of regions of other kinds.

    Where none does, such a region is never run again, and nothing in it gets a gradient.
    """
    if not isinstance(region, torch.autograd.function.BackwardCFunction):
        return None
    return any(region.needs_input_grad)
