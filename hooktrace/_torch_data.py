"""The seam: whether the data of a tensor can be computed with here and now."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["computable", "wait_for"]


def computable(tensor: Tensor) -> bool:
    """Whether arithmetic on a plain, dense tensor is harmless here and now.

    Not where a function transform or the capture of a CUDA graph would take note of it, nor where
    the tensor has no elements, or its memory was taken away, as FSDP does.
    """
    return (
        tensor.numel() > 0
        and _address(tensor) != 0
        and _interpreter() is None
        and not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())
    )


_interpreter: Any = torch._C._functorch.peek_interpreter_stack
_address: Any = torch._C._data_address  # type: ignore[attr-defined]
"""Where the data lie.  Asking for the storage instead would keep autograd from summing in place."""


def wait_for(device: torch.device) -> None:
    """Wait until a device has computed all that it was told to, on every stream."""
    backend: Any = getattr(torch, device.type, None)
    if device.type != "cpu" and hasattr(backend, "synchronize"):
        backend.synchronize(device)
