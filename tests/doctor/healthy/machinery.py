"""Hooks of optimizers, state dicts and saved tensors; wrappers; torch.func; compiled code."""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import torch
import torch.nn.modules.module as torch_module
from torch import nn
from zoo.features import one_process

import hooktrace as ht

from .program import Tracing, healthy, small, total, train


@healthy()
def an_optimizer_hook_that_clips(trace: Tracing) -> ht.Trace:
    """A step pre-hook clips what is about to be used."""
    net = small()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def clip(optimizer: Any, args: Any, kwargs: Any) -> None:
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)

    optimizer.register_step_pre_hook(clip)
    with trace(net) as t:
        for _ in range(2):
            optimizer.zero_grad()
            total(net(torch.randn(3, 4))).backward()
            optimizer.step()
    return t


@healthy()
def checkpoints_with_old_names(trace: Tracing) -> ht.Trace:
    """A hook renames keys while a state dict is loaded, another adds a version to it."""
    net = small()

    def rename(module: nn.Module, state: Any, prefix: str, *rest: Any) -> None:
        for key in [one for one in state if one.startswith(f"{prefix}old.")]:
            state[prefix + key.removeprefix(f"{prefix}old.")] = state.pop(key)

    net.register_load_state_dict_pre_hook(rename)
    with trace(net) as t:
        state = {f"old.{key}": value for key, value in net.state_dict().items()}
        net.load_state_dict(state)
        file = io.BytesIO()
        torch.save(net.state_dict(), file)
        file.seek(0)
        net.load_state_dict(torch.load(file))
        net(torch.randn(3, 4))
    return t


@healthy()
def saved_tensors_on_the_cpu(trace: Tracing) -> ht.Trace:
    """What backward needs is kept elsewhere."""
    net = small()
    with trace(net) as t:
        with torch.autograd.graph.save_on_cpu():
            loss = total(net(torch.randn(3, 4)))
        loss.backward()
    return t


@healthy()
def saved_tensors_in_half_precision(trace: Tracing) -> ht.Trace:
    """A pair of hooks that compresses what is saved."""
    net = small()

    def pack(tensor: torch.Tensor) -> Any:
        return tensor.to(torch.bfloat16) if tensor.dtype == torch.float32 else tensor

    def unpack(packed: torch.Tensor) -> torch.Tensor:
        return packed.to(torch.float32) if packed.dtype == torch.bfloat16 else packed

    with trace(net) as t:
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            loss = total(net(torch.randn(3, 4)))
        loss.backward()
    return t


@healthy()
def a_global_hook_for_a_while(trace: Tracing) -> ht.Trace:
    """Counts the calls of all modules, and is removed."""
    net = small()
    names: list[str] = []
    handle = torch_module.register_module_forward_hook(
        lambda module, args, output: names.append(type(module).__name__)
    )
    try:
        t = train(trace, net, torch.randn(3, 4))
    finally:
        handle.remove()
    assert len(names) == 8
    return t


@healthy()
def a_wrapper_around_a_model(trace: Tracing) -> ht.Trace:
    """As DataParallel and logging wrappers do, forward hands on."""

    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return self.module(*args, **kwargs)

    return train(trace, Wrapper(small()), torch.randn(3, 4))


@healthy()
def data_parallel_without_devices(trace: Tracing) -> ht.Trace:
    """DataParallel where there is only the CPU."""
    return train(trace, nn.DataParallel(small()), torch.randn(3, 4))


@healthy()
def copies_that_are_trained_apart(trace: Tracing) -> ht.Trace:
    """An ensemble of deep copies, without hooks."""
    nets = nn.ModuleList(copy.deepcopy(small()) for _ in range(2))
    optimizer = torch.optim.SGD(nets.parameters(), lr=0.1)
    with trace(nets) as t:
        for _ in range(2):
            optimizer.zero_grad()
            torch.stack([total(net(torch.randn(3, 4))) for net in nets]).sum().backward()
            optimizer.step()
    return t


@healthy()
def gradients_per_sample(trace: Tracing) -> ht.Trace:
    """`vmap` of `grad` of a functional call."""
    net = small()
    with trace(net) as t:
        parameters = {name: one.detach() for name, one in net.named_parameters()}

        def loss(parameters: Any, row: torch.Tensor) -> torch.Tensor:
            return total(torch.func.functional_call(net, parameters, (row,)))

        gradients = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, torch.randn(3, 4))
    assert gradients["0.weight"].shape == (3, 8, 4)
    return t


@healthy()
def jacobians(trace: Tracing) -> ht.Trace:
    """Forward-mode and reverse-mode Jacobians of a net."""
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    with trace(net) as t, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch uses its own old functions
        x = torch.randn(4)
        reverse, forward = torch.func.jacrev(net)(x), torch.func.jacfwd(net)(x)
    assert torch.allclose(reverse, forward, atol=1e-6)
    return t


@healthy()
def an_equilibrium_with_a_hook_that_solves(trace: Tracing) -> ht.Trace:
    """A deep equilibrium model: a hook replaces the gradient by the solution of an equation."""

    class Equilibrium(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                z = torch.zeros_like(x)
                for _ in range(5):
                    z = torch.tanh(0.3 * self.cell(torch.cat([z, x], 1)))
            z = torch.tanh(0.3 * self.cell(torch.cat([z, x], 1)))
            start = z.detach().clone().requires_grad_()
            again = torch.tanh(0.3 * self.cell(torch.cat([start, x], 1)))

            def solve(grad: torch.Tensor) -> torch.Tensor:
                solution = grad
                for _ in range(5):
                    solution = (
                        torch.autograd.grad(again, start, solution, retain_graph=True)[0] + grad
                    )
                return solution

            z.register_hook(solve)
            return z

    return train(trace, Equilibrium(), torch.randn(3, 4))


@healthy()
def a_graph_module(trace: Tracing) -> ht.Trace:
    """A module that `torch.fx` made."""
    net = torch.fx.symbolic_trace(small())
    return train(trace, net, torch.randn(3, 4))


@healthy()
def compiled_before_the_block(trace: Tracing) -> ht.Trace:
    """Compiled and warmed up first; a Python head behind it is traced."""
    torch._dynamo.reset()
    net = nn.ModuleDict({"body": small(4, 4), "head": nn.Linear(4, 1)})
    compiled = torch.compile(net["body"], backend="eager")
    total(compiled(torch.randn(3, 4))).backward()
    net.zero_grad()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with trace({"body": compiled, "head": net["head"]}) as t:
        for _ in range(2):
            optimizer.zero_grad()
            total(net["head"](compiled(torch.randn(3, 4)))).backward()
            optimizer.step()
    torch._dynamo.reset()
    return t


@healthy()
def distributed_data_parallel_alone(trace: Tracing) -> ht.Trace:
    """A process group of one, with accumulation under `no_sync`."""
    one_process()
    net = nn.parallel.DistributedDataParallel(small())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with trace(net) as t:
        with net.no_sync():
            total(net(torch.randn(3, 4))).backward()
        total(net(torch.randn(3, 4))).backward()
        optimizer.step()
    return t


@healthy()
def sharded_data_parallel_alone(trace: Tracing) -> ht.Trace:
    """FSDP2 on a mesh of one."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    one_process()
    net = small()
    mesh = init_device_mesh("cpu", (1,))
    fully_shard(net[0], mesh=mesh)
    fully_shard(net, mesh=mesh)
    return train(trace, net, torch.randn(3, 4))
