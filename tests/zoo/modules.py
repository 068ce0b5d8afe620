"""Modules that are called, replaced, or end in ways of their own."""

from __future__ import annotations

import copy
import gc
import types
import warnings
import weakref
from typing import Any

import torch
from torch import nn

from zoo.program import described, forward_backward, module_hook, note, program


@program
def modules_replaced_inside_the_block() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 2))
    log: list[Any] = []
    net[0].register_forward_hook(note(log, "old"))
    net[1].register_forward_hook(note(log, "changed"))

    def replace(module: nn.Module, args: Any) -> None:
        net[2] = nn.Linear(2, 2)
        net[2].register_forward_hook(note(log, "made by a hook"))

    def step() -> Any:
        net(torch.ones(1, 2)).sum().backward()
        net[0] = nn.Identity()
        net[1].__class__ = nn.Tanh
        net[0].register_forward_pre_hook(replace)
        net(torch.ones(1, 2)).sum().backward()
        net.insert(1, net.pop(2))
        net.append(nn.Sequential())
        net(torch.ones(1, 2)).sum().backward()
        return net, log

    return net, step


@program
def forward_assigned_on_the_instance_and_the_class() -> Any:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    net = nn.Sequential(Net(), Net(), nn.Linear(2, 2))
    log: list[Any] = []
    for module in net:
        module.register_forward_hook(note(log, "forward"), with_kwargs=True)
    original = net[2].forward

    def step() -> Any:
        x = torch.ones(1, 2, requires_grad=True)
        net[0].forward = lambda x: x * 3
        net[1].forward = types.MethodType(lambda self, x: x * 4, net[1])
        net[2].forward = lambda x: original(x) + 1
        net(x).sum().backward()
        for module in net:
            del module.forward
        Net.forward = lambda self, x: x * 5
        y = net(x)
        y.sum().backward()
        return y, x, log

    return net, step


@program
def call_overridden_without_calling_super() -> Any:
    class Direct(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner.forward(x) + nn.Module._call_impl(self, x)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    net = Direct()
    log: list[Any] = []
    net.register_forward_hook(note(log, "outer"))
    net.inner.register_forward_hook(note(log, "inner"))
    step = forward_backward(net, torch.ones(1, 2, requires_grad=True))
    return net, lambda: (step(), nn.Module.__call__(net, torch.ones(1, 2)), log)


@program
def generators_and_coroutines_as_forward() -> Any:
    class Yields(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> Any:
            for _ in range(2):
                x = self.inner(x)
                yield x

    class Awaits(nn.Module):
        async def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    net = nn.ModuleDict({"yields": Yields(), "awaits": Awaits()})
    log: list[Any] = []
    net["yields"].register_forward_hook(note(log, "generator"))
    net["yields"].inner.register_full_backward_hook(note(log, "full"))

    def step() -> Any:
        x = torch.ones(1, 2, requires_grad=True)
        first = next(net["yields"](x))
        outputs = list(net["yields"](x))
        unfinished = net["yields"](x)
        next(unfinished)
        outputs[-1].sum().backward()
        try:
            net["awaits"](x).send(None)
        except StopIteration as stop:
            return first, outputs, stop.value, x, log

    return net, step


@program
def weak_references_and_finalizers() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    log: list[str] = []

    class Payload:
        pass

    class Closes(nn.Tanh):
        def __del__(self) -> None:
            log.append("deleted")

    def dead(reference: Any) -> None:
        log.append("callback")

    def step() -> Any:
        gc.disable()
        try:
            x = torch.ones(1, 2, requires_grad=True)
            y = net(x)
            y.payload = Payload()
            references = [weakref.ref(y, dead), weakref.ref(y.payload, dead)]
            held = weakref.WeakValueDictionary({"y": y})
            known = torch.utils.weak.WeakIdKeyDictionary({y: 1})
            weakref.finalize(y, log.append, "finalized")
            alive = [reference() is not None for reference in references], len(held), len(known)
            y.sum().backward()
            del y
            after = [reference() is not None for reference in references], len(held), len(known)
            Closes()(x)
            extra = Closes()
            handle = extra.register_forward_hook(module_hook)
            extra(x)
            del extra
            return alive, after, handle, list(log)
        finally:
            gc.enable()

    return net, step


@program
def modules_and_values_that_are_false_or_refuse_comparison() -> Any:
    class Refuses(nn.Module):
        def __len__(self) -> int:
            return 0

        def __bool__(self) -> bool:
            return False

        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

        def __hash__(self) -> int:
            return 1

        def __repr__(self) -> str:
            raise AssertionError("printed")

        def forward(self, x: torch.Tensor, other: Any = None) -> Any:
            return x, Odd()

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

        def __bool__(self) -> bool:
            raise AssertionError("asked")

        def __len__(self) -> int:
            raise AssertionError("measured")

        def __repr__(self) -> str:
            raise AssertionError("printed")

        __hash__ = None  # type: ignore[assignment]

    net = nn.ModuleDict({"refuses": Refuses(), "empty": nn.Sequential()})
    log: list[Any] = []
    net["refuses"].register_forward_hook(
        lambda m, args, kwargs, out: log.append(1), with_kwargs=True
    )
    net["refuses"].register_forward_hook(lambda m, args, out: (out[0] * 2, Odd()))
    net["empty"].register_forward_hook(note(log, "empty"))

    def step() -> Any:
        x = torch.ones(2, requires_grad=True)
        y, odd = net["refuses"](x, other=Odd())
        net["refuses"](x, Odd())
        z = net["empty"](y)
        z.sum().backward()
        return z is y, type(odd).__name__, x, log

    return net, step


@program
def things_with_a_torch_function_of_their_own() -> Any:
    calls: list[str] = []

    class Unit:
        """Not a tensor, but PyTorch's functions take it."""

        def __init__(self, tensor: torch.Tensor, unit: str) -> None:
            self.tensor, self.unit = tensor, unit

        @classmethod
        def __torch_function__(
            cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            calls.append(getattr(func, "__name__", str(func)))
            plain = [one.tensor if isinstance(one, Unit) else one for one in args]
            return cls(func(*plain, **(kwargs or {})), "m")

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    log: list[Any] = []
    net[0].register_forward_hook(note(log, "forward"))
    net[1].register_forward_hook(lambda m, a, out: Unit(out.tensor * 2, "km"))

    def step() -> Any:
        x = torch.ones(1, 2, requires_grad=True)
        y = net(Unit(x, "m"))
        y.tensor.sum().backward()
        return y.tensor, y.unit, x, calls, log

    return net, step


@program
def warnings_and_the_lines_they_are_laid_to() -> Any:
    class Warns(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for level in range(1, 7):
                warnings.warn(f"forward {level}", DeprecationWarning, stacklevel=level)
            return x

    net = nn.Sequential(nn.Linear(2, 2), Warns())

    def warns(*arguments: Any) -> None:
        for level in range(1, 5):
            warnings.warn(f"hook {level}", UserWarning, stacklevel=level)

    net[0].register_forward_pre_hook(warns)
    net[0].register_forward_hook(warns)

    def step() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # once for each line
            for _ in range(2):
                net(torch.ones(1, 2)).sum().backward()
        net[0].register_full_backward_hook(module_hook)
        net(torch.ones(1, 2)).sum().backward()  # PyTorch warns: no input requires grad
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            net(torch.ones(1, 2))

    return net, step


@program
def warnings_of_hooks_that_run_in_backward() -> Any:
    net = nn.Linear(2, 2)

    def warns(*arguments: Any) -> None:
        warnings.warn("from a hook", UserWarning, stacklevel=1)

    net.weight.register_hook(warns)
    net.weight.register_post_accumulate_grad_hook(warns)
    net.register_full_backward_hook(warns)
    return net, forward_backward(net, torch.ones(1, 2, requires_grad=True))


@program
def inference_mode_throughout() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.BatchNorm1d(2))
    log: list[Any] = []
    net[1].register_forward_hook(note(log, "forward"))
    x = torch.ones(3, 2)

    def step() -> Any:
        with torch.inference_mode():
            inside = torch.ones(3, 2)
            y = net(inside)
            y.add_(1)
            view = y[0]
            with torch.inference_mode(False):
                net(x).sum().backward()
                copied = net(inside.clone()).sum()
            inside.zero_()
        try:
            net(view[None].expand(3, 2)).sum().backward()
        except RuntimeError as error:
            log.append(str(error))
        return y, view, copied, inside, log

    return net, step


@program
def layers_that_draw_random_numbers() -> Any:
    class Noise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator = torch.Generator().manual_seed(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            own = torch.randn(x.shape, generator=self.generator)
            return x + own + torch.rand_like(x) * torch.randint(3, x.shape)

    net = nn.Sequential(Noise(), nn.RReLU(), nn.AlphaDropout(), nn.FeatureAlphaDropout(), Noise())
    net[1].register_forward_hook(lambda m, a, out: out + torch.rand_like(out))

    def step() -> Any:
        x = torch.randn(3, 4, requires_grad=True)
        y = nn.functional.gumbel_softmax(net(x), hard=True)
        y.register_hook(lambda grad: grad + torch.randn_like(grad))
        y.sum().backward()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            forked = net(x)
        state = torch.get_rng_state()
        first = net(x)
        torch.set_rng_state(state)
        return (
            y,
            x,
            forked,
            first,
            net(x),
            net[0].generator.get_state(),
            torch.bernoulli(x * 0 + 0.5),
        )

    return net, step


@program
def one_tensor_passed_twice() -> Any:
    net = nn.ModuleDict(
        {
            "attention": nn.MultiheadAttention(4, 2, batch_first=True),
            "bilinear": nn.Bilinear(4, 4, 2),
        }
    )
    log: list[Any] = []
    net["attention"].register_forward_hook(
        lambda m, args, out: log.append(args[0] is args[1] is args[2])
    )

    def step() -> Any:
        x = torch.randn(2, 3, 4, requires_grad=True)
        y, weights = net["attention"](x, x, x)
        z = net["bilinear"](y, y)
        (z.sum() + weights.square().sum()).backward()
        return y, weights, z, x, log

    return net, step


@program
def autocast_casts_shared_by_two_modules() -> Any:
    net = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
    net[1].weight = net[0].weight
    log: list[Any] = []
    net[0].weight.register_hook(note(log, "weight"))

    def step() -> Any:
        x = torch.ones(1, 2, requires_grad=True)
        x.register_hook(note(log, "x"))
        for cached in (True, False):
            with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=cached):
                y = net[0](x) + net[1](x)
                with torch.autocast("cpu", enabled=False):
                    y = y + net[1](x)
            y.float().sum().backward()
        return y, x, log

    return net, step


@program
def nested_strided_tensors() -> Any:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    log: list[str] = []
    net[0].register_forward_hook(lambda m, a, out: log.append(type(out).__name__))

    def step() -> Any:
        parts = [torch.ones(2, 2), torch.ones(3, 2)]
        x = torch.nested.nested_tensor(parts, requires_grad=True)
        y = net(x)
        padded = torch.nested.to_padded_tensor(y, 0.0)
        padded.sum().backward()
        return padded, y.is_nested, [one.clone() for one in x.grad.unbind()], log

    return net, step


@program
def containers_that_are_never_called() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
            self.scales = nn.ParameterList([torch.ones(2), torch.ones(2)])
            self.shifts = nn.ParameterDict({"a": torch.ones(2)})
            self.register_buffer("count", torch.zeros((), dtype=torch.long))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.count += 1
            for layer, scale in zip(self.layers, self.scales, strict=True):
                x = layer(x) * scale + self.shifts["a"]
            return x

    net = Net()
    log: list[Any] = []
    net.layers.register_forward_hook(note(log, "never"))
    net.scales[0].register_hook(note(log, "scale"))
    net.register_full_backward_pre_hook(note(log, "pre"))
    step = forward_backward(net, torch.ones(1, 2))
    return net, lambda: (step(), step(), log)


@program
def many_threads_with_hooks_of_their_own() -> Any:
    import threading

    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    seen: dict[str, list[Any]] = {}
    lock = threading.Lock()

    def hook(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        with lock:
            seen.setdefault(threading.current_thread().name, []).append(described(output))

    net[0].register_forward_hook(hook)

    def step() -> Any:
        outputs: dict[str, Any] = {}

        def work() -> None:
            name = threading.current_thread().name
            twin = copy.deepcopy(net)
            for n in range(3):
                x = torch.full((1, 2), float(n), requires_grad=True)
                y = twin(x)
                handle = y.register_hook(lambda grad: grad * 2)
                y.sum().backward()
                del handle
            outputs[name] = x.grad, [parameter.grad for parameter in twin.parameters()]

        threads = [threading.Thread(target=work, name=f"worker {n}") for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [outputs[name] for name in sorted(outputs)], [seen[one] for one in sorted(seen)]

    return net, step


@program
def outputs_made_of_registered_and_unregistered_classes() -> Any:
    from dataclasses import dataclass

    from torch.utils import _pytree as pytree

    class Known:
        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor = tensor

    class Unknown(Known):
        pass

    @dataclass
    class Data:
        tensor: torch.Tensor

    pytree.register_pytree_node(Known, lambda one: ([one.tensor], None), lambda t, _: Known(*t))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: Any, **rest: Any) -> Any:
            y = self.linear(x.tensor)
            return Known(y * 2), Unknown(y * 3), Data(y * 4), range(2), slice(1), {1: y}.values()

    net = Net()
    log: list[Any] = []
    net.register_forward_hook(note(log, "forward"), with_kwargs=True)
    net.register_full_backward_hook(note(log, "full"))

    def step() -> Any:
        x = torch.ones(1, 2, requires_grad=True)
        known, unknown, data, *_ = net(Known(x), more=Data(x))
        (known.tensor + unknown.tensor + data.tensor).sum().backward()
        pytree._deregister_pytree_node(Known)
        return known.tensor, x, log

    return net, step
