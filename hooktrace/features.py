"""Who registered a hook: the user, a feature of PyTorch, or another library."""

from __future__ import annotations

import functools
import sys
from typing import Any

__all__ = ["feature_of"]

_FEATURES = {
    "torch.nn.utils.weight_norm": "weight_norm",
    "torch.nn.utils.spectral_norm": "spectral_norm",
    "torch.nn.utils.prune": "prune",
    "torch.nn.utils.parametrizations": "parametrizations",
    "torch.nn.utils.parametrize": "parametrize",
    "torch.nn.utils._expanded_weights": "expanded weights",
    "torch.nn.modules.lazy": "lazy module",
    "torch.nn.parallel.distributed": "DistributedDataParallel",
    "torch.nn.parallel": "DataParallel",
    "torch.distributed.algorithms.ddp_comm_hooks": "ddp_comm_hooks",
    "torch.distributed._composable": "composable distributed",
    "torch.distributed.fsdp": "FSDP",
    "torch.distributed.tensor": "DTensor",
    "torch.distributed": "torch.distributed",
    "torch.ao": "quantization",
    "torch.quantization": "quantization",
    "torch.utils.checkpoint": "checkpoint",
    "torch.utils.module_tracker": "ModuleTracker",
    "torch.utils.flop_counter": "FlopCounterMode",
    "torch.utils._debug_mode": "DebugMode",
    "torch.autograd.graph.save_on_cpu": "save_on_cpu",
    "torch.autograd.graph._swap_with_cloned": "allow_mutation_on_saved_tensors",
    "torch.autograd.profiler": "profiler",
    "torch.amp": "amp",
    "torch._dynamo": "torch.compile",
    "torch._functorch": "torch.compile",
}
"""Package, module, or class in a module -> feature; the longest name that fits counts."""


def _defining(function: Any) -> Any:
    """Return the function, method or class that a hook was made from."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    named = getattr(function, "__module__", None) and hasattr(function, "__qualname__")
    return function if named else type(function)


def feature_of(function: Any) -> str:
    """Name the feature of PyTorch or the library that a hook belongs to.

    Args:
        function: What was registered.

    Returns:
        Such as ``prune``, or the name of an installed package, such as ``peft``; empty for the
        user's own functions and for builtins.
    """
    defining = _defining(function)
    module = str(defining.__module__)
    name = f"{module}.{defining.__qualname__}"
    while name:
        if name in _FEATURES:
            return _FEATURES[name]
        name = name.rpartition(".")[0]
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    installed = "/site-packages/" in file or "/dist-packages/" in file
    return module.partition(".")[0] if installed else ""
