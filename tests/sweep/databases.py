"""PyTorch's own databases of modules, optimizers, operators and autograd functions.

They come with PyTorch for its own tests: samples of arguments for everything there is.  Each
sample runs forward and backward, and optimizers make three steps, with and without traces.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

import hooktrace as ht

from .compare import Row, Tracing, deviations
from .prints import Print, digest, generators, nodes, printed, seed
from .subjects import Library, score, tensors

SAMPLES = 12
"""The most samples of one module or operator that are run."""

WAYS: dict[str, Tracing] = {
    "trace()": lambda: ht.trace(),
    "trace(keep=True)": lambda: ht.trace(keep=True),
}
WITHOUT_CONTENT = {
    "empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"
}  # fmt: skip
"""Operators that leave their result as they find it in memory."""
Step = Callable[[], Any]


def names() -> list[str]:
    """Name everything that the databases have, by kind."""
    found = [f"module {info.name}" for info in _modules()]
    found += [f"optimizer {info.optim_cls.__name__}" for info in _optimizers()]
    found += [f"function {info.name}" for info in _functions()]
    found += [
        f"operator {info.formatted_name}"
        for info in _operators()
        if info.name not in WITHOUT_CONTENT
    ]
    return list(dict.fromkeys(found))


def build(name: str) -> Callable[[], Row]:
    """Return a function that sweeps an entry of the databases."""
    return lambda: sweep_entry(name)


LIBRARY = Library("torch", names, build)  # type: ignore[arg-type]


def sweep_entry(name: str, limit: int = SAMPLES) -> Row:
    """Run samples of one entry; the row says how many were the same, and what differs."""
    kind, _, label = name.partition(" ")
    steps = {
        "module": module_steps,
        "optimizer": optimizer_steps,
        "function": operator_steps,
        "operator": operator_steps,
    }[kind]
    row: Row = {"samples": 0, "raised": 0, "differs": [], "unsteady": 0}
    for number, step in enumerate(steps(kind, label)):
        if number == limit:
            break
        untraced, found = deviations(functools.partial(_run, step), WAYS)
        row["samples"] += 1
        row["raised"] += untraced["raised"] is not None
        row["unsteady"] += "unsteady" in found
        row["differs"] += [
            f"sample {number}, {w}: {d}" for w, d in found.get("differs", {}).items()
        ]
    return row


def _run(step: Step, tracing: Tracing) -> Print:
    seed()
    result = raised = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with tracing():
                result = step()
        except Exception as error:
            raised = [type(error).__name__, str(error)[:1000]]
    return {
        "raised": raised,
        "result": result,
        "generators": generators(),
        "warnings": [
            (one.category.__name__, str(one.message))
            for one in caught
            if one.category is not ht.errors.NothingTracedWarning
        ],
    }


def fresh(thing: Any) -> Any:
    """Copy arguments, so that every run starts with the same ones."""
    if isinstance(thing, torch.Tensor):
        return thing.detach().clone().requires_grad_(thing.requires_grad)
    if isinstance(thing, dict):
        return {key: fresh(item) for key, item in thing.items()}
    if type(thing) in (list, tuple):
        return type(thing)(map(fresh, thing))
    return thing


def _modules() -> list[Any]:
    from torch.testing._internal.common_modules import module_db

    return module_db


def _optimizers() -> list[Any]:
    from torch.testing._internal.common_optimizers import optim_db

    return optim_db


def _functions() -> list[Any]:
    from torch.testing._internal.autograd_function_db import autograd_function_db

    return autograd_function_db


def _operators() -> list[Any]:
    from torch.testing._internal.common_methods_invocations import op_db

    return op_db


def module_steps(kind: str, label: str) -> Iterator[Step]:
    """Yield forward and backward of a module, for each sample of its arguments."""
    info = next(one for one in _modules() if one.name == label)
    for training in (True, False):
        seed()
        samples = info.module_inputs_func(
            info, device="cpu", dtype=torch.float32, requires_grad=True, training=training
        )
        for sample in samples:
            if sample.forward_input is not None:
                yield lambda sample=sample, training=training: _module(info, sample, training)


def _module(info: Any, sample: Any, training: bool) -> Any:
    given = sample.constructor_input
    module = info.module_cls(*fresh(given.args), **fresh(given.kwargs)).train(training)
    args, kwargs = fresh(sample.forward_input.args), fresh(sample.forward_input.kwargs)
    output = module(*args, **kwargs)
    return [_backward(output, [args, kwargs]), printed(module.state_dict()), _grads(module)]


def _grads(module: nn.Module) -> list[str | None]:
    return [digest(one.grad) for one in module.parameters()]


def _backward(output: Any, arguments: Any) -> Any:
    """Run backward from an output; return what can be told of it."""
    graph, loss = nodes(output), score(output)
    if loss is not None:
        loss.backward()
    leaves = [one for one in tensors(arguments) if one.is_leaf]
    return [printed(output), graph, [digest(one.grad) for one in leaves]]


def operator_steps(kind: str, label: str) -> Iterator[Step]:
    """Yield an operator's forward and backward, for each sample of its arguments."""
    known = _operators() if kind == "operator" else _functions()
    info = next(one for one in known if label in (one.formatted_name, one.name))
    dtypes = info.supported_dtypes("cpu")
    dtype = next(
        (one for one in (torch.float32, torch.complex64, torch.int64) if one in dtypes), None
    )
    if dtype is None:
        return
    seed()
    gradients = info.supports_autograd and (dtype.is_floating_point or dtype.is_complex)
    for sample in info.sample_inputs("cpu", dtype, requires_grad=gradients):
        yield lambda sample=sample: _operator(info, sample)


def _operator(info: Any, sample: Any) -> Any:
    given, args, kwargs = fresh(sample.input), fresh(sample.args), fresh(sample.kwargs)
    output = info(given, *args, **kwargs)
    if sample.output_process_fn_grad is not None:
        output = sample.output_process_fn_grad(output)
    return _backward(output, [given, args, kwargs])


def optimizer_steps(kind: str, label: str) -> Iterator[Step]:
    """Yield three steps of an optimizer, for each sample of its options."""
    info = next(one for one in _optimizers() if one.optim_cls.__name__ == label)
    for sample in info.optim_inputs_func(device="cpu"):
        yield lambda sample=sample: _steps(info, sample)


def _steps(info: Any, sample: Any) -> Any:
    net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False))
    given = torch.randn(5, 3)
    optimizer = info.optim_cls(net.parameters(), **copy.deepcopy(sample.kwargs))

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found = net(given).square().mean()
        found.backward()
        return found

    losses = []
    for _ in range(3):
        if info.step_requires_closure:
            losses.append(optimizer.step(loss))
        else:
            losses.append(loss())
            optimizer.step()
    return [printed(losses), printed(net.state_dict()), printed(optimizer.state_dict())]
