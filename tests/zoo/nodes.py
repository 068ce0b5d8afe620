"""Hooks of autograd's nodes, of saved tensors, and of whole backward runs."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import (
    GradientEdge,
    get_gradient_edge,
    register_multi_grad_hook,
    saved_tensors_hooks,
)

from zoo.program import described, forward_backward, note, program


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad * 2 + ctx.saved_tensors[0] * 0


@program
def multi_grad_hooks() -> Any:
    net = small()
    log: list[Any] = []
    w, b, last = net[0].weight, net[0].bias, net[2].weight

    def everything(gradients: Any) -> None:
        log.append([described(one) for one in gradients])

    def step() -> Any:
        x = torch.ones(2, 2, requires_grad=True)
        y = net[0](x)
        handles = [
            register_multi_grad_hook((w, b, last), everything),
            register_multi_grad_hook([y, w, x], everything, mode="all"),
            register_multi_grad_hook((w, b), note(log, "any"), mode="any"),
            register_multi_grad_hook((w, y, w), everything),
        ]
        net[2](net[1](y)).sum().backward()
        net(x).sum().backward(inputs=[w])
        try:  # not supported for leaves
            torch.autograd.grad(net(x).sum(), [b])
        except RuntimeError as error:
            log.append(str(error))
        for handle in handles[:2]:
            handle.remove()
        net(x).sum().backward()
        for handle in handles:  # their closures keep the graph alive for ever
            handle.remove()
        return log, x

    return net, step


@program
def node_hooks_on_nodes_of_every_kind() -> Any:
    net = small()
    log: list[Any] = []

    def step() -> Any:
        x = torch.ones(2, 2, requires_grad=True)
        y = Twice.apply(net(x))
        leaf = get_gradient_edge(net[0].weight).node  # kept: else its hooks were lost
        python, ordinary = y.grad_fn, y.grad_fn.next_functions[0][0]
        handles = [
            register(note(log, f"{node.name()} {kind}"))
            for node in (leaf, python, ordinary)
            for kind, register in (("pre", node.register_prehook), ("post", node.register_hook))
        ]
        ordinary.register_prehook(lambda grads: tuple(g * 2 for g in grads))
        python.register_hook(lambda gi, go: tuple(None if g is None else g * 3 for g in gi))
        leaf.register_prehook(lambda grads: (grads[0].clamp(-1, 1),))
        y.sum().backward(retain_graph=True)
        for handle in handles[::2]:
            handle.remove()
        y.sum().backward()
        return x, log, handles, leaf, python, ordinary

    return net, step


@program
def a_node_hook_that_removes_itself_and_adds_another() -> Any:
    net = small()
    log: list[Any] = []

    def step() -> Any:
        y = net(torch.ones(1, 2))
        node = y.grad_fn

        def once(*arguments: Any) -> None:
            log.append(len(arguments))
            first.remove()
            node.register_hook(lambda *a: log.append("added"))
            y.grad_fn.next_functions[1][0].register_prehook(lambda *a: log.append("earlier"))

        first = node.register_hook(once)
        node.register_prehook(once)
        y.sum().backward(retain_graph=True)
        y.sum().backward()
        return log, first, node

    return net, step


@program
def node_hooks_lost_with_their_accumulate_grad() -> Any:
    net = small()
    log: list[Any] = []

    def step() -> Any:
        get_gradient_edge(net[0].bias).node.register_hook(note(log, "lost"))
        net(torch.ones(1, 2)).sum().backward()
        return log

    return net, step


def raising(*arguments: Any) -> None:
    raise ProcessLookupError("from the hook")


@program
def a_node_prehook_that_raises() -> Any:
    net = small()

    def step() -> None:
        y = net(torch.ones(1, 2))
        y.grad_fn.register_prehook(raising)
        y.sum().backward()

    return net, step


@program
def a_node_hook_that_returns_nonsense() -> Any:
    net = small()

    def nonsense(grad_inputs: Any, grad_outputs: Any) -> Any:
        return 7

    def step() -> None:
        y = net(torch.ones(1, 2))
        y.grad_fn.register_hook(nonsense)
        y.sum().backward()

    return net, step


@program
def a_multi_grad_hook_that_raises() -> Any:
    net = small()
    handle = register_multi_grad_hook(tuple(net.parameters()), raising)

    def step() -> None:
        with handle:  # its closure keeps the graph alive for ever
            net(torch.ones(1, 2)).sum().backward()

    return net, step


@program
def hooks_of_tensors_that_are_gone() -> Any:
    """The dictionary lives on in the node when the tensor that it was made for has died."""
    net = small()
    log: list[Any] = []
    x = torch.ones(1, 2, requires_grad=True)

    def through() -> torch.Tensor:
        y = x * 2
        y.register_hook(note(log, "gone before"))
        return y + 1

    before = through()

    def step() -> Any:
        z = net(before) + net(through())
        z.register_hook(note(log, "z"))
        z.retain_grad()
        z.sum().backward()
        return z, x, log

    return net, step


@program
def hooks_on_values_that_are_overwritten_later() -> Any:
    net = small()
    log: list[Any] = []

    def step() -> Any:
        x = torch.ones(3, requires_grad=True)
        y = x * 2
        y.register_hook(note(log, "old value"))
        y.retain_grad()
        y.mul_(3)
        y.register_hook(note(log, "new value"))
        view = y[:2]
        view.register_hook(note(log, "view"))
        view.retain_grad()
        y.add_(view.sum())
        view.register_hook(note(log, "view later"))
        (y.sum() + view.sum()).backward()
        return x, y, view, log

    return net, step


@program
def backward_from_edges_and_several_roots() -> Any:
    net = small()
    log: list[Any] = []

    def step() -> Any:
        x = torch.ones(2, 2, requires_grad=True)
        middle = net[0](x)
        middle.register_hook(note(log, "middle"))
        edge = get_gradient_edge(middle)
        y, z = net[2](net[1](middle)), (middle * 2).sum()
        torch.autograd.backward((y, z), (torch.ones(2, 1), None), retain_graph=True)
        torch.autograd.backward(y, torch.full((2, 1), 2.0), inputs=(edge,), retain_graph=True)
        (gradient,) = torch.autograd.grad((y.sum(), z), [edge], retain_graph=True)
        torch.autograd.backward(GradientEdge(y.grad_fn, 0), torch.ones(2, 1))
        unused = torch.autograd.grad(
            (x * 2).sum(), [net[0].weight, x], allow_unused=True, materialize_grads=True
        )
        return x, gradient, unused, log

    return net, step


@program
def functional_derivatives_and_gradcheck() -> Any:
    net = small().double()
    from torch.autograd.functional import hessian, jacobian, vhp

    def step() -> Any:
        x = torch.linspace(0, 1, 2, dtype=torch.float64)

        def scalar(x: torch.Tensor) -> torch.Tensor:
            return net(x).sum()

        checked = torch.autograd.gradcheck(net, x.clone().requires_grad_())
        twice = torch.autograd.gradgradcheck(net, x.clone().requires_grad_())
        return (
            jacobian(net, x),
            jacobian(net, x, vectorize=True),
            hessian(scalar, x),
            vhp(scalar, x, x),
            checked,
            twice,
        )

    return net, step


@program
def callbacks_queued_for_the_end_of_backward() -> Any:
    net = small()
    log: list[Any] = []
    queue = getattr(
        torch.autograd.graph,
        "queue_callback",
        torch.autograd.Variable._execution_engine.queue_callback,
    )

    def during(grad: torch.Tensor) -> None:
        queue(lambda: log.append(net[0].weight.grad.clone()))
        queue(lambda: queue(lambda: log.append("from a callback")))

    net[2].weight.register_hook(during)

    def step() -> Any:
        net(torch.ones(1, 2)).sum().backward()
        log.append("after")
        queue(raising)  # outside of backward: refused

    def guarded() -> Any:
        try:
            step()
        except RuntimeError as error:
            log.append(error)
        with net[0].weight.register_hook(lambda g: queue(raising)):
            net(torch.ones(1, 2)).sum().backward()

    return net, lambda: (guarded(), log)


@program
def micro_batches_and_several_forwards_before_one_backward() -> Any:
    net = small()
    log: list[Any] = []
    net[0].weight.register_hook(note(log, "tensor"))
    net[0].weight.register_post_accumulate_grad_hook(note(log, "post"))

    def step() -> Any:
        total = sum(net(torch.full((1, 2), float(n))).sum() for n in range(3))
        total.backward()
        for n in range(3):
            (net(torch.full((1, 2), float(n))).sum() / 3).backward()
        outputs = [net(torch.ones(1, 2)) for _ in range(2)]
        for output in reversed(outputs):
            output.sum().backward()
        net[0].weight.grad = torch.zeros(3, 2)
        net[0].bias.grad.zero_()
        net(torch.ones(1, 2)).sum().backward()
        return log

    return net, step


# ------------------------------------------------------------------ what is saved


@program
def saved_tensor_hooks_nested_raw_and_forbidden() -> Any:
    net = small()
    log: list[Any] = []

    def pair(name: str) -> Any:
        def pack(tensor: torch.Tensor) -> Any:
            log.append([f"pack {name}", described(tensor)])
            return tensor.detach().clone(), name

        def unpack(packed: Any) -> torch.Tensor:
            log.append([f"unpack {name}", described(packed)])
            return packed[0]

        return pack, unpack

    def step() -> Any:
        x = torch.ones(2, 2, requires_grad=True)
        with saved_tensors_hooks(*pair("outer")):
            y = net[0](x)
            with saved_tensors_hooks(*pair("inner")):
                y = net[1](y)
            y = net[2](y)
        z = y.square()
        z.grad_fn._raw_saved_self.register_hooks(*pair("raw"))
        z.sum().backward(retain_graph=True)
        saved = z.grad_fn._saved_self
        with torch.autograd.graph.disable_saved_tensors_hooks("not here"):
            try:
                with saved_tensors_hooks(*pair("forbidden")):
                    net(x)
            except RuntimeError as error:
                log.append(error)
        return x, saved, log

    return net, step


@program
def saved_on_cpu_and_mutation_allowed() -> Any:
    net = small()

    def step() -> Any:
        x = torch.ones(2, 2, requires_grad=True)
        with torch.autograd.graph.save_on_cpu(pin_memory=False):
            net(x).sum().backward()
        with torch.autograd.graph.allow_mutation_on_saved_tensors():
            y = net(x)
            z = y.sin()
            y.zero_()
            z.sum().backward()
        return x, z

    return net, step


@program
def a_pack_hook_that_raises_and_an_unpack_hook_that_does() -> Any:
    net = small()

    def step() -> None:
        try:
            with saved_tensors_hooks(raising, raising):
                net(torch.ones(1, 2))
        except ProcessLookupError:
            with saved_tensors_hooks(lambda tensor: tensor, raising):
                y = net(torch.ones(1, 2))
            y.sum().backward()

    return net, step


@program
def node_creation_hooks() -> Any:
    net = small()
    log: list[str] = []
    hook = getattr(torch.autograd.graph, "node_creation_hook", None)
    if hook is None:  # before PyTorch 2.15
        return net, forward_backward(net, torch.ones(1, 2))

    def step() -> Any:
        with hook(lambda node: log.append(node.name())):
            y = net(torch.ones(1, 2, requires_grad=True))
            with hook(lambda node: log.append(f"inner {node.name()}")):
                z = net(y.expand(1, 2))
            z.sum().backward(create_graph=False)
            (gradient,) = torch.autograd.grad(net(y.expand(1, 2)).sum(), y, create_graph=True)
        return y, gradient, log

    return net, step


@program
def a_log_of_every_node_that_runs() -> Any:
    """With this logger on, PyTorch itself puts a prehook on every node."""
    net = small()
    records: list[str] = []

    class Collects(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage().partition(" ")[0])

    def step() -> Any:
        log = logging.getLogger("torch.autograd.graph")
        handler, level, propagates = Collects(), log.level, log.propagate
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
        log.propagate = False
        try:
            y = net(torch.ones(1, 2, requires_grad=True))
            y.sum().backward()
        finally:
            log.removeHandler(handler)
            log.setLevel(level)
            log.propagate = propagates
        return y, records

    return net, step


@program
def checkpoints_nested_and_without_early_stop() -> Any:
    from torch.utils.checkpoint import (
        checkpoint,
        checkpoint_sequential,
        set_checkpoint_early_stop,
    )

    net = small()
    log: list[Any] = []
    net[0].register_forward_pre_hook(note(log, "pre"))
    net[2].register_forward_hook(note(log, "forward"))
    net[1].register_full_backward_hook(note(log, "full"))

    def inner(x: torch.Tensor) -> torch.Tensor:
        return checkpoint(net, x, use_reentrant=False)

    def step() -> Any:
        x = torch.ones(2, 2, requires_grad=True)
        checkpoint(inner, x, use_reentrant=False).sum().backward()
        with set_checkpoint_early_stop(False):
            checkpoint(net, x, use_reentrant=False).sum().backward()
        checkpoint_sequential(net, 2, x, use_reentrant=False).sum().backward()
        checkpoint(net, x, use_reentrant=False, determinism_check="none", debug=True).sum()
        # Older versions leave this off, and pytest, which then listens itself, cannot format it.
        logging.getLogger("LoggingTensor").propagate = True
        return x, log

    return net, step
