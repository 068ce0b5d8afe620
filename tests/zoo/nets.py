"""Ordinary nets."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from zoo.program import forward_backward, program


@program
def mlp() -> Any:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    return net, forward_backward(net, torch.randn(3, 4))


@program
def mlp_with_input_gradient() -> Any:
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    return net, forward_backward(net, torch.randn(3, 4, requires_grad=True))


@program
def conv_and_pool() -> Any:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, 2))
    return net, forward_backward(net, torch.ones(1, 1, 4, 4))


@program
def in_place_everything() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.relu = nn.ReLU(inplace=True)
            self.drop = nn.Dropout(0.5, inplace=True)
            self.last = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.first(x)
            y += 1
            y = self.drop(self.relu(y))
            y[:, 0] = 0
            y.view(-1)[3:5].mul_(2)
            z = self.last(y)
            z.add_(x)
            torch.sigmoid_(z)
            with torch.no_grad():
                self.last.weight.add_(0.0)
            return z

    net = Net()
    return net, forward_backward(net, torch.randn(3, 4))


@program
def batch_norm_buffers() -> Any:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
    step = forward_backward(net, torch.randn(2, 2, 5, 5))
    return net, lambda: (step(), step())


@program
def dropout_in_training() -> Any:
    net = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 2))
    step = forward_backward(net, torch.randn(3, 4))
    return net, lambda: (step(), torch.rand(3), step())


@program
def lstm() -> Any:
    net = nn.LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True)
    return net, forward_backward(net, torch.randn(2, 5, 3, requires_grad=True))


@program
def lstm_with_packed_sequence() -> Any:
    net = nn.LSTM(3, 4)
    packed = nn.utils.rnn.pack_sequence([torch.randn(4, 3), torch.randn(2, 3)])

    def step() -> Any:
        output, (h, c) = net(packed)
        (output.data.sum() + h.sum() + c.sum()).backward()
        return output.data, h, c

    return net, step


@program
def multi_input_residual() -> Any:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Bilinear(3, 3, 3)
            self.norm = nn.LayerNorm(3)

        def forward(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
            return self.norm(self.mix(x, other)) + x

    net = Block()
    x = torch.randn(2, 3, requires_grad=True)
    return net, forward_backward(net, x, torch.randn(2, 3, requires_grad=True))


@program
def transformer_layer_training() -> Any:
    net = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return net, forward_backward(net, torch.randn(2, 5, 8))


@program
def transformer_fast_path() -> Any:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.TransformerEncoder(layer, 2).eval()
    x = torch.randn(2, 5, 8)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])

    def step() -> Any:
        with torch.no_grad():
            return net(x), net(x, src_key_padding_mask=padding)

    return net, step


@program
def transformer_eval_with_gradient() -> Any:
    net = nn.Transformer(8, 2, 1, 1, 16, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    return net, forward_backward(net, x, x)


@program
def alexnet() -> Any:
    torchvision = __import__("torchvision")
    with torch.device("meta"):
        net = torchvision.models.alexnet()
    for place, sizes in ((1, (9216, 32)), (4, (32, 32)), (6, (32, 10))):  # 57 million fewer
        net.classifier[place] = nn.Linear(*sizes)
    net.to_empty(device="cpu").apply(lambda m: m.reset_parameters() if hasattr(m, "bias") else None)
    return net, forward_backward(net, torch.randn(1, 3, 64, 64))


@program
def resnet18() -> Any:
    torchvision = __import__("torchvision")
    net = torchvision.models.resnet18(num_classes=10)
    return net, forward_backward(net, torch.randn(2, 3, 32, 32))
