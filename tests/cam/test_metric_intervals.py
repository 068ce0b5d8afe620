"""Bootstrap intervals of means."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from hooktrace.cam.metrics.scores import Scores, bootstrap


def test_bootstrap_intervals_are_those_of_the_normal_approximation() -> None:
    values = torch.randn(400, dtype=torch.float64)
    for level in (0.5, 0.95):
        low, high = Scores("x", values, "higher").interval(level)
        half = stats.norm.ppf((1 + level) / 2) * values.std().item() / 400**0.5
        centre = values.mean().item()
        # 2000 resamples know each end to about 5% of the half width
        assert low == pytest.approx(centre - half, abs=0.12 * half)
        assert high == pytest.approx(centre + half, abs=0.12 * half)


def test_nine_of_ten_90_percent_intervals_hold_the_truth() -> None:
    generator = torch.Generator().manual_seed(0)
    inside = 0
    for number in range(300):
        low, high = bootstrap(torch.rand(50, generator=generator), 0.9, number).tolist()
        inside += low <= 0.5 <= high
    assert 0.9 - 3 * (0.09 / 300) ** 0.5 - 0.01 <= inside / 300 <= 0.9 + 3 * (0.09 / 300) ** 0.5


def test_intervals_of_curves_agree_with_those_of_each_point_and_the_seed_decides() -> None:
    points = torch.rand(7, 5)
    whole = bootstrap(points, seed=2)
    for step in range(5):
        torch.testing.assert_close(whole[:, step], bootstrap(points[:, step], seed=2))
    assert not torch.equal(whole, bootstrap(points, seed=3))
    assert bootstrap(torch.tensor([0.25])).tolist() == [0.25, 0.25]
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap(points, 95)
