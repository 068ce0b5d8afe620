"""Tensors that are not plain."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from zoo.program import program


@program
def wrapper_subclass() -> Any:
    from torch.utils._pytree import tree_map

    calls: list[str] = []

    class Wrapper(torch.Tensor):
        inner: torch.Tensor

        @staticmethod
        def __new__(cls: Any, inner: torch.Tensor) -> Any:
            made = torch.Tensor._make_wrapper_subclass(
                cls, inner.shape, dtype=inner.dtype, requires_grad=inner.requires_grad
            )
            made.inner = inner
            return made

        @classmethod
        def __torch_dispatch__(
            cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            calls.append(str(func))
            unwrap = lambda one: one.inner if isinstance(one, cls) else one  # noqa: E731
            wrap = lambda one: cls(one) if isinstance(one, torch.Tensor) else one  # noqa: E731
            return tree_map(wrap, func(*tree_map(unwrap, args), **tree_map(unwrap, kwargs or {})))

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    net[0].register_forward_hook(lambda m, a, o: o * 2)

    def step() -> Any:
        x = Wrapper(torch.ones(1, 2)).requires_grad_()
        y = net(x)
        y.register_hook(lambda g: g * 2)
        y.sum().backward()
        result = list(calls), type(y).__name__, type(x.grad).__name__, x.grad.inner
        for parameter in net.parameters():
            parameter.grad = None
        return result

    return net, step


@program
def nested_jagged_tensors() -> Any:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())

    def step() -> Any:
        x = torch.nested.nested_tensor(
            [torch.ones(2, 2), torch.ones(3, 2)], layout=torch.jagged, requires_grad=True
        )
        y = net(x)
        y.values().sum().backward()
        return y.values(), x.grad.values(), type(y).__name__

    return net, step


@program
def sparse_inputs_and_outputs() -> Any:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> Any:
            y = torch.sparse.mm(x, self.linear.weight.t())
            return y, (y * 1).to_sparse(), x

    net = Sparse()
    net.register_forward_hook(lambda m, args, output: None)

    def step() -> Any:
        x = torch.eye(3).to_sparse()
        y, sparse, same = net(x)
        torch.sparse.sum(sparse).backward()
        return y, sparse.to_dense(), same is x

    return net, step


@program
def tensors_that_are_swapped() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    one, other = torch.ones(2), torch.zeros(3)

    def step() -> Any:
        with torch.no_grad():  # a graph that is alive holds its parameters
            net(torch.ones(1, 2))
        net[1](one)
        net[1](other)
        torch.utils.swap_tensors(one, other)
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            net.to(torch.float64)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(False)
        return one, other, net(torch.ones(1, 2, dtype=torch.float64))

    return net, step


@program
def deep_copies_of_tensors_and_storage_tricks() -> Any:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))

    def step() -> Any:
        y = net(torch.ones(1, 2))
        y.detach().numpy()[:] = 3
        y.data.add_(1)
        z = y.detach().set_(torch.zeros(4))
        w = torch.ones(2)
        net[1](w)
        w.resize_(1)
        w.untyped_storage().resize_(0)
        empty = torch.empty(0, requires_grad=True)
        net[1](empty * 1).sum().backward()
        return y, z, tuple(w.shape), empty

    return net, step


@program
def conjugate_and_strided_views() -> Any:
    class View(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return x.conj(), x.real, x.t()[::2], x.expand(2, *x.shape), x.unsqueeze(0).neg()

    net = View()
    x = torch.randn(3, 2, dtype=torch.complex64, requires_grad=True)

    def step() -> Any:
        outputs = net(x * 1)
        sum(one.abs().sum() for one in outputs).backward()
        return outputs, x

    return net, step
