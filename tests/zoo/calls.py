"""Calls with odd arguments, outputs and modules."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from zoo.program import forward_backward, program


@program
def shared_module_called_twice() -> Any:
    linear = nn.Linear(3, 3)
    net = nn.Sequential(linear, nn.ReLU(inplace=True), linear)
    net.alias = linear
    return net, forward_backward(net, torch.randn(2, 3))


@program
def recursion() -> Any:
    class Recursive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor, depth: int = 3) -> torch.Tensor:
            return self(self.linear(x), depth - 1) if depth else x

    net = Recursive()
    return net, forward_backward(net, torch.randn(2, 3))


@program
def keyword_arguments_only() -> Any:
    class Scale(nn.Module):
        def forward(self, *, x: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
            return x * options["by"] + options["more"][0]

    net = Scale()
    by, more = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)

    def step() -> Any:
        net(x=torch.ones(2), options={"by": by, "more": [more, "text", None]}).sum().backward()
        return by, more

    return net, step


@program
def containers_as_outputs() -> Any:
    from collections import OrderedDict, namedtuple
    from dataclasses import dataclass

    pair = namedtuple("pair", "a b")

    @dataclass
    class Output:
        logits: torch.Tensor
        hidden: Any = None

    class Many(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> Any:
            y = self.linear(x)
            self.given = {
                "named": pair(y * 1, [y * 2, None, 3, "s", {1, 2}]),
                "data": Output(y * 3, (y * 4,)),
                "ordered": OrderedDict(k=y * 5),
                "none": None,
                "same": (y, y),
                3: object(),
            }
            return self.given

    net = Many()

    def step() -> Any:
        output = net(torch.ones(1, 2))
        (output["named"].a + output["data"].hidden[0] + output["same"][0]).sum().backward()
        return output, output is net.given, output["same"][0] is output["same"][1]

    return net, step


@program
def pass_through_and_none() -> Any:
    class Nothing(nn.Module):
        def forward(self, x: torch.Tensor) -> None:
            self.saw = x

    net = nn.ModuleDict({"identity": nn.Identity(), "nothing": Nothing()})
    x = torch.randn(2, requires_grad=True)

    def step() -> Any:
        y = net["identity"](x)
        nothing = net["nothing"](y)
        (y * y).sum().backward()
        same = net["nothing"].saw is x
        del net["nothing"].saw
        return y is x, nothing, same, x.grad

    return net, step


@program
def views_written_later() -> Any:
    class View(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[0]

    net = View()
    x = torch.randn(2, 2, requires_grad=True)

    def step() -> Any:
        base = x * 1
        view = net(base)
        view.mul_(2)
        base.add_(1)
        base.sum().backward()
        return x.grad, view, base

    return net, step


@program
def module_that_writes_into_its_view_input() -> Any:
    class Write(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mul_(3)

    net = Write()
    x = torch.randn(2, 2, requires_grad=True)

    def step() -> Any:
        base = x * 1
        net(base[0])
        base.sum().backward()
        return x.grad, base

    return net, step


@program
def parameter_as_output() -> Any:
    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self) -> torch.Tensor:
            return self.weight

    net = Token()

    def step() -> Any:
        output = net()
        (output * 2).sum().backward()
        return output is net.weight, output

    return net, step


@program
def auxiliary_loss_on_an_attribute() -> Any:
    class Aux(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x)
            self.aux = (y * 3).sum()
            return y

    net = Aux()

    def step() -> Any:
        y = net(torch.ones(1, 2))
        (y.sum() + net.aux).backward()
        aux = net.aux
        del net.aux
        return y, aux

    return net, step


@program
def modules_made_inside_the_block() -> Any:
    class Maker(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.LayerNorm(2)(nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True))(x))

    net = Maker()
    return net, forward_backward(net, torch.randn(3, 2))


@program
def lazy_modules() -> Any:
    net = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.ReLU(inplace=True))
    step = forward_backward(net, torch.randn(3, 5))
    return net, lambda: (step(), step(), [type(one).__name__ for one in net])


@program
def plain_tensors() -> Any:
    def step() -> Any:
        w = torch.tensor([1.0], requires_grad=True)
        x = torch.tensor([2.0], requires_grad=True)
        a = w + x
        b = w + 1
        y = a * b
        a.retain_grad()
        seen: list[torch.Tensor] = []
        a.register_hook(seen.append)
        y.backward()
        return w, x, a, b, y, seen, a.grad

    return None, step


@program
def two_models_and_a_module_that_is_no_part_of_them() -> Any:
    models = {"g": nn.Linear(2, 2), "d": nn.Linear(2, 1)}
    other = nn.ReLU(inplace=True)

    def step() -> Any:
        y = models["d"](other(models["g"](torch.ones(1, 2))))
        y.sum().backward()
        return y

    return models, step


@program
def integers_and_complex_numbers() -> Any:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(5, 4)

        def forward(self, x: torch.Tensor) -> Any:
            y = torch.fft.rfft(self.embed(x))
            return y, x, y.real.argmax(-1), torch.tensor(float("nan")), torch.empty(0)

    net = Mixed()

    def step() -> Any:
        output = net(torch.tensor([1, 2, 3]))
        output[0].abs().sum().backward()
        return output

    return net, step


@program
def sparse_gradients_and_outputs() -> Any:
    net = nn.EmbeddingBag(6, 3, mode="sum", sparse=True)

    def step() -> Any:
        net(torch.tensor([1, 2, 4]), torch.tensor([0, 2])).sum().backward()
        grad = net.weight.grad
        net.weight.grad = None
        return grad.is_sparse, grad.to_dense()

    return net, step
