"""torch.func, autocast, pruning, parametrizations, copies and optimizers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from zoo.program import forward_backward, module_hook, program, tensor_hook


@program
def func_grad() -> Any:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True), nn.Linear(3, 1))
    log: list[str] = []
    net[0].register_forward_hook(lambda m, a, o: log.append(type(o).__name__))
    x = torch.randn(4, 2)

    def step() -> Any:
        def loss(parameters: Any, row: torch.Tensor) -> torch.Tensor:
            return torch.func.functional_call(net, parameters, (row,)).sum()

        parameters = dict(net.named_parameters())
        gradients = torch.func.grad(loss)(parameters, x)
        each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
        mapped = torch.func.vmap(net)(x)
        jacobian = torch.func.jacrev(net)(x[0])
        forward = torch.func.jacfwd(net)(x[0])
        _, tangent = torch.func.jvp(net, (x,), (x,))
        with torch.no_grad():
            tangent = tangent.detach()
        return gradients, each, mapped, jacobian, forward, tangent, log

    return net, step


@program
def autocast() -> Any:
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    x = torch.randn(3, 2, requires_grad=True)

    def step() -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = net(x)
        y.float().sum().backward()
        return y, x

    return net, step


@program
def pruned() -> Any:
    from torch.nn.utils import prune

    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    prune.l1_unstructured(net[0], "weight", 0.5)
    step = forward_backward(net, torch.randn(2, 4))

    def pruning() -> Any:
        result = step()
        prune.random_unstructured(net[0], "weight", 0.25)
        again = step()
        prune.remove(net[0], "weight")
        return result, again, step(), prune.is_pruned(net)

    return net, pruning


@program
def weight_norm_and_spectral_norm() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = nn.utils.weight_norm(nn.Linear(3, 3))
    net = nn.Sequential(old, nn.utils.spectral_norm(nn.Linear(3, 3)))
    step = forward_backward(net, torch.randn(2, 3))

    def norms() -> Any:
        result = step()
        nn.utils.remove_weight_norm(net[0])
        nn.utils.remove_spectral_norm(net[1])
        return result, step()

    return net, norms


@program
def parametrizations() -> Any:
    parametrizations = nn.utils.parametrizations
    net = nn.Sequential(
        parametrizations.weight_norm(nn.Linear(3, 3)),
        parametrizations.spectral_norm(nn.Linear(3, 3)),
        parametrizations.orthogonal(nn.Linear(3, 3)),
    )
    step = forward_backward(net, torch.randn(2, 3))

    def change() -> Any:
        result = step()
        nn.utils.parametrize.remove_parametrizations(net[0], "weight")
        with nn.utils.parametrize.cached():
            return result, step()

    return net, change


@program
def copied_and_pickled_inside_the_block() -> Any:
    import copy
    import io
    import pickle

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 2))
    net[0].register_forward_hook(module_hook)
    net[2].register_full_backward_hook(module_hook)
    net[0].weight.register_hook(tensor_hook)

    def step() -> Any:
        net(torch.ones(1, 2, requires_grad=True)).sum().backward()
        twin = copy.deepcopy(net)
        loaded = pickle.loads(pickle.dumps(net))
        buffer = io.BytesIO()
        torch.save(net.state_dict(), buffer)
        buffer.seek(0)
        twin.load_state_dict(torch.load(buffer))
        outputs = []
        for one in (twin, loaded, copy.copy(net)):
            y = one(torch.ones(1, 2))
            y.sum().backward()
            outputs.append((y, [p.grad for p in one.parameters()]))
            outputs.append(
                [(key, value is module_hook) for key, value in one[0]._forward_hooks.items()]
            )
            outputs.append(
                [(key, value is module_hook) for key, value in one[2]._backward_hooks.items()]
            )
        return outputs, [str(one) for one in pickle.loads(pickle.dumps(net.state_dict()))]

    return net, step


@program
def optimizers_and_training_loop() -> Any:
    net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Linear(4, 1))
    optimizers = [
        torch.optim.Adam(net[:2].parameters(), lr=0.1),
        torch.optim.SGD(net[3].parameters(), lr=0.1, momentum=0.9),
    ]

    def step() -> Any:
        losses = []
        for _ in range(3):
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss = net(torch.randn(5, 2)).square().mean()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.1)
            for optimizer in optimizers:
                optimizer.step()
            losses.append(loss.item())
        return losses

    return net, step


@program
def optimizer_in_backward() -> Any:
    net = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1))
    for parameter in net.parameters():
        optimizer = torch.optim.SGD([parameter], lr=0.1)

        def stepping(parameter: Any, optimizer: Any = optimizer) -> None:
            optimizer.step()
            optimizer.zero_grad()

        parameter.register_post_accumulate_grad_hook(stepping)
    return net, forward_backward(net, torch.randn(3, 2))
