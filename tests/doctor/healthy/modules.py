"""Modules of unusual build, and what PyTorch's own utilities make of modules."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils import checkpoint as checkpoints

import hooktrace as ht

from .program import Tracing, healthy, small, total, train


@healthy()
def in_place_activations(trace: Tracing) -> ht.Trace:
    """ReLU and dropout in place, and an in-place residual."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)
            self.relu, self.drop = nn.ReLU(inplace=True), nn.Dropout(0.1, inplace=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.drop(self.norm(self.first(x)))
            y += x
            return self.relu(y)

    return train(trace, nn.Sequential(Block(), Block(), nn.Linear(4, 1)), torch.randn(3, 4))


@healthy()
def several_inputs_and_outputs(trace: Tracing) -> ht.Trace:
    """Positional and keyword arguments in, a tuple out."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.gate = nn.Bilinear(3, 4, 5), nn.Linear(4, 5)

        def forward(self, x: torch.Tensor, *, other: torch.Tensor) -> Any:
            gate = self.gate(other).sigmoid()
            return self.mix(x, other) * gate, gate

    return train(trace, Net(), torch.randn(2, 3), other=torch.randn(2, 4))


@healthy()
def outputs_in_a_dict(trace: Tracing) -> ht.Trace:
    """A dict of tensors, all of them used."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleDict({"a": nn.Linear(4, 1), "b": nn.Linear(4, 2)})

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {name: head(x) for name, head in self.heads.items()}

    return train(trace, Net(), torch.randn(3, 4))


@healthy()
def a_list_of_modules_called_by_hand(trace: Tracing) -> ht.Trace:
    """A ModuleList and a ParameterList: neither is called itself."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
            self.scales = nn.ParameterList(torch.ones(4) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer, scale in zip(self.layers, self.scales, strict=True):
                x = x + scale * layer(x).tanh()
            return x

    return train(trace, Net(), torch.randn(3, 4))


@healthy()
def a_mixture_of_experts(trace: Tracing) -> ht.Trace:
    """Each row goes to one of two experts; both get rows."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(4, 2)
            self.experts = nn.ModuleList(nn.Linear(4, 3) for _ in range(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weights = self.gate(x).softmax(-1)
            output = x.new_zeros(len(x), 3)
            for number, expert in enumerate(self.experts):
                rows = torch.arange(number, len(x), 2)
                output = output.index_add(0, rows, expert(x[rows]) * weights[rows, number, None])
            return output

    return train(trace, Net(), torch.randn(6, 4))


@healthy()
def a_mixture_of_experts_that_takes_turns(trace: Tracing) -> ht.Trace:
    """In each step only one expert works; over the trace all do."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(4, 3) for _ in range(2))
            self.head = nn.Linear(3, 1)

        def forward(self, x: torch.Tensor, expert: int) -> torch.Tensor:
            return self.head(self.experts[expert](x))

    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with trace(net) as t:
        for number in range(4):
            optimizer.zero_grad()
            total(net(torch.randn(3, 4), number % 2)).backward()
            optimizer.step()
    return t


@healthy()
def scores_masked_with_infinities(trace: Tracing) -> ht.Trace:
    """A module returns scores of minus infinity, of which a softmax makes zeros."""

    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = self.query(x) @ self.key(x).mT
            future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            return scores.masked_fill(future, -torch.inf)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores, self.value = Scores(), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scores(x).softmax(-1) @ self.value(x)

    return train(trace, Net(), torch.randn(2, 3, 4))


@healthy()
def residual_branches_that_start_at_zero(trace: Tracing) -> ht.Trace:
    """The norm of each branch begins at zero, so at first its inside has no gradient."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
            nn.init.zeros_(self.norm.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.norm(self.first(x).relu())

    return train(trace, nn.Sequential(Block(), Block(), nn.Linear(4, 1)), torch.randn(6, 4))


@healthy()
def monte_carlo_dropout(trace: Tracing) -> ht.Trace:
    """Evaluation in which dropout is switched on again, for the spread of the answers."""
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1)).eval()
    net[1].train()
    with trace(net) as t, torch.no_grad():
        x = torch.randn(3, 4)
        spread = torch.stack([net(x) for _ in range(4)]).std(0)
    assert spread.shape == (3, 1)
    return t


@healthy()
def a_small_unet(trace: Tracing) -> ht.Trace:
    """Down, up, and a skip connection."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Conv2d(1, 4, 3, padding=1)
            self.middle = nn.Conv2d(4, 4, 3, padding=1)
            self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
            self.last = nn.Conv2d(8, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            skip = self.down(x).relu()
            deep = self.middle(nn.functional.max_pool2d(skip, 2)).relu()
            return self.last(torch.cat([skip, self.up(deep)], 1))

    return train(trace, Net(), torch.rand(2, 1, 8, 8))


@healthy()
def a_graph_convolution(trace: Tracing) -> ht.Trace:
    """Messages along the edges of a graph."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own, self.others = nn.Linear(3, 4), nn.Linear(3, 4)

        def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
            messages = self.others(x)[edges[0]]
            return self.own(x).index_add(0, edges[1], messages).relu().mean(0)

    return train(trace, Net(), torch.randn(4, 3), torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]))


@healthy()
def parametrized_weights(trace: Tracing) -> ht.Trace:
    """The new weight_norm, spectral_norm and orthogonal."""
    net = nn.Sequential(
        parametrizations.weight_norm(nn.Linear(4, 4)),
        parametrizations.spectral_norm(nn.Linear(4, 4)),
        parametrizations.orthogonal(nn.Linear(4, 4)),
    )
    return train(trace, net, torch.randn(3, 4))


@healthy()
def a_parametrization_of_ones_own_cached(trace: Tracing) -> ht.Trace:
    """A symmetric matrix, computed once for both uses."""

    class Symmetric(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.triu() + x.triu(1).mT

    net = nn.Linear(4, 4)
    parametrize.register_parametrization(net, "weight", Symmetric())
    with trace(net) as t, parametrize.cached():
        total(net(net(torch.randn(3, 4)))).backward()
    return t


@healthy()
def old_weight_norm_and_spectral_norm(trace: Tracing) -> ht.Trace:
    """The ones that work by forward pre-hooks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = nn.utils.weight_norm(nn.Linear(4, 4))
    net = nn.Sequential(old, nn.ReLU(), nn.utils.spectral_norm(nn.Linear(4, 4)))
    return train(trace, net, torch.randn(3, 4))


@healthy()
def pruned_weights(trace: Tracing) -> ht.Trace:
    """Pruned twice, trained, and made permanent."""
    net = small()
    prune.l1_unstructured(net[0], "weight", 0.5)
    prune.random_unstructured(net[0], "weight", 0.25)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with trace(net) as t:
        total(net(torch.randn(3, 4))).backward()
        optimizer.step()
        prune.remove(net[0], "weight")
        net(torch.randn(3, 4))
    return t


@healthy()
def lazy_modules(trace: Tracing) -> ht.Trace:
    """Shapes are known after the first call, which runs hooks that remove themselves."""
    net = nn.Sequential(nn.LazyConv2d(3, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
    with trace(net) as t:
        net(torch.rand(2, 1, 5, 5))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        total(net(torch.rand(2, 1, 5, 5))).backward()
        optimizer.step()
    return t


@healthy()
def checkpointed_without_reentry(trace: Tracing) -> ht.Trace:
    """The middle is recomputed in backward."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.middle, self.last = nn.Linear(4, 4), small(4, 4), nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = checkpoints.checkpoint(self.middle, self.first(x), use_reentrant=False)
            return self.last(y)

    return train(trace, Net(), torch.randn(3, 4))


@healthy()
def checkpointed_with_reentry(trace: Tracing) -> ht.Trace:
    """The older way; an inner backward runs in the outer one."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.middle, self.last = nn.Linear(4, 4), small(4, 4), nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(checkpoints.checkpoint(self.middle, self.first(x), use_reentrant=True))

    return train(trace, Net(), torch.randn(3, 4))


@healthy()
def checkpointed_in_segments(trace: Tracing) -> ht.Trace:
    """A chain of blocks in two segments, with dropout."""
    net = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1)) for _ in range(4)))
    with trace(net) as t:
        y = checkpoints.checkpoint_sequential(net, 2, torch.randn(3, 4), use_reentrant=False)
        total(y).backward()
    return t


class Reverse(torch.autograd.Function):
    """The identity, whose gradient is turned around."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return -grad


@healthy()
def gradient_reversal(trace: Tracing) -> ht.Trace:
    """A function of one's own between features and the domain's head."""
    net = nn.ModuleDict({"body": small(4, 4), "label": nn.Linear(4, 2), "domain": nn.Linear(4, 2)})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with trace(net) as t:
        features = net["body"](torch.randn(3, 4))
        loss = total(net["label"](features)) + total(net["domain"](Reverse.apply(features)))
        loss.backward()
        optimizer.step()
    return t


@healthy()
def a_function_that_saves_tensors(trace: Tracing) -> ht.Trace:
    """An activation with a backward of its own."""

    class Swish(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x * x.sigmoid()

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            (x,) = ctx.saved_tensors
            s = x.sigmoid()
            return grad * (s + x * s * (1 - s))

    class Activation(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Swish.apply(x)

    return train(trace, nn.Sequential(nn.Linear(4, 4), Activation()), torch.randn(3, 4))


@healthy()
def buffers_that_are_written(trace: Tracing) -> ht.Trace:
    """A running mean, kept as a buffer under no_grad."""

    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                with torch.no_grad():
                    self.mean.lerp_(x.mean(0), 0.1)
            return x - self.mean.clone()

    return train(trace, nn.Sequential(nn.Linear(4, 4), Centred()), torch.randn(3, 4))
