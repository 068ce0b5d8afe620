"""Sensitivity, complexity, coherency and ADCC: closed forms, and captum."""

from __future__ import annotations

import pytest
import torch
from metric_nets import summing
from scipy import stats
from torch import Tensor

from hooktrace.cam import metrics

# ------------------------------------------------------------------ sensitivity


def test_the_sensitivity_of_a_map_of_one_value_is_its_slope_times_the_radius() -> None:
    images = torch.randn(4, 1, 1)
    slopes = torch.tensor([1.0, -2.0, 5.0, 0.0])
    found = metrics.sensitivity_max(
        lambda some: some[:, 0] * slopes.unsqueeze(1), images, radius=0.1, samples=400
    )
    limit = slopes.abs() * 0.1
    assert (found.values <= limit + 1e-6).all()
    torch.testing.assert_close(found.values, limit, rtol=0.02, atol=1e-7)


@pytest.mark.filterwarnings("ignore")
def test_relative_sensitivity_is_that_of_captum() -> None:
    captum = pytest.importorskip("captum.metrics")
    images = torch.randn(3, 2, 5, 5)

    def explain(some: Tensor) -> Tensor:
        return (some**2).sum(1)

    generator = torch.Generator().manual_seed(3)
    draws = [2 * torch.rand(images.shape, generator=generator) - 1 for _ in range(6)]
    many = torch.stack(draws, 1).flatten(0, 1)  # captum repeats each image in a row

    theirs = captum.sensitivity_max(
        lambda some: (explain(some[0] if isinstance(some, tuple) else some),),
        images,
        perturb_func=lambda some: some + 0.05 * many,
        n_perturb_samples=6,
    )
    ours = metrics.sensitivity_max(explain, images, radius=0.05, samples=6, relative=True, seed=3)
    torch.testing.assert_close(ours.values, theirs)


# ------------------------------------------------------------------ ADCC


def test_complexity_is_the_share_that_is_shown() -> None:
    maps = torch.zeros(4, 10, 10)
    maps[0, :2] = 7.0
    maps[1] = 0.5
    maps[2, 0, 0] = -3.0
    maps[3, 0] = torch.tensor([4.0, 2.0] * 5)
    assert metrics.complexity(maps).values.tolist() == pytest.approx([0.2, 1.0, 0.0, 0.075])


def test_coherency_is_a_scaled_correlation() -> None:
    images = torch.rand(3, 1, 6, 6, dtype=torch.float64)

    def explain(some: Tensor) -> Tensor:
        return some.mean(1)

    found = metrics.coherency(explain, images)
    for image in range(3):
        first = images[image, 0].numpy()
        first = first / first.max()
        second = images[image, 0].numpy() * first
        expected = stats.pearsonr(first.ravel(), (second / second.max()).ravel()).statistic
        assert found.values[image].item() == pytest.approx((1 + expected) / 2, rel=1e-10)


def test_a_map_that_stays_the_same_is_wholly_coherent_and_its_mirror_is_not() -> None:
    constant = torch.rand(2, 6, 6)
    images = torch.rand(2, 1, 6, 6)
    assert metrics.coherency(lambda _: constant, images).values.tolist() == pytest.approx([1, 1])
    mirrored = metrics.coherency(lambda _: 1 - constant, images, constant)
    assert mirrored.values.tolist() == pytest.approx([0, 0], abs=1e-6)
    flat = metrics.coherency(lambda _: torch.ones(2, 6, 6), images, constant)
    assert flat.values.tolist() == [0.5, 0.5]


def test_adcc_is_the_harmonic_mean_of_its_parts() -> None:
    model, images, _ = summing((2, 5, 6))

    def explain(some: Tensor) -> Tensor:
        return (some * model.weights).sum(1)

    maps = explain(images)
    found = metrics.adcc(model, explain, images, None, 1).values
    coherency = metrics.coherency(explain, images).values
    clarity = 1 - metrics.complexity(maps).values
    kept = 1 - metrics.average_drop(model, images, maps, 1).values
    for image in range(3):
        parts = [one[image].item() for one in (coherency, clarity, kept)]
        assert found[image].item() == pytest.approx(stats.hmean(parts), rel=1e-9)
