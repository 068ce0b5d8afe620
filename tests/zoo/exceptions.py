"""Programs that raise, and hooks that do."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from zoo.program import note, program


class Broken(nn.Module):
    """A module that raises."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("the model's own\nmessage") from error


@program
def a_module_that_raises() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(Broken()))
    log: list[Any] = []
    net[1][0].register_forward_hook(note(log, "never"))
    net[1][0].register_forward_hook(note(log, "always"), always_call=True)
    net.register_forward_hook(note(log, "always root"), always_call=True)
    return net, lambda: net(torch.ones(1, 2))


@program
def a_module_whose_error_is_caught() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), Broken())
    log: list[Any] = []
    net[1].register_forward_hook(note(log, "always"), always_call=True)

    def step() -> Any:
        try:
            net(torch.ones(1, 2))
        except ValueError as error:
            log.append(str(error))
        net[0](torch.ones(1, 2)).sum().backward()
        return log

    return net, step


@program
def an_always_call_hook_that_raises_too() -> Any:
    net = nn.Sequential(Broken())

    def hook(*arguments: Any) -> None:
        raise TypeError("from the hook")

    net[0].register_forward_hook(hook, always_call=True)
    return net, lambda: net(torch.ones(1, 2))


def raising(message: str) -> Any:
    def hook(*arguments: Any) -> None:
        raise OSError(message)

    return hook


@program
def a_forward_pre_hook_that_raises() -> Any:
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].register_forward_pre_hook(raising("pre"))
    return net, lambda: net(torch.ones(1, 2))


@program
def a_forward_hook_that_raises() -> Any:
    net = nn.Sequential(nn.Linear(2, 2))
    log: list[Any] = []
    net[0].register_forward_hook(raising("forward"))
    net[0].register_forward_hook(note(log, "always"), always_call=True)
    return net, lambda: net(torch.ones(1, 2))


@program
def a_full_backward_hook_that_raises() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].register_full_backward_hook(raising("full"))
    return net, lambda: net(torch.ones(1, 2, requires_grad=True)).sum().backward()


@program
def a_tensor_hook_that_raises() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].weight.register_hook(raising("tensor"))
    return net, lambda: net(torch.ones(1, 2)).sum().backward()


@program
def a_tensor_hook_that_returns_the_wrong_shape() -> Any:
    net = nn.Linear(2, 2)

    def wrong_shape(grad: torch.Tensor) -> torch.Tensor:
        return grad[0]

    net.weight.register_hook(wrong_shape)
    return net, lambda: net(torch.ones(1, 2)).sum().backward()


@program
def a_post_accumulate_hook_that_returns_something() -> Any:
    net = nn.Linear(2, 2)

    def returns(parameter: torch.Tensor) -> torch.Tensor:
        return parameter

    net.weight.register_post_accumulate_grad_hook(returns)
    return net, lambda: net(torch.ones(1, 2)).sum().backward()


@program
def a_full_backward_hook_that_returns_the_wrong_length() -> Any:
    net = nn.Linear(2, 2)
    net.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))
    return net, lambda: net(torch.ones(1, 2, requires_grad=True)).sum().backward()


@program
def a_pre_hook_with_kwargs_that_returns_the_wrong_thing() -> Any:
    net = nn.Linear(2, 2)
    net.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True)
    return net, lambda: net(torch.ones(1, 2))


@program
def a_full_backward_hook_before_an_in_place_relu() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))
    net[0].register_full_backward_hook(lambda m, gi, go: None)
    return net, lambda: net(torch.ones(1, 2))


@program
def backward_twice_through_a_freed_graph() -> Any:
    net = nn.Linear(2, 2)

    def step() -> None:
        loss = net(torch.ones(1, 2)).square().sum()
        loss.backward()
        loss.backward()

    return net, step


@program
def keyboard_interrupt_in_a_module() -> Any:
    class Interrupt(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyboardInterrupt

    net = nn.Sequential(nn.Linear(2, 2), Interrupt())
    log: list[Any] = []
    net[1].register_forward_hook(note(log, "not called"), always_call=True)
    return net, lambda: net(torch.ones(1, 2))


@program
def keyboard_interrupt_in_a_tensor_hook() -> Any:
    net = nn.Linear(2, 2)

    def interrupt(grad: torch.Tensor) -> None:
        raise KeyboardInterrupt

    net.weight.register_hook(interrupt)
    return net, lambda: net(torch.ones(1, 2)).sum().backward()


@program
def the_wrong_number_of_arguments() -> Any:
    net = nn.Sequential(nn.Linear(2, 2))
    return net, lambda: net(torch.ones(1, 2), 3, nonsense=True)
