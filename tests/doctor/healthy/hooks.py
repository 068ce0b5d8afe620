"""Hooks that are used as they should be."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

import hooktrace as ht

from .program import Tracing, healthy, small, total, train


@healthy()
def features_that_are_cloned(trace: Tracing) -> ht.Trace:
    """A forward hook keeps a copy, for a ReLU in place comes next."""
    net = small(inplace=True)
    features: dict[str, torch.Tensor] = {}

    def save(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        features["first"] = output.detach().clone()

    with trace(net) as t, torch.no_grad(), net[0].register_forward_hook(save):
        net(torch.randn(3, 4))
    assert features["first"].min() < 0
    return t


@healthy()
def features_that_are_detached(trace: Tracing) -> ht.Trace:
    """Nothing writes in place here, so detach is enough."""
    net = small()
    features: dict[str, torch.Tensor] = {}

    def save(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        features["first"] = output.detach()

    handle = net[0].register_forward_hook(save)
    t = train(trace, net, torch.randn(3, 4))
    handle.remove()
    return t


@contextlib.contextmanager
def recorded(net: nn.Module, kept: dict[str, torch.Tensor]) -> Iterator[None]:
    """Keep a copy of what each leaf module returns, while this is open."""

    def saver(name: str) -> Any:
        def save(module: nn.Module, args: Any, output: torch.Tensor) -> None:
            kept[name] = output.detach().clone()

        return save

    leaves = [(name, one) for name, one in net.named_modules() if not list(one.children())]
    handles = [one.register_forward_hook(saver(name)) for name, one in leaves]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@healthy()
def features_in_a_context(trace: Tracing) -> ht.Trace:
    """Hooks on every layer, which are gone afterwards."""
    net = small(inplace=True).eval()
    kept: dict[str, torch.Tensor] = {}
    with trace(net) as t, torch.no_grad(), recorded(net, kept):
        net(torch.randn(3, 4))
    assert len(kept) == 3
    return t


@healthy()
def statistics_of_activations(trace: Tracing) -> ht.Trace:
    """Forward hooks that keep numbers and no tensors."""
    net = small()
    means: list[float] = []
    for layer in net:
        layer.register_forward_hook(lambda m, args, output: means.append(output.mean().item()))
    return train(trace, net, torch.randn(3, 4))


@healthy()
def norms_of_gradients(trace: Tracing) -> ht.Trace:
    """Tensor hooks on parameters that keep numbers."""
    net = small()
    norms: dict[str, float] = {}
    for name, parameter in net.named_parameters():
        parameter.register_hook(lambda grad, name=name: norms.__setitem__(name, grad.norm().item()))
    return train(trace, net, torch.randn(3, 4))


@healthy()
def gradients_clamped_by_hooks(trace: Tracing) -> ht.Trace:
    """The hook returns a new tensor."""
    net = small()
    for parameter in net.parameters():
        parameter.register_hook(lambda grad: grad.clamp(-0.1, 0.1))
    return train(trace, net, torch.randn(3, 4))


@healthy()
def hooks_registered_inside_whose_handles_are_kept(trace: Tracing) -> ht.Trace:
    """They stay for the steps after the block, and can be removed then."""
    net = small()
    with trace(net) as t:
        handles = [one.register_hook(lambda grad: grad.clamp(-1, 1)) for one in net.parameters()]
        total(net(torch.randn(3, 4))).backward()
    for handle in handles:
        handle.remove()
    return t


@healthy(leaked_hook="The hooks stay for good, and nobody can remove them: they are told once.")
def hooks_registered_inside_for_good(trace: Tracing) -> ht.Trace:
    """Clamped from here on; the handles are dropped."""
    net = small()
    with trace(net) as t:
        for parameter in net.parameters():
            parameter.register_hook(lambda grad: grad.clamp(-1, 1))
        total(net(torch.randn(3, 4))).backward()
    return t


@healthy()
def gradients_of_rows_masked(trace: Tracing) -> ht.Trace:
    """Some rows of an embedding stay as they are."""
    net = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 1))
    mask = torch.ones(6, 1)
    mask[:2] = 0
    net[0].weight.register_hook(lambda grad: grad * mask)
    return train(trace, net, torch.tensor([0, 2, 5]))


@healthy()
def full_backward_hooks_that_look(trace: Tracing) -> ht.Trace:
    """On a net without in-place code, with an input that needs no gradient but inside."""
    net = small()
    norms: list[float] = []

    def look(module: nn.Module, grad_input: Any, grad_output: Any) -> None:
        norms.append(grad_output[0].norm().item())

    net[2].register_full_backward_hook(look)
    net[1].register_full_backward_hook(look)
    return train(trace, net, torch.randn(3, 4))


@healthy()
def a_full_backward_pre_hook_that_scales(trace: Tracing) -> ht.Trace:
    """Returns a tuple of the length it was given."""
    net = small()
    net[2].register_full_backward_pre_hook(lambda m, grad_output: (grad_output[0] * 0.5,))
    return train(trace, net, torch.randn(3, 4))


@healthy()
def a_pre_hook_that_normalizes_the_input(trace: Tracing) -> ht.Trace:
    """Returns the new arguments."""
    net = small()
    net.register_forward_pre_hook(lambda m, args: ((args[0] - 0.5) / 0.2,))
    return train(trace, net, torch.rand(3, 4))


@healthy()
def low_rank_adaptation_by_hooks(trace: Tracing) -> ht.Trace:
    """LoRA: the base is frozen, forward hooks add what the adapters compute."""
    net = small()
    net.requires_grad_(False)
    adapters = nn.ModuleList()
    for layer in (net[0], net[2]):
        down = nn.Linear(layer.in_features, 2, bias=False)
        up = nn.Linear(2, layer.out_features, bias=False)
        nn.init.zeros_(up.weight)  # so that nothing is changed before training
        low = nn.Sequential(down, up)
        adapters.append(low)
        layer.register_forward_hook(lambda m, args, output, low=low: output + low(args[0]))
    optimizer = torch.optim.AdamW(adapters.parameters())
    with trace({"net": net, "adapters": adapters}) as t:
        for _ in range(2):
            optimizer.zero_grad()
            total(net(torch.randn(3, 4))).backward()
            optimizer.step()
    return t


@healthy()
def an_intervention_by_a_hook(trace: Tracing) -> ht.Trace:
    """Activation steering: one run with, one without."""
    net = small().eval()
    direction = torch.randn(8)
    x = torch.randn(3, 4)
    with trace(net) as t, torch.no_grad():
        with net[0].register_forward_hook(lambda m, args, output: output + direction):
            net(x)
        net(x)
    return t


class EnoughError(Exception):
    """Raised when the features that are wanted have been computed."""


@healthy()
def a_hook_that_stops_the_forward(trace: Tracing) -> ht.Trace:
    """The exception is meant and caught; the layers behind it need not run."""
    net = small().eval()
    features: list[torch.Tensor] = []

    def stop(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        features.append(output.clone())
        raise EnoughError

    handle = net[0].register_forward_hook(stop)
    with trace(net) as t, torch.no_grad():
        with contextlib.suppress(EnoughError):
            net(torch.randn(3, 4))
        handle.remove()
    assert len(features) == 1
    return t


@healthy()
def grad_cam(trace: Tracing) -> ht.Trace:
    """Activation and gradient of a layer, by a forward hook and a tensor hook on its output."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ).eval()
    found: dict[str, torch.Tensor] = {}

    def save(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        found["activation"] = output.detach().clone()
        output.register_hook(lambda grad: found.__setitem__("gradient", grad.clone()))

    with trace(net) as t, net[1].register_forward_hook(save):
        net(torch.rand(1, 1, 6, 6))[0, 1].backward()
    assert found["gradient"].shape == found["activation"].shape
    return t


@healthy()
def guided_backpropagation(trace: Tracing) -> ht.Trace:
    """Full backward hooks on ReLUs out of place return the clamped gradient."""
    net = small(4, 3).eval()
    x = torch.randn(2, 4, requires_grad=True)

    def guide(module: nn.Module, grad_input: Any, grad_output: Any) -> Any:
        return (grad_input[0].clamp(min=0),)

    with trace(net) as t, net[1].register_full_backward_hook(guide):
        net(x)[:, 0].sum().backward()
    return t


@healthy()
def an_optimizer_in_backward(trace: Tracing) -> ht.Trace:
    """A step for each parameter as soon as its gradient is there."""
    net = small()
    optimizers = {one: torch.optim.SGD([one], lr=0.1) for one in net.parameters()}

    def step(parameter: torch.Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in net.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    with trace(net) as t:
        for _ in range(2):
            total(net(torch.randn(3, 4))).backward()
    return t


@healthy()
def a_hook_for_several_tensors(trace: Tracing) -> ht.Trace:
    """Fires once when all of them have their gradients."""
    net = small()
    norms: list[float] = []

    def together(grads: Any) -> None:
        norms.append(sum(grad.norm().item() for grad in grads))

    handle = torch.autograd.graph.register_multi_grad_hook(tuple(net.parameters()), together)
    t = train(trace, net, torch.randn(3, 4))
    handle.remove()
    assert len(norms) == 2
    return t


@healthy()
def a_retained_gradient(trace: Tracing) -> ht.Trace:
    """`retain_grad` for the gradient of something in the middle."""
    net = small()
    with trace(net) as t:
        hidden = net[0](torch.randn(3, 4))
        hidden.retain_grad()
        total(net[2](net[1](hidden))).backward()
    assert hidden.grad is not None
    return t


@healthy()
def a_hook_on_a_module_that_is_called_thrice(trace: Tracing) -> ht.Trace:
    """One encoder for three inputs; its hook fires for each."""
    net = small(4, 3)
    norms: list[float] = []
    net[2].register_forward_hook(lambda m, args, output: norms.append(output.norm().item()))
    with trace(net) as t:
        outputs = [net(torch.randn(3, 4)) for _ in range(3)]
        nn.functional.triplet_margin_loss(*outputs).backward()
    assert len(norms) == 3
    return t


@healthy()
def the_time_of_each_layer(trace: Tracing) -> ht.Trace:
    """A pre-hook and a hook for each layer, for which the hooks share a dictionary."""
    net = small()
    started: dict[nn.Module, float] = {}
    spent: dict[nn.Module, float] = {}

    def start(module: nn.Module, args: Any) -> None:
        started[module] = time.perf_counter()

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        spent[module] = time.perf_counter() - started[module]

    for layer in net:
        layer.register_forward_pre_hook(start)
        layer.register_forward_hook(stop)
    return train(trace, net, torch.randn(3, 4))


@healthy()
def gradients_of_activations_by_hooks_of_hooks(trace: Tracing) -> ht.Trace:
    """Each forward hook asks for the gradient of what the layer returned, and keeps a copy."""
    net = small(inplace=True)
    kept: dict[str, torch.Tensor] = {}

    def save(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: torch.Tensor) -> None:
            output.register_hook(lambda grad: kept.__setitem__(name, grad.detach().clone()))

        return hook

    for name, layer in net.named_children():
        layer.register_forward_hook(save(name))
    t = train(trace, net, torch.randn(3, 4))
    assert len(kept) == 3
    return t


@healthy()
def a_model_made_and_hooked_inside(trace: Tracing) -> ht.Trace:
    """The whole script is in the block; the model and its hooks are gone after it."""
    norms: list[float] = []

    def script() -> None:
        net = small()
        for parameter in net.parameters():
            parameter.register_hook(lambda grad: norms.append(grad.norm().item()))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            total(net(torch.randn(3, 4))).backward()
            optimizer.step()

    with trace(None) as t:
        script()
    return t
