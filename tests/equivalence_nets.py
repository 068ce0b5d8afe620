"""Nets whose gradients full backward hooks can report, at least on an out-of-place twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

NETS: dict[str, Callable[[], tuple[nn.Module, tuple[torch.Tensor, ...]]]] = {}


def net(build: Any) -> Any:
    NETS[build.__name__] = build
    return build


def image(*shape: int) -> tuple[torch.Tensor, ...]:
    return (torch.randn(*shape, requires_grad=True),)


@net
def mlp() -> Any:
    return nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, 2)
    ), image(3, 4)


@net
def in_place_mlp() -> Any:
    return nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 8), nn.LeakyReLU(0.1, inplace=True)
    ), image(3, 4)


@net
def convolutions() -> Any:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 3, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 2),
    ), image(2, 2, 8, 8)


@net
def alexnet_features() -> Any:
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.AlexNet(num_classes=4).features, image(1, 3, 64, 64)


@net
def resnet18() -> Any:
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.resnet18(num_classes=4), image(2, 3, 32, 32)


@net
def lstm() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(3, 3)
            self.lstm = nn.LSTM(3, 4, batch_first=True)
            self.head = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            output, _ = self.lstm(self.embed(x))
            return self.head(output[:, -1])

    return Net(), image(2, 5, 3)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bilinear = nn.Bilinear(3, 3, 3)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = self.bilinear(x, y)
        return z * x, z + y


@net
def several_inputs_and_outputs() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = TwoInputs()
            self.second = TwoInputs()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a, b = self.first(x, x.tanh())
            c, d = self.second(a, b)
            return c * d

    return Net(), image(2, 3)


@net
def a_tensor_that_feeds_two_modules() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Linear(3, 3)
            self.right = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x * 2
            return self.left(y) * self.right(y) + y

    return Net(), image(2, 3)


@net
def a_module_that_uses_its_input_several_times() -> Any:
    class Uses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x) * x + x.sin() * x[:, :1]

    return nn.Sequential(nn.Linear(3, 3), Uses(), Uses()), image(2, 3)


@net
def shared_module() -> Any:
    linear = nn.Linear(3, 3)
    return nn.Sequential(linear, nn.Tanh(), linear, nn.Tanh(), linear), image(2, 3)


@net
def nested_residuals() -> Any:
    class Residual(nn.Module):
        def __init__(self, *inner: nn.Module) -> None:
            super().__init__()
            self.inner = nn.Sequential(*inner)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x) + x

    return Residual(
        Residual(nn.Linear(3, 3), nn.Tanh()), nn.LayerNorm(3), Residual(nn.Linear(3, 3))
    ), image(2, 3)


@net
def split_and_chunk() -> Any:
    class Chunk(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return x.chunk(2, dim=1)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.chunk = Chunk()
            self.last = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a, b = self.chunk(self.linear(x))
            return self.last(a) * b

    return Net(), image(2, 4)


@net
def vision_transformer_block() -> Any:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(8)
            self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.mlp(self.norm(x))

    return nn.Sequential(Block(), Block()), image(2, 5, 8)


def loss(output: torch.Tensor) -> torch.Tensor:
    return (output * torch.linspace(0.5, 1.5, output.numel()).view_as(output)).sum()
