"""Models of which what a metric has to find is known, or that are small."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHAPES = [(2, 12), (2, 5, 6), (2, 3, 4, 3)]
"""(C, *S) in 1-D, 2-D and 3-D."""


class Summing(nn.Module):
    """Two classes; the logit of class 1 is the weighted sum of all values, that of class 0 is 0."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images: Tensor) -> Tensor:
        score = (images * self.weights).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score], 1)


def summing(shape: tuple[int, ...], images: int = 3) -> tuple[Summing, Tensor, Tensor]:
    """Return a model, images, and the exact contributions (N, *S) of their positions."""
    weights, data = torch.randn(shape).double() / 4, torch.randn(images, *shape).double()
    return Summing(weights), data, (data * weights).sum(1)


def small_net(dimensions: int = 2) -> nn.Module:
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
    pool = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dimensions]
    norm = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dimensions]
    return nn.Sequential(
        conv(2, 6, 3, padding=1), norm(6), nn.ReLU(), pool(1), nn.Flatten(), nn.Linear(6, 4)
    )
