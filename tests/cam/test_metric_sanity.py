"""The sanity check by random parameters, and completeness."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from metric_nets import Summing, summing
from scipy import stats
from torch import Tensor, nn

from hooktrace.cam import metrics
from hooktrace.cam.metrics.randomization import rank_correlation

# ------------------------------------------------------------------ sanity check


def test_spearmans_correlation_is_that_of_scipy_with_ties() -> None:
    left, right = torch.randint(0, 5, (4, 6, 6)).double(), torch.randn(4, 6, 6).double()
    found = rank_correlation(left, right)
    for image in range(4):
        expected = stats.spearmanr(left[image].ravel(), right[image].ravel()).statistic
        assert found[image].item() == pytest.approx(expected, rel=1e-10)


def input_gradients(model: nn.Module, images: Tensor) -> Tensor:
    leaf = images.clone().requires_grad_()
    (found,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    return found.abs().sum(1)


def test_a_map_of_edges_passes_no_sanity_check_and_a_map_of_gradients_does() -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 12), nn.ReLU(), nn.Linear(12, 3)
    )
    images = torch.randn(4, 2, 8, 8)
    before = copy.deepcopy(model.state_dict())
    edges = metrics.randomization(lambda _, some: some.diff(dim=2)[:, 0], model, images)
    torch.testing.assert_close(edges.points, torch.ones(4, 3), check_dtype=False)
    honest = metrics.randomization(input_gradients, model, images)
    assert honest.layers == ("5", "3", "0")
    assert honest.points[:, -1].abs().max() < 0.6
    assert honest.mean < edges.mean
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_plot_of_the_sanity_check_names_the_layers(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    found = metrics.randomization(input_gradients, model, torch.randn(2, 2, 8, 8))
    drawn = found.draw(tmp_path / "sanity.svg").read_text()
    assert "<!-- 3 -->" in drawn
    assert "<!-- rank correlation" in drawn


def test_randomisation_cascades_from_the_top() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    seen = []

    def explain(one: nn.Module, images: Tensor) -> Tensor:
        parameters = zip(one.parameters(), model.parameters(), strict=True)
        seen.append([torch.equal(mine, theirs) for mine, theirs in parameters])
        return images[:, 0]

    metrics.randomization(explain, model, torch.randn(2, 2, 8, 8))
    same, new = [True, True], [False, False]
    assert seen == [same + same, same + new, new + new]


def test_parameters_without_a_reset_keep_their_mean_and_spread() -> None:
    model = Summing(5 + 0.5 * torch.randn(2, 40, 40))
    found = {}

    def explain(one: nn.Module, images: Tensor) -> Tensor:
        found["new"] = next(one.parameters()).detach().clone()
        return images[:, 0]

    metrics.randomization(explain, model, torch.randn(1, 2, 40, 40))
    assert not torch.equal(found["new"], model.weights)
    assert found["new"].mean().item() == pytest.approx(5, abs=0.05)
    assert found["new"].std().item() == pytest.approx(0.5, rel=0.05)


# ------------------------------------------------------------------ completeness


def test_a_map_that_adds_up_to_the_score_is_complete() -> None:
    model, images, parts = summing((2, 5, 6))
    assert metrics.completeness(model, images, parts, 1).values.max() < 1e-12
    half = metrics.completeness(model, images, parts / 2, 1)
    assert half.values.tolist() == pytest.approx([0.5] * 3)
    moved = metrics.completeness(model, images, parts, 1, reference=1e6)
    assert (moved.values - 1).abs().max() < 1e-4
