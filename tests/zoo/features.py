"""What other features of PyTorch register, and modules that PyTorch made of the user's."""

from __future__ import annotations

import copy
import os
import shutil
import warnings
from typing import Any

import torch
from torch import nn

from zoo.program import forward_backward, note, program


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(inplace=True), nn.Linear(4, 1))


# ------------------------------------------------------------------ compiled


def compiled(backend: str, *, before: bool, **options: Any) -> Any:
    torch._dynamo.reset()
    net = small()
    log: list[Any] = []
    net[0].register_forward_hook(lambda m, args, output: output * 2)
    net[2].weight.register_hook(lambda grad: grad * 3)
    net[2].bias.register_post_accumulate_grad_hook(lambda p: log.append(p.grad.clone()))
    x = torch.ones(3, 2)

    def run(model: Any) -> Any:
        y = model(x)
        y.register_hook(lambda grad: grad + 1)
        y.sum().backward()
        return y, [parameter.grad for parameter in net.parameters()]

    made: list[Any] = []
    if before:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.append(torch.compile(net, backend=backend, **options))
            run(made[0])

    def step() -> Any:
        model = made[0] if before else torch.compile(net, backend=backend, **options)
        result = run(model), run(model), run(net), log
        torch._dynamo.reset()
        return result

    return net, step


@program
def compiled_before_the_block() -> Any:
    return compiled("eager", before=True)


@program
def compiled_inside_the_block() -> Any:
    return compiled("eager", before=False, fullgraph=True)


@program
def compiled_by_aot_before_the_block() -> Any:
    return compiled("aot_eager", before=True)


@program
def compiled_by_aot_inside_the_block() -> Any:
    return compiled("aot_eager", before=False, dynamic=True)


def compiled_by_inductor_before_the_block() -> Any:
    return compiled("inductor", before=True)


def compiled_by_inductor_inside_the_block() -> Any:
    return compiled("inductor", before=False)


if shutil.which("g++") is not None:  # inductor calls it
    program(compiled_by_inductor_before_the_block)
    program(compiled_by_inductor_inside_the_block)


@program
def compiled_with_breaks_and_backward_hooks() -> Any:
    torch._dynamo.reset()
    net = small()
    net[1].inplace = False
    log: list[Any] = []
    net[0].register_full_backward_hook(note(log, "full"))

    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.net[0](x)
            torch._dynamo.graph_break()
            return self.net[2](self.net[1](y))

    model = Breaks()

    def step() -> Any:
        compiled = torch.compile(model, backend="eager")
        model.compile(backend="eager")
        x = torch.ones(3, 2, requires_grad=True)
        compiled(x).sum().backward()
        y = model(x)
        y.sum().backward()
        model._compiled_call_impl = None
        torch._dynamo.reset()
        return y, x, log

    return model, step


# ------------------------------------------------------------------ scripted, traced, rewritten


@program
def script_modules() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inner = torch.jit.script(nn.Linear(2, 2))
        traced = torch.jit.trace(nn.Tanh(), torch.ones(1, 2))
    log: list[Any] = []
    net = nn.ModuleDict({"first": nn.Linear(2, 2), "scripted": inner, "traced": traced})
    net["first"].register_forward_hook(note(log, "first"))

    def step() -> Any:
        x = torch.ones(1, 2, requires_grad=True)
        y = net["traced"](net["scripted"](net["first"](x)))
        y.register_hook(note(log, "output"))
        y.sum().backward()
        try:
            net["scripted"].register_forward_hook(print)
        except RuntimeError as error:
            log.append(str(error).splitlines()[:2])
        return y, x, log

    return net, step


@program
def a_graph_module_with_hooks() -> Any:
    net = torch.fx.symbolic_trace(small())
    log: list[Any] = []
    net.get_submodule("0").register_forward_hook(note(log, "inner"))
    net.register_forward_pre_hook(note(log, "outer"))

    def step() -> Any:
        again = torch.fx.symbolic_trace(net)
        result = forward_backward(net, torch.ones(3, 2, requires_grad=True))()
        interpreted = torch.fx.Interpreter(again).run(torch.ones(3, 2))
        net.graph.erase_node(next(iter(reversed(net.graph.nodes))))
        net.graph.output(next(iter(reversed(net.graph.nodes))))
        net.recompile()
        return result, interpreted, net(torch.ones(3, 2)), again.code, log

    return net, step


# ------------------------------------------------------------------ quantization, trackers


@program
def quantization_observers() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.ao import quantization

        net = nn.Sequential(quantization.QuantStub(), nn.Linear(2, 2), nn.ReLU())
        net.qconfig = quantization.default_qconfig
        quantization.prepare(net, inplace=True)
        training = nn.Sequential(quantization.QuantStub(), nn.Linear(2, 2))
        training.qconfig = quantization.default_qat_qconfig
        quantization.prepare_qat(training, inplace=True)

    def step() -> Any:
        for _ in range(2):
            net(torch.randn(3, 2))
        y = training(torch.randn(3, 2))
        y.sum().backward()
        return net, y, training

    return {"net": net, "training": training}, step


@program
def module_tracker() -> Any:
    from torch.utils.module_tracker import ModuleTracker

    net = small()
    log: list[Any] = []

    def step() -> Any:
        x = torch.ones(3, 2, requires_grad=True)
        with ModuleTracker() as tracker:
            net[2].weight.register_hook(
                lambda grad: log.append((sorted(tracker.parents), tracker.is_bw))
            )
            y = net(x)
            y.sum().backward()
        return y, x, log

    return net, step


@program
def flop_counter_and_debug_mode() -> Any:
    from torch.utils.flop_counter import FlopCounterMode

    net = small()
    try:
        from torch.utils._debug_mode import DebugMode
    except ImportError:  # before PyTorch 2.9
        DebugMode = None

    def step() -> Any:
        with FlopCounterMode(display=False) as counter:
            net(torch.ones(3, 2)).sum().backward()
        texts = []
        if DebugMode is not None:
            with DebugMode() as mode:
                net(torch.ones(3, 2)).sum().backward()
            texts.append(mode.debug_string())
        return str(counter.get_flop_counts()), texts

    return net, step


# ------------------------------------------------------------------ distributed


def one_process() -> None:
    """Make a process group of this process alone, once."""
    from torch import distributed

    if not distributed.is_initialized():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        store = distributed.HashStore()
        distributed.init_process_group("gloo", store=store, rank=0, world_size=1)


@program
def distributed_data_parallel_with_a_comm_hook() -> Any:
    one_process()
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    log: list[Any] = []
    net[0].weight.register_hook(note(log, "tensor"))
    net[0].weight.register_post_accumulate_grad_hook(note(log, "post"))
    parallel = nn.parallel.DistributedDataParallel(net)
    parallel.register_forward_pre_hook(note(log, "pre"))

    def comm(state, bucket):  # type: ignore[no-untyped-def]  # PyTorch reads the annotations
        log.append(["comm", bucket.buffer().clone(), bucket.is_last(), state])
        future: Any = torch.futures.Future()
        future.set_result(bucket.buffer() * 2)
        return future

    parallel.register_comm_hook("state", comm)

    def step() -> Any:
        for _ in range(2):
            parallel(torch.ones(3, 2)).sum().backward()
        with parallel.no_sync():
            y = parallel(torch.ones(3, 2))
            y.sum().backward()
        return y, log, [hook.__name__ for hook, _ in parallel._comm_hooks]

    return parallel, step


@program
def distributed_data_parallel_made_inside_the_block() -> Any:
    one_process()
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    log: list[Any] = []

    def comm(state, bucket):  # type: ignore[no-untyped-def]  # PyTorch reads the annotations
        log.append(["comm", bucket.buffer().clone()])
        future: Any = torch.futures.Future()
        future.set_result(bucket.buffer() + 1)
        return future

    def step() -> Any:
        parallel = nn.parallel.DistributedDataParallel(net, static_graph=True)
        parallel.register_comm_hook(None, comm)
        for _ in range(2):
            parallel(torch.ones(3, 2)).sum().backward()
        return log, [parameter.grad for parameter in net.parameters()]

    return net, step


@program
def fully_sharded_data_parallel() -> Any:
    one_process()
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    log: list[Any] = []
    mesh = init_device_mesh("cpu", (1,))
    fully_shard(net[0], mesh=mesh)
    fully_shard(net, mesh=mesh)
    net[0].register_forward_hook(note(log, "forward"))
    net[0].weight.register_post_accumulate_grad_hook(lambda p: log.append("post"))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def step() -> Any:
        x = torch.ones(3, 2, requires_grad=True)
        for _ in range(2):
            y = net(x)
            y.sum().backward()
            optimizer.step()
        gradients = [parameter.grad.full_tensor() for parameter in net.parameters()]
        return y, x, gradients, [one.full_tensor() for one in net.parameters()], log

    return None, step


@program
def data_parallel_without_devices() -> Any:
    net = nn.DataParallel(small())
    net.module[0].register_forward_hook(lambda m, a, o: o * 2)
    return net, forward_backward(net, torch.ones(3, 2, requires_grad=True))


@program
def an_ensemble_by_vmap() -> Any:
    nets = [small() for _ in range(3)]
    for net in nets:
        net[1].inplace = False
    log: list[str] = []

    def step() -> Any:
        parameters, buffers = torch.func.stack_module_state(nets)
        base = copy.deepcopy(nets[0]).to("meta")
        base[0].register_forward_hook(lambda m, a, o: log.append(type(o).__name__))

        def call(parameters: Any, buffers: Any, x: torch.Tensor) -> torch.Tensor:
            return torch.func.functional_call(base, (parameters, buffers), (x,))

        x = torch.ones(4, 2, requires_grad=True)
        y = torch.func.vmap(call, in_dims=(0, 0, None))(parameters, buffers, x)
        y.sum().backward()
        _, pull = torch.func.vjp(lambda x: torch.func.vmap(nets[1])(x), x)
        return y, x, parameters, pull(torch.ones(4, 1))[0], log

    return nn.ModuleList(nets), step
