"""What a program shares with everything else in its process, and a trace must leave as it was."""

from __future__ import annotations

import gc
import random
import sys
import threading
from typing import Any

import numpy
import torch
import torch.autograd.function
import torch.nn.modules.module as torch_module
import torch.nn.parallel
import torch.optim.lr_scheduler
import torch.optim.optimizer as torch_optimizer
import torch.optim.swa_utils
import torch.utils.checkpoint
import torch.utils.hooks
from frozen import function_name, hook_keys
from torch import nn

OWNERS: tuple[Any, ...] = (
    nn.Module,
    nn.Parameter,
    nn.Sequential,
    nn.ModuleList,
    nn.ModuleDict,
    torch_module,
    torch.Tensor,
    torch._C.TensorBase,
    torch.autograd,
    torch.autograd.function,
    torch.autograd.function.Function,
    torch.autograd.function.FunctionCtx,
    torch.autograd.function._HookMixin,
    torch.autograd.function.BackwardCFunction,
    torch.autograd.graph,
    torch.autograd.graph.Node,
    torch.autograd.graph.saved_tensors_hooks,
    torch.autograd.Variable,
    torch._C._autograd,
    torch._C._autograd.SavedTensor,
    torch._C._functions.AccumulateGrad,
    torch.utils,
    torch.utils.hooks,
    torch.utils.hooks.RemovableHandle,
    torch.utils.hooks.BackwardHook,
    torch.utils.checkpoint,
    torch_optimizer,
    torch.optim.Optimizer,
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.lr_scheduler,
    torch.optim.lr_scheduler.LRScheduler,
    torch.optim.lr_scheduler.StepLR,
    torch.optim.lr_scheduler.ReduceLROnPlateau,
    torch.optim.swa_utils.AveragedModel,
    torch.nn.parallel.DistributedDataParallel,
    torch.nn.parallel.DataParallel,
    torch.overrides,
    torch.compiler,
    torch.jit.ScriptModule,
    torch.fx.GraphModule,
)
"""Classes and modules of PyTorch that a tracer could patch."""


def attributes(owners: Any = OWNERS) -> dict[str, Any]:
    """Every function, class and descriptor of the owners, and the engine, by name."""
    found = {}
    for owner in owners:
        where = f"{owner.__module__}." if isinstance(owner, type) else "module "
        for name, value in tuple(vars(owner).items()):
            if name == "_execution_engine" or _could_be_patched(value):
                found[f"{where}{owner.__name__}.{name}"] = value
    return found


def _could_be_patched(value: Any) -> bool:
    kind = type(value)  # some objects of PyTorch warn when they are asked for their class
    return callable(value) or issubclass(kind, (property, staticmethod, classmethod))


def class_attributes() -> list[Any]:
    """The same as a list, to compare by identity."""
    return list(attributes().values())


def patched(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Name what is another object than before."""
    return [
        name
        for name in sorted(before.keys() | after.keys())
        if before.get(name) is not after.get(name)
    ]


def everything_of_pytorch() -> list[Any]:
    """Every module of PyTorch that is loaded, and every class in it."""
    modules = [
        one for name, one in sorted(sys.modules.items()) if name.partition(".")[0] == "torch"
    ]
    modules = [one for one in modules if isinstance(one, type(sys))]
    classes = {
        id(value): value
        for module in modules
        for value in tuple(vars(module).values())
        if issubclass(type(value), type) and str(value.__module__).partition(".")[0] == "torch"
    }
    return [*modules, *classes.values()]


def global_hooks() -> list[Any]:
    """Every dictionary of hooks that concern all modules or all optimizers."""
    return [
        (name, hook_keys(value) if all(callable(one) for one in value.values()) else str(value))
        for owner in (torch_module, torch_optimizer)
        for name, value in sorted(vars(owner).items())
        if name.startswith("_global") and isinstance(value, dict)
    ]


def clear_global_hooks() -> None:
    """Take out what a program registered: it is not to reach the next one."""
    for owner in (torch_module, torch_optimizer):
        for name, value in vars(owner).items():
            if name.startswith("_global") and isinstance(value, dict):
                value.clear()
    torch_module._global_is_full_backward_hook = None


def seed() -> None:
    """Seed every generator of random numbers."""
    torch.manual_seed(0)
    random.seed(0)
    numpy.random.seed(0)


def random_state() -> list[Any]:
    """The states of all generators of random numbers."""
    return [
        torch.get_rng_state(),
        str(hash(random.getstate())),
        numpy.random.get_state()[1].tobytes(),
    ]


# Older versions do not tell; see needs.TOP_PAIR.
top_pair = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", lambda tracing: None)


def modes() -> dict[str, Any]:
    """What is switched on in this thread and in the process."""
    top = top_pair(False)
    return {
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "autocast cache": torch.is_autocast_cache_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "function modes": torch._C._len_torch_function_stack(),
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "saved tensor hooks": None if top is None else [function_name(one) for one in top],
        "dtype": str(torch.get_default_dtype()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "graph task": torch._C._current_graph_task_id(),
        "collecting": gc.isenabled(),
        "collector's callbacks": len(gc.callbacks),
        "profile": function_name(sys.getprofile()),
        "trace": function_name(sys.gettrace()),
        "threads": threading.active_count(),
        "threads' profile": function_name(threading.getprofile()),
        "excepthook": function_name(sys.excepthook),
    }
