"""Hooks of state dicts, of registrations, of optimizers and schedulers."""

from __future__ import annotations

import contextlib
import copy
import io
from typing import Any

import torch
import torch.nn.modules.module as torch_module
from torch import nn
from torch.optim import SGD, Adam, lr_scheduler
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from zoo.program import module_hook, note, program


def nested() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2)))


def private_pre(*arguments: Any) -> None:
    """A hook that can be copied with its module."""


@program
def state_dict_hooks_of_every_kind() -> Any:
    net = nested()
    log: list[Any] = []

    def added(module: Any, state: Any, prefix: str, metadata: Any) -> None:
        state[f"{prefix}extra"] = torch.ones(1)

    def replaces(module: Any, state: Any, prefix: str, metadata: Any) -> Any:
        return {f"renamed {key}": value for key, value in state.items()}

    handles = []
    for module in (net, net[1], net[1][0]):
        handles += [
            module.register_state_dict_pre_hook(note(log, "pre")),
            module.register_state_dict_post_hook(note(log, "post")),
            module._register_state_dict_hook(note(log, "private")),
        ]
    net[0].register_state_dict_post_hook(added)
    net[0]._register_state_dict_hook(replaces)  # heeded at the root only

    def step() -> Any:
        whole, inner, part = net.state_dict(), net[0].state_dict(), net.state_dict(prefix="p.")
        net(torch.ones(3, 2)).sum().backward()
        kept = net.state_dict(keep_vars=True)
        for handle in handles[::2]:
            handle.remove()
        return whole, inner, part, list(kept), net.state_dict(), log, handles

    return net, step


@program
def load_state_dict_hooks_of_every_kind() -> Any:
    net, other = nested(), nested()
    log: list[Any] = []

    def renames(module: Any, state: Any, prefix: str, *rest: Any) -> None:
        if f"{prefix}old" in state:
            state[f"{prefix}weight"] = state.pop(f"{prefix}old")

    def forgives(module: Any, keys: Any) -> None:
        log.append((list(keys.missing_keys), list(keys.unexpected_keys)))
        keys.unexpected_keys.clear()

    for module in (net, net[1], net[1][0]):
        module.register_load_state_dict_pre_hook(note(log, "pre"))
        module._register_load_state_dict_pre_hook(note(log, "private"))
        module._register_load_state_dict_pre_hook(note(log, "private module"), with_module=True)
        module.register_load_state_dict_post_hook(lambda m, keys: log.append(str(keys)))
    net[0].register_load_state_dict_pre_hook(renames)
    net.register_load_state_dict_post_hook(forgives)
    state = other.state_dict()
    state["0.old"] = state.pop("0.weight")
    state["nobody"] = torch.ones(1)

    def step() -> Any:
        result = net.load_state_dict(state)
        assigned = net.load_state_dict(other.state_dict(), assign=True)
        net(torch.ones(3, 2)).sum().backward()
        return str(result), str(assigned), log, net.state_dict()

    return net, step


@program
def copies_of_modules_with_state_dict_hooks() -> Any:
    net = nested()
    net.register_state_dict_pre_hook(module_hook)
    net[0].register_load_state_dict_pre_hook(private_pre)
    net[0]._register_load_state_dict_pre_hook(private_pre, with_module=True)
    net[0].register_load_state_dict_post_hook(module_hook)

    def step() -> Any:
        twin = copy.deepcopy(net)
        file = io.BytesIO()
        torch.save(net, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
        loaded.load_state_dict(twin.state_dict())
        owners = [one.module is loaded[0] for one in loaded[0]._load_state_dict_pre_hooks.values()]
        return twin, loaded, owners

    return net, step


@program
def a_state_dict_hook_that_returns_something() -> Any:
    net = nn.Linear(1, 1)
    net.register_state_dict_post_hook(lambda *a: {})
    return net, net.state_dict


@program
def a_load_state_dict_hook_that_raises() -> Any:
    net = nested()

    def raises(*arguments: Any) -> None:
        raise LookupError("from the hook")

    net[1].register_load_state_dict_post_hook(raises)
    return net, lambda: net.load_state_dict(nested().state_dict())


@program
def a_bound_method_as_a_state_dict_post_hook() -> Any:
    class Net(nn.Linear):
        def hook(self, *arguments: Any) -> None: ...

    net = Net(1, 1)
    return net, lambda: net.register_state_dict_post_hook(net.hook)


@program
def registration_hooks_of_every_kind() -> Any:
    log: list[Any] = []

    def doubles(module: nn.Module, name: str, value: Any) -> Any:
        log.append((type(module).__name__, name, value))
        return None if value is None else value * 2

    def replaces(module: nn.Module, name: str, value: Any) -> Any:
        log.append((type(module).__name__, name, type(value).__name__))
        return nn.Tanh() if isinstance(value, nn.ReLU) else None

    handles = [
        torch_module.register_module_parameter_registration_hook(
            lambda m, name, value: log.append((name, value.shape))
        ),
        torch_module.register_module_buffer_registration_hook(doubles),
        torch_module.register_module_module_registration_hook(replaces),
    ]

    def step() -> Any:
        net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU())
        net.register_parameter("none", None)
        net.register_buffer("scale", torch.ones(2), persistent=False)
        net.extra = nn.Parameter(torch.ones(1))
        net(torch.ones(3, 2)).sum().backward()
        for handle in handles:
            handle.remove()
        net.add_module("last", nn.ReLU())
        return net, log, handles

    return None, step


@program
def global_hooks_with_every_option() -> Any:
    log: list[Any] = []
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    handles = [
        torch_module.register_module_forward_pre_hook(note(log, "pre")),
        torch_module.register_module_forward_hook(note(log, "kwargs"), with_kwargs=True),
        torch_module.register_module_forward_hook(note(log, "always"), always_call=True),
        torch_module.register_module_forward_hook(lambda m, a, o: o * 2),
        torch_module.register_module_forward_pre_hook(lambda m, a: (a[0] + 1,) if a else None),
    ]
    net[0].register_forward_hook(note(log, "own"))
    x = torch.ones(1, 2)

    def step() -> Any:
        y = net(x)
        y.sum().backward()
        with torch_module.register_module_forward_hook(note(log, "inside")):
            net(input=x)
        for handle in handles:
            handle.remove()
        try:
            net(x, x)
        except TypeError as error:
            log.append(error)
        return y, log, handles

    return net, step


@program
def global_legacy_backward_hooks() -> Any:
    log: list[Any] = []
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    handle = torch_module.register_module_backward_hook(note(log, "legacy"))

    def step() -> Any:
        net(torch.ones(1, 2, requires_grad=True)).sum().backward()
        handle.remove()
        net(torch.ones(1, 2)).sum().backward()
        return log, handle

    return net, step


@program
def optimizer_hooks_of_every_kind() -> Any:
    net = nested()
    log: list[Any] = []
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)

    def halves(optimizer: Any, args: Any, kwargs: Any) -> Any:
        log.append((len(args), list(kwargs)))
        for parameter in net.parameters():
            parameter.grad /= 2
        return args, kwargs

    handles = [
        register_optimizer_step_pre_hook(note(log, "global pre")),
        register_optimizer_step_post_hook(note(log, "global post")),
        optimizer.register_step_pre_hook(halves),
        optimizer.register_step_pre_hook(note(log, "pre")),
        optimizer.register_step_post_hook(note(log, "post")),
        optimizer.register_state_dict_pre_hook(lambda o: log.append("state pre")),
        optimizer.register_state_dict_post_hook(lambda o, s: s | {"more": 1}),
        optimizer.register_state_dict_post_hook(note(log, "state post"), prepend=True),
        optimizer.register_load_state_dict_pre_hook(note(log, "load pre")),
        optimizer.register_load_state_dict_pre_hook(lambda o, s: dict(s), prepend=True),
        optimizer.register_load_state_dict_post_hook(lambda o: log.append("load post")),
    ]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = net(torch.ones(3, 2)).square().sum()
        loss.backward()
        return loss

    def step() -> Any:
        closure()
        optimizer.step()
        loss = optimizer.step(closure)
        state = optimizer.state_dict()
        state.pop("more")
        optimizer.load_state_dict(state)
        twin = copy.deepcopy(optimizer)
        for handle in handles[::2]:
            handle.remove()
        optimizer.step(closure=closure)
        return loss, optimizer, twin, log, handles

    return net, step


@program
def an_optimizer_hook_that_raises_and_one_that_returns_nonsense() -> Any:
    net = nn.Linear(1, 1)
    optimizer = SGD(net.parameters(), lr=0.1)

    def raises(*arguments: Any) -> None:
        raise ArithmeticError("from the hook")

    def step() -> Any:
        net(torch.ones(1)).sum().backward()
        handle = optimizer.register_step_pre_hook(lambda *a: 7)
        with contextlib.suppress(RuntimeError), handle:
            optimizer.step()
        optimizer.register_step_post_hook(raises)
        optimizer.step()

    return net, step


@program
def an_optimizer_that_calls_super_and_is_made_inside() -> Any:
    net = nn.Linear(2, 1)
    log: list[Any] = []

    class Noisy(SGD):
        def step(self, closure: Any = None) -> Any:
            log.append("before super")
            return super().step(closure)

    def step() -> Any:
        optimizer = Noisy(net.parameters(), lr=0.1)
        optimizer.register_step_pre_hook(note(log, "pre"))
        optimizer.register_step_post_hook(note(log, "post"))
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        return optimizer, log

    return net, step


@program
def schedulers() -> Any:
    net = nn.Linear(2, 1)
    optimizers = [Adam(net.parameters(), lr=0.1), SGD(net.parameters(), lr=1.0, momentum=0.5)]
    makers = [
        lambda o: lr_scheduler.StepLR(o, 2),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.ConstantLR(o, 0.5), lr_scheduler.ExponentialLR(o, 0.9)], [2]
        ),
        lambda o: lr_scheduler.ChainedScheduler(
            [lr_scheduler.LinearLR(o), lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch)], o
        ),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
        lambda o: lr_scheduler.OneCycleLR(o, 1.0, 10),
    ]

    def step() -> Any:
        rates = []
        for optimizer in optimizers:
            for maker in makers:
                scheduler = maker(optimizer)
                for _ in range(4):
                    optimizer.zero_grad()
                    net(torch.ones(1, 2)).sum().backward()
                    optimizer.step()
                    scheduler.step()
                    rates.append(scheduler.get_last_lr())
            plateau = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
            for loss in (1.0, 2.0, 3.0):
                plateau.step(loss)
            rates.append(plateau.state_dict())
        scheduler.step(5)  # warns: the epoch is deprecated
        return rates, scheduler, plateau, optimizers

    return net, step


@program
def a_scheduler_stepped_before_its_optimizer() -> Any:
    net = nn.Linear(2, 1)
    optimizer = SGD(net.parameters(), lr=0.1)

    def step() -> Any:
        scheduler = lr_scheduler.StepLR(optimizer, 1)
        scheduler.step()  # warns: the optimizer has not made a step
        optimizer.step()
        return optimizer, scheduler, scheduler.get_last_lr()

    return net, step


@program
def averaged_models_and_scaled_gradients() -> Any:
    from torch.optim.swa_utils import SWALR, AveragedModel, update_bn

    net = nested()
    net[0].register_forward_hook(module_hook)
    optimizer = SGD(net.parameters(), lr=0.1)

    def step() -> Any:
        average = AveragedModel(net, use_buffers=True)
        schedule = SWALR(optimizer, 0.05)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        for _ in range(2):
            optimizer.zero_grad()
            scaler.scale(net(torch.randn(3, 2)).square().sum()).backward()
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
            average.update_parameters(net)
            schedule.step()
        update_bn([torch.randn(4, 2)], average)
        return average, average(torch.ones(3, 2)), scaler.state_dict(), optimizer

    return net, step


@program
def parameters_assigned_cast_and_emptied_inside_the_block() -> Any:
    net = nested()

    def step() -> Any:
        net(torch.ones(3, 2)).sum().backward()
        net.load_state_dict(nested().state_dict(), assign=True)
        net.double()(torch.ones(3, 2, dtype=torch.float64)).sum().backward()
        net.float().requires_grad_(False)
        first = net(torch.ones(3, 2))
        net.to(memory_format=torch.preserve_format).eval()
        with torch.device("meta"):
            empty = nested()
        empty.to_empty(device="cpu").load_state_dict(net.state_dict())
        return first, empty.eval()(torch.ones(3, 2))

    return net, step
