"""A sample of the sweep (``make sweep``), and what it found, as small as it gets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sweep.compare import sweep
from sweep.subjects import Subject
from torch import nn

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*full backward hook.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*quantiz.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*quantize.*:UserWarning"),
]

TORCHVISION = (
    "efficientnet_b0",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "quantized_shufflenet_v2_x0_5",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
)


@pytest.mark.parametrize("name", TORCHVISION)
def test_a_model_of_torchvision_runs_and_has_gradients_as_without_a_trace(name: str) -> None:
    pytest.importorskip("torchvision")
    from sweep import vision

    assert_alike(sweep(vision.build(name)), quantized=name.startswith("quantized"))


def assert_alike(row: dict[str, Any], *, quantized: bool = False) -> None:
    """Every mode ran, was the same in every way to trace it, and had the gradients of the hooks."""
    assert row["modes"]
    for mode, found in row["modes"].items():
        assert found["raised"] is None, mode
        assert found.get("differs") is None, f"{mode}: {found['differs']}"
        assert "unsteady" not in found, mode
        if not quantized:
            assert found["hooks"]["differs"] == 0, f"{mode}: {found['hooks']}"
            assert found["hooks"]["equal"] > 0, mode


class Attention(nn.Module):
    """Returns what it used itself, as attentions do with their weights."""

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> Any:
        weights = (query @ key.transpose(-1, -2)).softmax(-1)
        return weights @ value, weights


class Attends(nn.Module):
    """Uses the weights of its attention as well, or not."""

    def __init__(self, *, weights: bool) -> None:
        super().__init__()
        self.project = nn.Linear(3, 9)
        self.attention = Attention()
        self.weights = weights

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output, weights = self.attention(*self.project(x).chunk(3, -1))
        return output * weights.sum() if self.weights else output


class Residual(nn.Module):
    """Returns a sum and one of its terms."""

    def __init__(self, *, view: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.view = view

    def forward(self, x: torch.Tensor) -> Any:
        branch = self.linear(x)
        if self.view:
            branch = branch.transpose(0, 1)
        return branch + branch.square(), branch


class TakesBoth(nn.Module):
    def __init__(self, *, view: bool = False) -> None:
        super().__init__()
        self.residual = Residual(view=view)
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total, branch = self.residual(x)
        return self.head(total) * branch.sum()


class DropsOutAView(nn.Module):
    """Ends as image models do: pooled, flattened, and dropped out in place."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(3, 4, 1)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.head = nn.Sequential(nn.Dropout(0.3, inplace=True), nn.Linear(4, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(self.pool(self.convolution(x)), 1))


FOUND: dict[str, Any] = {
    "an in-place dropout of a view": DropsOutAView,
    "an attention whose weights nobody uses": lambda: Attends(weights=False),
    "an attention whose weights are used": lambda: Attends(weights=True),
    "an output that goes into another output": TakesBoth,
    "a view that goes into another output": lambda: TakesBoth(view=True),
}


@pytest.mark.parametrize("case", FOUND)
def test_what_the_sweep_found_stays_right(case: str) -> None:
    torch.manual_seed(0)
    shape = (2, 3, 4) if "dropout" in case else (2, 4, 3)
    subject = Subject(FOUND[case](), lambda: ((torch.rand(shape).requires_grad_(),), {}))
    assert_alike(sweep(subject))


def test_loading_the_state_of_an_optimizer_inside_a_trace_works() -> None:
    import hooktrace as ht

    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    with ht.trace():
        optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.state_dict()["param_groups"][0]["lr"] == 0.1
