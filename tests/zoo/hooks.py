"""Hooks of every kind, and what they are given."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from zoo.program import forward_backward, note, program


@program
def hooks_of_every_kind() -> Any:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    log: list[Any] = []
    net[0].register_forward_pre_hook(note(log, "pre"))
    net[0].register_forward_pre_hook(note(log, "pre kw"), with_kwargs=True)
    net[0].register_forward_pre_hook(note(log, "pre first"), prepend=True)
    net[0].register_forward_hook(note(log, "forward"))
    net[0].register_forward_hook(note(log, "forward kw"), with_kwargs=True, always_call=True)
    net[0].register_forward_hook(note(log, "forward first"), prepend=True)
    net[0].register_full_backward_pre_hook(note(log, "bpre"))
    net[0].register_full_backward_pre_hook(note(log, "bpre first"), prepend=True)
    net[0].register_full_backward_hook(note(log, "full"))
    net.register_full_backward_hook(note(log, "root full"))
    net[2].register_backward_hook(note(log, "legacy"))
    net[0].weight.register_hook(note(log, "weight"))
    net[0].weight.register_post_accumulate_grad_hook(note(log, "post"))
    x = torch.randn(2, 3, requires_grad=True)

    def step() -> Any:
        x.register_hook(note(log, "input"))
        y = net(x)
        y.register_hook(note(log, "output"))
        y.retain_grad()
        y.grad_fn.register_prehook(note(log, "node pre"))
        y.grad_fn.register_hook(note(log, "node post"))
        torch.autograd.graph.register_multi_grad_hook((x, y), note(log, "multi"))
        y.sum().backward(retain_graph=True)
        y.sum().backward()
        return y, x, log

    return net, step


@program
def global_hooks_of_every_kind() -> Any:
    import torch.nn.modules.module as global_

    log: list[Any] = []
    global_.register_module_forward_pre_hook(note(log, "pre"))
    global_.register_module_forward_hook(note(log, "forward"))
    global_.register_module_forward_hook(note(log, "always"), always_call=True)
    global_.register_module_full_backward_pre_hook(note(log, "bpre"))
    global_.register_module_full_backward_hook(note(log, "full"))
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    step = forward_backward(net, torch.randn(2, 3, requires_grad=True))
    return net, lambda: (step(), log)


@program
def hooks_that_change_what_they_are_given() -> Any:
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    net[0].register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    net[0].register_forward_pre_hook(lambda m, args: args[0] + 1)
    net[0].register_forward_hook(lambda m, args, out: out.mul_(3))
    net[0].register_forward_hook(lambda m, args, out: out * 3)
    net[1].register_full_backward_hook(lambda m, gi, go: tuple(g * 2 for g in gi))
    net[1].register_full_backward_pre_hook(lambda m, go: tuple(g * 2 for g in go))
    net[2].register_forward_pre_hook(
        lambda m, args, kwargs: ((args[0].clamp(-0.1, 0.1),), kwargs), with_kwargs=True
    )
    net[2].register_forward_hook(lambda m, args, out: {"out": (out, out * 2)})

    def both(grad: torch.Tensor) -> torch.Tensor:
        grad *= 2
        return grad * 3

    net[0].weight.register_hook(both)
    net[0].bias.register_hook(lambda grad: grad.mul_(2))
    net[2].weight.register_post_accumulate_grad_hook(lambda p: [p.grad.mul_(2), None][1])
    net[2].bias.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))

    def step() -> Any:
        output = net(torch.ones(1, 3))["out"]
        (output[0] + output[1]).sum().backward()
        return output

    return net, step


@program
def hooks_that_get_the_very_objects() -> Any:
    net = nn.Linear(2, 2)
    facts: list[Any] = []
    x = torch.ones(1, 2)
    kwargs_seen: list[Any] = []

    def pre(module: Any, args: Any, kwargs: Any) -> None:
        kwargs_seen.append(kwargs)
        facts.append((module is net, args[0] is x, len(args)))

    def after(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        facts.append((module is net, args[0] is x, kwargs is kwargs_seen[-1]))
        kwargs_seen.append(output)

    net.register_forward_pre_hook(pre, with_kwargs=True)
    net.register_forward_hook(after, with_kwargs=True)
    net.weight.register_post_accumulate_grad_hook(lambda p: facts.append(p is net.weight))

    def step() -> Any:
        y = net(x)
        facts.append(y is kwargs_seen[-1])
        y.sum().backward()
        return facts

    return net, step


@program
def hooks_that_remove_themselves_and_add_others() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    log: list[Any] = []
    handles: dict[str, Any] = {}

    def once(name: str) -> Any:
        def hook(*arguments: Any) -> None:
            log.append(name)
            handles[name].remove()

        return hook

    def add(*arguments: Any) -> None:
        log.append("add")
        net[1].register_forward_hook(lambda *a: log.append("added forward"))
        net[0].weight.register_hook(lambda g: log.append("added tensor"))

    handles["pre"] = net[0].register_forward_pre_hook(once("pre"))
    net[0].register_forward_pre_hook(lambda *a: log.append("second pre"))
    handles["forward"] = net[0].register_forward_hook(once("forward"))
    net[0].register_forward_hook(add)
    handles["full"] = net[0].register_full_backward_hook(once("full"))
    handles["tensor"] = net[0].weight.register_hook(once("tensor"))
    net[0].weight.register_hook(lambda g: log.append("second tensor"))
    handles["post"] = net[1].weight.register_post_accumulate_grad_hook(once("post"))

    def during_backward(grad: torch.Tensor) -> None:
        log.append("during backward")
        net[0].bias.register_hook(lambda g: log.append("registered in backward"))
        net[0].bias.register_post_accumulate_grad_hook(lambda p: log.append("post in backward"))

    net[1].bias.register_hook(during_backward)

    def step() -> Any:
        for _ in range(2):
            net(torch.ones(1, 2)).sum().backward()
        return log, {name: handle.id for name, handle in handles.items()}

    return net, step


@program
def the_same_hook_registered_twice() -> Any:
    net = nn.Linear(2, 2)
    log: list[Any] = []
    hook = note(log, "hook")
    for register in (
        net.register_forward_pre_hook,
        net.register_forward_hook,
        net.register_full_backward_hook,
        net.weight.register_hook,
        net.weight.register_post_accumulate_grad_hook,
    ):
        register(hook)
        register(hook)

    def step() -> Any:
        net(torch.ones(1, 2, requires_grad=True)).sum().backward()
        return log

    return net, step


@program
def handles_registered_and_removed_inside_the_block() -> Any:
    net = nn.Linear(2, 2)
    log: list[Any] = []

    def step() -> Any:
        with net.register_forward_hook(note(log, "with")) as handle:
            net(torch.ones(1, 2))
        late = net.register_forward_hook(note(log, "late"))
        forever = net.weight.register_hook(note(log, "tensor"))
        y = net(torch.ones(1, 2))
        y.sum().backward()
        late.remove()
        late.remove()
        return log, handle is not None, late.id, forever.id

    return net, step


@program
def no_hook_fires_in_no_grad() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    log: list[Any] = []
    net[0].register_forward_hook(note(log, "forward"))
    net[0].register_full_backward_hook(note(log, "full"))

    def step() -> Any:
        with torch.no_grad():
            y = net(torch.ones(1, 2))
        with torch.inference_mode():
            z = net(torch.ones(1, 2))
        return y, z, log

    return net, step
