"""Other tools that watch or capture, and threads."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from zoo.program import forward_backward, note, program, tensor_hook


@program
def function_mode_of_the_user() -> Any:
    from torch.overrides import TorchFunctionMode

    calls: list[str] = []

    class Mode(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            calls.append(getattr(func, "__qualname__", str(func)))
            return func(*args, **(kwargs or {}))

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 2))
    net[0].register_forward_hook(lambda m, a, o: o * 2)
    net[0].weight.register_hook(tensor_hook)
    net[2].weight.register_post_accumulate_grad_hook(lambda p: None)

    def step() -> Any:
        with Mode():
            x = torch.ones(1, 2, requires_grad=True)
            y = net(x)
            y.register_hook(lambda g: g * 2)
            y.retain_grad()
            y.sum().backward()
            y2 = net(x)
            y2.sum().backward()
        return y, x, calls

    return net, step


@program
def dispatch_mode_of_the_user() -> Any:
    from torch.utils._python_dispatch import TorchDispatchMode

    calls: list[str] = []

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            calls.append(str(func))
            return func(*args, **(kwargs or {}))

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 2))
    net[0].register_forward_hook(lambda m, a, o: o.mul_(2))
    net[0].weight.register_hook(tensor_hook)
    net[2].weight.register_post_accumulate_grad_hook(lambda p: None)

    def step() -> Any:
        with Mode():
            x = torch.ones(1, 2, requires_grad=True)
            y = net(x)
            y.register_hook(lambda g: g * 2)
            y.retain_grad()
            y.sum().backward()
            y2 = net(x)
            y2.sum().backward()
        return y, x, calls

    return net, step


@program
def tensor_subclass() -> Any:
    calls: list[str] = []

    class Logged(torch.Tensor):
        @classmethod
        def __torch_function__(
            cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            calls.append(getattr(func, "__qualname__", str(func)))
            return super().__torch_function__(func, types, args, kwargs or {})

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    net[0].register_forward_hook(lambda m, a, o: o * 2)

    def step() -> Any:
        x = torch.ones(1, 2).as_subclass(Logged).requires_grad_()
        y = net(x)
        y.register_hook(lambda g: g * 2)
        y.sum().backward()
        return list(calls), type(y).__name__, type(x.grad).__name__

    return net, step


@program
def profiler_active() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))

    def step() -> Any:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            y = net(torch.ones(1, 2))
            y.sum().backward()
        names = {event.key for event in profile.key_averages()}
        return y, "aten::addmm" in names

    return net, step


@program
def fx_symbolic_trace() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Sequential(nn.Linear(2, 2)))

    def step() -> Any:
        graph = torch.fx.symbolic_trace(net)
        y = graph(torch.ones(1, 2))
        y.sum().backward()
        return graph.code, y

    return net, step


@program
def make_fx() -> Any:
    from torch.fx.experimental.proxy_tensor import make_fx as make

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    net[0].register_forward_hook(lambda m, a, o: o * 2)

    def step() -> Any:
        return [
            make(net, tracing_mode=mode)(torch.ones(3, 2)).code
            for mode in ("real", "fake", "symbolic")
        ]

    return net, step


@program
def jit_trace() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    net[0].register_forward_hook(lambda m, a, o: o * 2)

    def step() -> Any:
        traced = torch.jit.trace(net, torch.ones(1, 2))
        return str(traced.inlined_graph).count("aten::"), traced(torch.ones(1, 2))

    return net, step


@program
def fake_and_meta_tensors() -> Any:
    from torch._subclasses import FakeTensorMode

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 2))
    meta = nn.Sequential(nn.Linear(2, 2, device="meta"), nn.ReLU(inplace=True))

    def step() -> Any:
        y = meta(torch.ones(3, 2, device="meta"))
        y.sum().backward()
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake = mode.from_tensor(torch.ones(5, 2))
            z = net(fake)
        return tuple(y.shape), tuple(z.shape), type(z).__name__

    return {"net": net, "meta": meta}, step


@program
def export() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))

    def step() -> Any:
        return torch.export.export(net, (torch.ones(3, 2),), strict=False).graph_module.code

    return net, step


@program
def two_threads() -> Any:
    import threading

    nets = {
        str(n): nn.Sequential(nn.Linear(2, 4), nn.ReLU(inplace=True), nn.Linear(4, 1))
        for n in range(2)
    }

    def step() -> Any:
        results: dict[str, Any] = {}

        def work(name: str) -> None:
            for _ in range(5):
                y = nets[name](torch.ones(1, 2))
                y.sum().backward()
            results[name] = y

        threads = [threading.Thread(target=work, args=(name,)) for name in nets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [results[name] for name in sorted(results)]

    return nets, step


@program
def backward_in_another_thread() -> Any:
    import threading

    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    log: list[Any] = []
    net[0].weight.register_hook(note(log, "tensor"))

    def step() -> Any:
        y = net(torch.ones(1, 2))
        thread = threading.Thread(target=lambda: y.sum().backward())
        thread.start()
        thread.join()
        return y, log

    return net, step


@program
def generator_and_inner_class_attributes() -> Any:
    """A module that overrides what is looked up on the class and on the instance."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def __call__(self, *args: Any) -> Any:
            return super().__call__(*args) * 2

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x)

        def __getattr__(self, name: str) -> Any:
            if name == "anything":
                return 7
            return super().__getattr__(name)

        def __eq__(self, other: object) -> bool:
            raise AssertionError("modules are compared by identity")

        __hash__ = nn.Module.__hash__

    net = Own()
    net.linear.forward = lambda x: x * 2
    return net, forward_backward(net, torch.ones(1, 2, requires_grad=True))
