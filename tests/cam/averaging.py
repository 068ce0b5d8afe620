"""A model, images and calls for methods that average over runs on changed images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import hooktrace as ht

EXACT = {"rtol": 1e-9, "atol": 1e-12}  # float64
CLASSES = torch.tensor([2, 0])
SAMPLES = 5
SEEN: list[int] = []  # how many images a model got


class Net(nn.Module):
    """The layer ``conv`` is followed by a ReLU, in place or not; any size of image."""

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.conv = nn.Conv2d(6, 5, 3, padding=1)
        self.relu = nn.ReLU(inplace)
        self.last = nn.Conv2d(5, 7, 3, padding=1)
        self.head = nn.Linear(7, 4)
        self.double().eval()

    def forward(self, images: Tensor) -> Tensor:
        SEEN.append(len(images))
        x = self.relu(self.conv(self.pool(self.stem(images).relu())))
        return self.head(torch.tanh(self.last(x)).mean((2, 3)))


def images() -> Tensor:
    drawn = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 8, 12, generator=drawn, dtype=torch.double)


def explained(method: Any, layer: str = "conv", **options: Any) -> Tensor:
    options = {"target": CLASSES.tolist(), **options}
    model = options.pop("model", None) or Net()
    found: Tensor = ht.explain(
        model, options.pop("images", images()), method=method, layer=layer, **options
    ).raw
    return found
