"""Backward runs in all their forms."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from zoo.program import forward_backward, note, program


@program
def autograd_grad_and_backward_with_inputs() -> Any:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    log: list[Any] = []
    net[0].weight.register_hook(note(log, "tensor"))
    net[0].weight.register_post_accumulate_grad_hook(note(log, "post"))
    net[0].register_full_backward_hook(note(log, "full"))
    x = torch.randn(2, 2, requires_grad=True)

    def step() -> Any:
        first = torch.autograd.grad(net(x).sum(), [x, net[0].weight])
        second = torch.autograd.grad(net(x).sum(), [x, net[0].bias], allow_unused=True)
        net(x).sum().backward(inputs=[net[2].weight, x])
        middle = net[1](net[0](x))
        net[2](middle).sum().backward(inputs=[middle, net[0].weight])
        vectors = torch.autograd.grad(
            net(x), net[2].bias, grad_outputs=torch.eye(2)[:, :, None], is_grads_batched=True
        )
        return first, second, vectors, x, log

    return net, step


@program
def double_backward() -> Any:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    log: list[Any] = []
    net[0].weight.register_hook(note(log, "tensor"))
    net[1].register_full_backward_hook(note(log, "full"))
    x = torch.randn(2, 2, requires_grad=True)

    def step() -> Any:
        (gradient,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        (gradient.square().sum()).backward()
        net(x).square().sum().backward(create_graph=True)
        gradients = [one.grad for one in net.parameters()]
        result = [gradient, x.grad, *gradients], log
        for one in (x, *net.parameters()):
            one.grad = one.grad.detach()
        return result

    return net, step


@program
def gradients_that_accumulate() -> Any:
    net = nn.Linear(2, 2)

    def step() -> Any:
        y = net(torch.ones(1, 2)).square().sum()
        y.backward(retain_graph=True)
        kept = net.weight.grad
        y.backward()
        same = kept is net.weight.grad
        net.zero_grad(set_to_none=False)
        net(torch.ones(1, 2)).sum().backward()
        return same, kept

    return net, step


@program
def backward_inside_a_hook() -> Any:
    net = nn.Linear(2, 2)
    other = torch.ones(2, requires_grad=True)

    def again(grad: torch.Tensor) -> None:
        with torch.enable_grad():
            (other * 2).sum().backward()

    net.weight.register_hook(again)
    net.weight.register_post_accumulate_grad_hook(lambda p: again(p))

    def step() -> Any:
        net(torch.ones(1, 2)).sum().backward()
        return other

    return net, step


@program
def custom_function() -> Any:
    log: list[str] = []

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, unused: torch.Tensor, n: int) -> Any:
            ctx.save_for_backward(x)
            ctx.mark_non_differentiable(unused)
            ctx.set_materialize_grads(False)
            return x * n, unused

        @staticmethod
        def backward(ctx: Any, grad: Any, other: Any) -> Any:
            log.append(f"{other} {ctx.saved_tensors[0]._version}")
            return grad * 2, None, None

    class InPlace(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.mark_dirty(x)
            return x.mul_(2)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * 2

    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y, _ = Double.apply(x, torch.ones(2), 2)
            return InPlace.apply(y)

    net = Net()
    step = forward_backward(net, torch.randn(2, requires_grad=True))
    return net, lambda: (step(), log)


def checkpointed(reentrant: bool, *, around: bool) -> Any:
    from torch.utils.checkpoint import checkpoint

    body = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.ReLU(inplace=True), nn.Linear(3, 3))
    log: list[Any] = []
    body[0].register_forward_hook(note(log, "forward"))
    body[3].register_forward_hook(note(log, "always"), always_call=True)
    body[0].weight.register_hook(note(log, "tensor"))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.body, x, use_reentrant=reentrant) + x

    net = Net()
    x = torch.randn(2, 3, requires_grad=True)

    def step() -> Any:
        y = checkpoint(net.body, x, use_reentrant=reentrant) if around else net(x)
        y.sum().backward()
        return y, x, log

    return net, step


@program
def checkpoint_not_reentrant() -> Any:
    return checkpointed(False, around=False)


@program
def checkpoint_reentrant() -> Any:
    return checkpointed(True, around=False)


@program
def checkpoint_outside_of_all_modules() -> Any:
    return checkpointed(False, around=True)


@program
def saved_tensor_hooks() -> Any:
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    log: list[Any] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        log.append(("pack", tensor.shape, type(tensor).__name__))
        return tensor.clone()

    def unpack(tensor: torch.Tensor) -> torch.Tensor:
        log.append(("unpack", tensor.shape))
        return tensor

    def step() -> Any:
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            y = net(torch.ones(2, 2, requires_grad=True))
        y.sum().backward()
        return y, [str(one) for one in log]

    return net, step


@program
def forward_mode() -> Any:
    import torch.autograd.forward_ad as forward_ad

    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())

    def step() -> Any:
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(torch.ones(1, 2), torch.ones(1, 2))
            primal, tangent = forward_ad.unpack_dual(net(dual))
            return primal, tangent

    return net, step


@program
def anomaly_detection() -> Any:
    net = nn.Linear(2, 2)

    def step() -> Any:
        with torch.autograd.set_detect_anomaly(True, check_nan=True):
            net(torch.ones(1, 2)).sum().backward()

    return net, step


@program
def queued_callbacks() -> Any:
    net = nn.Linear(2, 2)
    log: list[str] = []

    def queue(grad: torch.Tensor) -> None:
        torch.autograd.Variable._execution_engine.queue_callback(lambda: log.append("callback"))

    net.weight.register_hook(queue)

    def step() -> Any:
        net(torch.ones(1, 2)).sum().backward()
        return log

    return net, step


@program
def backward_inside_forward() -> Any:
    class Inner(nn.Module):
        """Takes a step downhill on its input, as meta-learning and energy models do."""

        def __init__(self) -> None:
            super().__init__()
            self.energy = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(2):
                (gradient,) = torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)
                x = x - 0.1 * gradient
            with torch.enable_grad():
                self.energy(x.detach()).sum().backward()
            return x

    net = Inner()
    return net, forward_backward(net, torch.randn(3, 2, requires_grad=True))


@program
def selective_checkpoint() -> Any:
    import functools

    from torch.utils.checkpoint import (
        CheckpointPolicy,
        checkpoint,
        create_selective_checkpoint_contexts,
    )

    body = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    body[1].register_forward_hook(lambda m, args, output: output * 2)

    def policy(context: Any, op: Any, *args: Any, **kwargs: Any) -> Any:
        save = op == torch.ops.aten.addmm.default
        return CheckpointPolicy.MUST_SAVE if save else CheckpointPolicy.PREFER_RECOMPUTE

    x = torch.randn(2, 3, requires_grad=True)

    def step() -> Any:
        contexts = functools.partial(create_selective_checkpoint_contexts, policy)
        y = checkpoint(body, x, use_reentrant=False, context_fn=contexts)
        y.sum().backward()
        return y, x

    return body, step


@program
def a_leaf_that_changes_its_mind() -> Any:
    net = nn.Linear(2, 2)
    x = torch.ones(1, 2, requires_grad=True)

    def step() -> Any:
        net(x).sum().backward()
        x.requires_grad_(False)
        net.weight.requires_grad_(False)
        net(x).sum().backward()
        x.mul_(net.bias)  # the former leaf is now the output of a node
        net(x).sum().backward()
        net.weight = nn.Parameter(torch.ones(2, 2))
        net(torch.ones(1, 2)).sum().backward()
        del net.bias
        net.register_parameter("bias", None)
        net(torch.ones(1, 2)).sum().backward()
        return x, net.weight

    return net, step


@program
def hooks_that_trace_compute_and_call_modules() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    probe = nn.Linear(2, 1)
    log: list[Any] = []

    def calls_a_module(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        log.append(probe(output).detach())

    def calls_in_backward(grad: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            value = probe(grad.detach().requires_grad_())
            log.append(torch.autograd.grad(value.sum(), probe.weight)[0])
        return grad

    net[0].register_forward_hook(calls_a_module)
    net[0].weight.register_hook(calls_in_backward)
    step = forward_backward(net, torch.randn(2, 2))
    return {"net": net, "probe": probe}, lambda: (step(), log)


@program
def backward_nested_so_deep_that_another_thread_takes_over() -> Any:
    """The engine hands reentrant backward runs deeper than 60 to a thread of its pool."""
    import threading

    threads: set[int] = set()
    log: list[Any] = []

    class Deep(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, depth: int) -> torch.Tensor:
            ctx.depth = depth
            return x * 1

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> Any:
            threads.add(threading.get_ident())
            if ctx.depth:
                with torch.enable_grad():
                    x = torch.ones(1, requires_grad=True)
                    x.register_hook(lambda g: log.append(g.item()))
                    Deep.apply(x, ctx.depth - 1).sum().backward()
            return grad, None

    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Deep.apply(x, 70)

    net = Net()
    step = forward_backward(net, torch.ones(1, requires_grad=True))
    return net, lambda: (step(), log, len(threads))
