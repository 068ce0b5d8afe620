"""Activation and gradient belong to the same value, whatever in-place code does to it later."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import hooktrace as ht
from hooktrace.cam import METHODS

ONE_TRACE = [
    name
    for name in METHODS
    if METHODS[name].scope == "layer" and not METHODS[name].reruns and name != "cam"
]
"""All but CAM, which needs a layer right before the pooling."""


class Block(nn.Module):
    """A convolution whose output is overwritten in one of three ways, or in none."""

    def __init__(self, after: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.late = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)
        self.after = after

    def forward(self, images: Tensor) -> Tensor:
        stem = self.stem(images)
        middle = self.after(self.conv(stem), stem)
        return self.head(self.late(middle).tanh().mean((2, 3)))


def _added(out: Tensor, identity: Tensor) -> Tensor:
    out += identity
    return out


OVERWRITTEN = {
    "an in-place ReLU": (
        lambda out, _: functional.relu(out, inplace=True),
        lambda out, _: functional.relu(out),
    ),
    "a functional in-place operation": (
        lambda out, _: out.mul_(out.detach().abs()).sigmoid_(),
        lambda out, _: (out * out.detach().abs()).sigmoid(),
    ),
    "an in-place addition": (_added, lambda out, identity: out + identity),
}


def twins(how: str) -> tuple[Block, Block]:
    torch.manual_seed(4)
    inplace, outofplace = OVERWRITTEN[how]
    net = Block(inplace).double().eval()
    twin = copy.deepcopy(net)
    twin.after = outofplace
    return net, twin


@pytest.mark.filterwarnings("ignore::hooktrace.errors.BlankMapWarning")
@pytest.mark.parametrize("method", ONE_TRACE)
@pytest.mark.parametrize("how", OVERWRITTEN)
def test_a_map_before_an_overwriting_is_that_of_the_twin_without(how: str, method: str) -> None:
    images = torch.randn(2, 3, 8, 8, dtype=torch.double)
    found = []
    for net in twins(how):
        with ht.trace(net, keep=["conv"]) as t:
            net(images)
        found.append(t.cam("conv", target=1, method=method).raw)
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("how", OVERWRITTEN)
def test_explain_gives_the_same_map_as_the_twin_without(how: str) -> None:
    images = torch.randn(2, 3, 8, 8, dtype=torch.double)
    ours, theirs = (ht.explain(net, images, target=1, layer="conv").raw for net in twins(how))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_gradients_of_a_backward_inside_the_block_are_those_of_the_layer() -> None:
    net, _ = twins("an in-place ReLU")
    images = torch.randn(2, 3, 8, 8, dtype=torch.double)
    with ht.trace(net, keep=["conv", "stem"]) as t:
        logits = net(images)
        before = t.cam(["conv", "stem"], target=2)
        logits[:, 2].sum().backward()
    after = t.cam(["conv", "stem"], target="backward")
    for layer in ("conv", "stem"):
        assert torch.equal(before[layer].raw, after[layer].raw)


def test_layers_in_any_order_with_a_frozen_one_between_keep_their_own_gradients() -> None:
    net, twin = twins("an in-place addition")
    net.conv.requires_grad_(False)
    images = torch.randn(1, 3, 8, 8, dtype=torch.double)
    with ht.trace(net, keep=["*"]) as t:
        net(images)
    maps = t.cam(["late", "stem", "conv"], target=0)
    outputs = {}
    for name in ("stem", "conv", "late"):
        getattr(twin, name).register_forward_hook(
            lambda _m, _a, out, name=name: outputs.__setitem__(name, out)
        )
    score = twin(images)[:, 0].sum()
    for name, out in outputs.items():
        (gradient,) = torch.autograd.grad(score, out, retain_graph=True)
        wanted = (gradient.mean((2, 3), keepdim=True) * out).sum(1)
        torch.testing.assert_close(maps[name].raw, wanted.detach(), rtol=1e-12, atol=1e-14)


class Shared(nn.Module):
    """One convolution that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.conv(self.conv(images).relu_()).relu_().mean((2, 3)))


def test_a_module_that_is_called_twice_is_addressed_by_call() -> None:
    torch.manual_seed(5)
    net = Shared().double()
    images = torch.randn(1, 3, 6, 6, dtype=torch.double)
    with ht.trace(net, keep=["conv"]) as t:
        net(images)
    maps = t.cam(["conv@0", "conv@1"], target=1)
    first = net.conv(images)
    second = net.conv(first.relu())
    score = net.head(second.relu().mean((2, 3)))[:, 1].sum()
    for name, out in (("conv@0", first), ("conv@1", second)):
        (gradient,) = torch.autograd.grad(score, out, retain_graph=True)
        wanted = (gradient.mean((2, 3), keepdim=True) * out).sum(1)
        torch.testing.assert_close(maps[name].raw, wanted.detach(), rtol=1e-12, atol=1e-14)
    with pytest.raises(ht.errors.AmbiguousCallError, match="conv@1"):
        t.cam("conv", target=1)
