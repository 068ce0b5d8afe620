"""How faithful a map is: closed forms, other libraries, and what a metric leaves behind."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from scipy.sparse.linalg import spsolve
from torch import Tensor, nn

from hooktrace.cam import HeatMap, HeatMaps, metrics
from hooktrace.cam.metrics.placing import filler, order
from hooktrace.cam.metrics.randomization import rank_correlation
from hooktrace.cam.metrics.scores import Scores, bootstrap
from hooktrace.errors import (
    MapShapeError,
    MissingExtraError,
    TargetError,
    UnknownFormatError,
    UnknownNameError,
)

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


def sigmoid(values: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(values)))


# ------------------------------------------------------------------ deletion and insertion


@pytest.mark.parametrize("shape", SHAPES)
def test_a_deletion_curve_of_a_linear_model_is_the_sum_of_what_is_left(
    shape: tuple[int, ...],
) -> None:
    model, images, parts = summing(shape)
    positions = math.prod(shape[1:])
    curve = metrics.deletion(model, images, parts, 1, steps=positions, batch_size=7)
    for image, part in enumerate(parts.flatten(1).numpy()):
        falling = np.sort(part)[::-1]
        left = np.array([falling[gone:].sum() for gone in range(positions + 1)])
        np.testing.assert_allclose(curve.points[image].numpy(), sigmoid(left), rtol=1e-10)
        area = np.trapezoid(sigmoid(left), np.linspace(0, 1, positions + 1))
        assert curve.values[image].item() == pytest.approx(area, rel=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_insertion_curve_of_a_linear_model_is_the_sum_of_what_has_come(
    shape: tuple[int, ...],
) -> None:
    model, images, parts = summing(shape)
    positions = math.prod(shape[1:])
    curve = metrics.insertion(model, images, parts, 1, steps=positions, baseline="zero")
    for image, part in enumerate(parts.flatten(1).numpy()):
        come = np.concatenate([[0], np.cumsum(np.sort(part)[::-1])])
        np.testing.assert_allclose(curve.points[image].numpy(), sigmoid(come), rtol=1e-10)


def test_the_exact_map_beats_its_negative_and_a_random_one() -> None:
    model, images, parts = summing((2, 8, 8), images=6)
    table = metrics.evaluate(
        model, images, {"right": parts, "wrong": -parts, "random": torch.randn_like(parts)}, 1
    )
    for metric in ("deletion", "insertion", "road", "average_drop"):
        assert table.best(metric) == "right", metric
    deletion, insertion = (
        {name: table[name, metric].values for name in table.maps}
        for metric in ("deletion", "insertion")
    )
    assert (deletion["right"] < deletion["random"]).all()
    assert (deletion["random"] < deletion["wrong"]).all()
    assert (insertion["right"] > insertion["wrong"]).all()


def test_few_steps_take_as_many_positions_each_and_end_with_all() -> None:
    model, images, parts = summing((2, 5, 6))
    curve = metrics.deletion(model, images, parts, 1, steps=4)
    assert curve.fractions.tolist() == pytest.approx([0, 8 / 30, 15 / 30, 22 / 30, 1])
    assert curve.points[:, -1].tolist() == [0.5] * 3  # of nothing both logits are 0
    more = metrics.deletion(model, images, parts, 1, steps=500)
    assert more.points.shape == (3, 31)


def test_positions_of_equal_value_go_in_a_random_order_that_the_seed_decides() -> None:
    flat = torch.zeros(2, 100)
    first, again, other = order(flat, 0), order(flat, 0), order(flat, 1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first[0].tolist() != list(range(100))
    assert sorted(first[0].tolist()) == list(range(100))
    rising = torch.arange(100.0).expand(2, 100)
    assert order(rising, 3)[0].tolist() == list(range(99, -1, -1))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_deletion_and_insertion_agree_with_torchcam_at_the_same_map() -> None:
    torchcam = pytest.importorskip("torchcam.metrics")
    from torchcam.methods import GradCAM

    model = small_net().eval()
    images = torch.randn(1, 2, 8, 8)
    with GradCAM(model, target_layer="0", input_shape=(2, 8, 8)) as extractor:
        judge = torchcam.DeletionInsertionMetric(
            extractor, lambda logits: logits.softmax(-1), steps=16
        )
        judge.update(images, 2)
        theirs = judge.summary()
        scores = model(images).softmax(-1)
        maps = extractor(2, scores)[0].detach()
    # torchcam ranks what is left of the map after ReLU, and takes equal values from the top left
    # on; the same order without equal values:
    falling = maps - 1e-7 * torch.arange(64.0).reshape(1, 8, 8) * (maps == 0)
    assert (maps == 0).any()
    ours = metrics.deletion(model, images, falling, 2, steps=16)
    assert ours.mean == pytest.approx(theirs["deletion_auc"], abs=1e-6)
    rising = metrics.insertion(model, images, falling, 2, steps=16, baseline="zero")
    assert rising.mean == pytest.approx(theirs["insertion_auc"], abs=1e-6)


# ------------------------------------------------------------------ baselines


@pytest.mark.parametrize("shape", SHAPES)
def test_baselines_are_what_their_names_say(shape: tuple[int, ...]) -> None:
    images = torch.randn(3, *shape, dtype=torch.float64)
    assert filler(images, "zero").abs().max() == 0
    means = filler(images, "mean")
    expected = images.numpy().reshape(3, 2, -1).mean(2)
    np.testing.assert_allclose(means.flatten(2)[:, :, 0].numpy(), expected, rtol=1e-12)
    assert (filler(images, 0.25) == 0.25).all()
    assert torch.equal(filler(images, lambda one: one + 1), images + 1)
    from scipy import ndimage

    blurred = filler(images, "blur").numpy()
    for image in range(3):
        for channel in range(2):
            whole = images[image, channel].numpy()
            expected = ndimage.gaussian_filter(whole, 5.0, mode="nearest", radius=5)
            np.testing.assert_allclose(blurred[image, channel], expected, rtol=1e-6, atol=1e-9)


def test_a_baseline_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="zero, mean, blur"):
        filler(torch.zeros(1, 2, 4), "black")
    with pytest.raises(ValueError, match="does not fit"):
        filler(torch.zeros(1, 2, 4), torch.zeros(5))


# ------------------------------------------------------------------ confidence


def test_average_drop_is_relative_and_increase_counts() -> None:
    model, images, parts = summing((2, 5, 6), images=20)
    weights = model.weights.detach().numpy()
    drop = metrics.average_drop(model, images, parts, 1, batch_size=6)
    rise = metrics.increase(model, images, parts, 1)
    change = metrics.confidence_change(model, images, parts, 1)
    for image in range(20):
        mask = np.maximum(parts[image].numpy(), 0)
        mask = mask / mask.max()
        whole = sigmoid((images[image].numpy() * weights).sum())
        seen = sigmoid((images[image].numpy() * mask * weights).sum())
        assert drop.values[image].item() == pytest.approx(max(0, whole - seen) / whole, rel=1e-10)
        assert rise.values[image].item() == float(seen > whole)
        assert change.values[image].item() == pytest.approx(seen - whole, rel=1e-9)
    assert 0 < rise.mean < 1


def test_confidence_change_is_that_of_grad_cam_whose_drop_is_not_the_papers() -> None:
    peer = pytest.importorskip("pytorch_grad_cam.metrics.cam_mult_image")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    model, images = small_net().eval(), torch.randn(5, 2, 8, 8)
    maps = torch.rand(5, 8, 8)
    maps = maps / maps.flatten(1).amax(1).reshape(5, 1, 1)
    targets = [ClassifierOutputSoftmaxTarget(3)] * 5
    theirs = peer.CamMultImageConfidenceChange()(images, maps.numpy(), targets, model)
    ours = metrics.confidence_change(model, images, maps, 3)
    np.testing.assert_allclose(ours.values.numpy(), theirs, atol=1e-6)
    absolute = peer.DropInConfidence()(images, maps.numpy(), targets, model)
    with torch.no_grad():
        whole = model(images).softmax(1)[:, 3].numpy()
    relative = metrics.average_drop(model, images, maps, 3).values.numpy()
    np.testing.assert_allclose(relative, absolute / whole, atol=1e-5)
    assert (relative > absolute).any()  # grad-cam leaves out the division


# ------------------------------------------------------------------ ROAD


def neighbours(shape: tuple[int, ...]) -> list[tuple[tuple[int, ...], float]]:
    """Return offsets and weights: half as much for each further axis, sum 1."""
    offsets = [one for one in np.ndindex(*[3] * len(shape)) if any(number != 1 for number in one)]
    weights = [2.0 ** -sum(number != 1 for number in one) for one in offsets]
    return [
        (tuple(number - 1 for number in one), weight / sum(weights))
        for one, weight in zip(offsets, weights, strict=True)
    ]


def solved(image: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Impute by the explicit sparse system of the paper: one channel, any dimensions."""
    places = {place: number for number, place in enumerate(zip(*missing.nonzero(), strict=True))}
    matrix, right = sparse.lil_matrix((len(places),) * 2), np.zeros(len(places))
    for place, row in places.items():
        for offset, weight in neighbours(image.shape):
            other = tuple(a + b for a, b in zip(place, offset, strict=True))
            if any(a < 0 or a >= n for a, n in zip(other, image.shape, strict=True)):
                continue
            matrix[row, row] += weight
            if other in places:
                matrix[row, places[other]] -= weight
            else:
                right[row] += weight * image[other]
    found = image.copy()
    found[missing] = spsolve(matrix.tocsc(), right)
    return found


@pytest.mark.parametrize("share", [0.2, 0.9])
@pytest.mark.parametrize("shape", [(2, 40), (2, 14, 11), (2, 6, 5, 7)])
def test_imputation_solves_the_papers_system(shape: tuple[int, ...], share: float) -> None:
    images = torch.randn(2, *shape, dtype=torch.float64)
    missing = torch.rand(2, *shape[1:]) < share
    found = metrics.imputed(images, missing, noise=0)
    for image in range(2):
        for channel in range(2):
            expected = solved(images[image, channel].numpy(), missing[image].numpy())
            np.testing.assert_allclose(found[image, channel].numpy(), expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # of grad-cam's code
def test_imputation_fills_one_large_hole_and_agrees_with_grad_cam() -> None:
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    images = torch.randn(1, 3, 48, 48)
    missing = torch.zeros(1, 48, 48, dtype=torch.bool)
    missing[:, 2:45, 3:47] = True
    theirs = road.NoisyLinearImputer(noise=0.0)(images[0], (~missing[0]).float())
    ours = metrics.imputed(images, missing, noise=0)
    assert (ours[0] - theirs).abs().max() < 1e-5
    assert torch.equal(ours[:, :, ~missing[0]], images[:, :, ~missing[0]])


def test_a_hole_in_a_constant_image_is_filled_with_the_constant() -> None:
    images = torch.full((1, 1, 9, 9), 3.0)
    missing = torch.rand(1, 9, 9) < 0.7
    torch.testing.assert_close(metrics.imputed(images, missing, noise=0), images)


def test_noise_of_the_imputation_has_its_size_and_lies_in_the_hole_only() -> None:
    images = torch.zeros(1, 1, 200, 200)
    missing = torch.rand(1, 200, 200) < 0.5
    found = metrics.imputed(images, missing, noise=0.1, seed=4)
    assert (found[:, 0][~missing] == 0).all()
    assert found[:, 0][missing].std().item() == pytest.approx(0.1, rel=0.05)
    assert torch.equal(found, metrics.imputed(images, missing, noise=0.1, seed=4))


def test_nothing_can_be_imputed_from_nothing() -> None:
    with pytest.raises(MapShapeError, match="Nothing"):
        metrics.imputed(torch.zeros(1, 1, 4), torch.ones(1, 4, dtype=torch.bool))


@pytest.mark.parametrize("shape", [(2, 30), (2, 9, 10), (2, 4, 5, 4)])
def test_road_ranks_the_exact_map_above_its_negative(shape: tuple[int, ...]) -> None:
    model, images, parts = summing(shape, images=6)
    right, wrong = (metrics.road(model, images, one, 1) for one in (parts, -parts))
    assert (right.values > 0).all()
    torch.testing.assert_close(right.values, -wrong.values, atol=0.02, rtol=0)  # but for the noise


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # of grad-cam's code
def test_road_agrees_with_grad_cam() -> None:
    peer = pytest.importorskip("pytorch_grad_cam.metrics.road")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    model, images, parts = summing((2, 10, 10))
    model, images, maps = model.float(), images.float(), parts.float()
    targets = [ClassifierOutputSoftmaxTarget(1)] * 3
    theirs = peer.ROADCombined()(images, maps.numpy(), targets, model)
    ours = metrics.road(model, images, maps, 1)
    # Both draw noise of 0.01 of their own; nothing else differs.  It moves a logit by at most about
    # 0.01 * |weights|, the probability by a quarter of that, and 18 of these are averaged.
    noise = 0.01 * model.weights.norm().item() / 4 / 18**0.5
    np.testing.assert_allclose(ours.values.numpy(), theirs, atol=5 * noise)
    assert np.abs(theirs).min() > 50 * noise


def test_fractions_of_road_lie_between_nothing_and_all() -> None:
    model, images, parts = summing((2, 12))
    with pytest.raises(ValueError, match="between 0 and 1"):
        metrics.road_morf(model, images, parts, 1, fractions=[0.5, 1.0])


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


# ------------------------------------------------------------------ pointing games


def test_pointing_games_know_right_from_wrong() -> None:
    maps = torch.zeros(2, 20, 30)
    maps[0, 5, 8], maps[0, 6, 8], maps[1, 15, 25] = 3.0, 1.0, 2.0
    boxes = [[7, 4, 10, 6], [0, 0, 5, 5]]  # x1, y1, x2, y2
    hits = metrics.pointing_game(maps, boxes, tolerance=0)
    assert hits.values.tolist() == [1, 0]
    energy = metrics.energy_pointing_game(maps, boxes)
    assert energy.values.tolist() == pytest.approx([3 / 4, 0])


def test_the_tolerance_of_the_pointing_game_is_a_distance_to_the_region() -> None:
    maps = torch.zeros(1, 20, 30)
    maps[0, 9, 8] = 1.0
    box = [[0, 0, 5, 6]]  # its nearest position is y=5, x=4: 4 and 4 away
    hit = [metrics.pointing_game(maps, box, tolerance=t).mean for t in (5.65, 5.66)]
    assert hit == [0, 1]


@pytest.mark.parametrize("shape", [(12,), (6, 8), (4, 6, 5)])
def test_boxes_and_masks_are_the_same_in_every_dimension(shape: tuple[int, ...]) -> None:
    low = torch.tensor([1] * len(shape))
    high = torch.tensor([3, 5, 4][: len(shape)])
    mask = torch.zeros(2, *shape, dtype=torch.bool)
    mask[(slice(None), *(slice(1, int(end)) for end in high))] = True
    box = torch.cat([low, high.flip(0)]).expand(2, -1)  # x along the last axis
    maps = torch.rand(2, *shape)
    assert torch.equal(
        metrics.energy_pointing_game(maps, box).values,
        metrics.energy_pointing_game(maps, mask).values,
    )
    share = (maps * mask).flatten(1).sum(1) / maps.flatten(1).sum(1)
    torch.testing.assert_close(metrics.energy_pointing_game(maps, mask).values, share)


def test_several_boxes_are_one_region_and_coarse_maps_are_brought_to_the_image() -> None:
    maps = torch.zeros(1, 4, 4)
    maps[0, 3, 3] = 1.0
    heat = HeatMap(maps, "gradcam", "layer4", "class 1", (1,), None, (32, 32))
    boxes = [[[0, 0, 4, 4], [20, 20, 32, 32]]]
    assert metrics.pointing_game(heat, boxes, tolerance=0).mean == 1
    assert metrics.energy_pointing_game(heat, boxes).mean == 1
    assert metrics.pointing_game(maps, [[20, 20, 32, 32]], size=(32, 32)).mean == 1
    with pytest.raises(MapShapeError, match="4 numbers"):
        metrics.pointing_game(heat, [[1, 2, 3]])


def test_a_blank_map_points_nowhere() -> None:
    everywhere = torch.ones(1, 4, 4, dtype=torch.bool)
    assert metrics.pointing_game(torch.zeros(1, 4, 4), everywhere).mean == 0
    assert metrics.energy_pointing_game(torch.zeros(1, 4, 4), everywhere).mean == 0


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


# ------------------------------------------------------------------ intervals


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


# ------------------------------------------------------------------ nothing is left behind


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_metrics_leave_the_model_and_the_random_state_as_they_were(dimensions: int) -> None:
    model = small_net(dimensions).train()
    model[1].eval()
    images, maps = torch.randn(3, 2, *[6] * dimensions), torch.randn(3, *[3] * dimensions)
    flags = [one.training for one in model.modules()]
    values = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    metrics.evaluate(model, images, maps, options={"deletion": {"steps": 3}})
    metrics.coherency(lambda some: some.mean(1), images)
    metrics.sensitivity_max(lambda some: some.mean(1), images)
    metrics.randomization(lambda one, some: some[:, 0] + one[0].weight.sum(), model, images)
    metrics.completeness(model, images, maps)
    assert torch.equal(state, torch.get_rng_state())
    assert [one.training for one in model.modules()] == flags
    assert all(torch.equal(values[name], one) for name, one in model.state_dict().items())
    assert all(one.grad is None for one in model.parameters())
    assert not any(one._forward_hooks for one in model.modules())


def test_flags_come_back_after_an_exception() -> None:
    class Failing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise ZeroDivisionError

    model = Failing().train()
    with pytest.raises(ZeroDivisionError):
        metrics.deletion(model, torch.zeros(1, 2, 4), torch.rand(1, 4), 0)
    assert model.training


def test_batches_do_not_matter() -> None:
    model, images = small_net().train(), torch.randn(5, 2, 6, 6)
    maps = torch.randn(5, 3, 3)
    for name in ("deletion", "insertion", "average_drop"):
        one, many = (
            getattr(metrics, name)(model, images, maps, 0, batch_size=size).values
            for size in (1, 64)
        )
        torch.testing.assert_close(one, many)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_images_and_maps_work(dtype: torch.dtype) -> None:
    model, images = small_net().to(dtype), torch.randn(2, 2, 6, 6).to(dtype)
    table = metrics.evaluate(model, images, torch.randn(2, 3, 3).to(dtype), 1)
    assert all(one.values.dtype == torch.float32 for one in table.scores.values())
    assert all(one.values.isfinite().all() for one in table.scores.values())


def test_the_class_of_a_heat_map_counts_unless_another_is_named() -> None:
    model, images = small_net(), torch.randn(2, 2, 6, 6)
    heat = HeatMap(torch.rand(2, 3, 3), "gradcam", "0", "classes", (2, 3), None, (6, 6))
    own = metrics.deletion(model, images, heat).points[:, 0]
    named = metrics.deletion(model, images, heat, [2, 3]).points[:, 0]
    best = metrics.deletion(model, images, heat.raw).points[:, 0]
    with torch.no_grad():
        chances = model.eval()(images).softmax(1)
    torch.testing.assert_close(own, chances[[0, 1], [2, 3]])
    assert torch.equal(own, named)
    torch.testing.assert_close(best, chances.amax(1))


# ------------------------------------------------------------------ errors


def test_what_does_not_fit_is_refused_with_what_there_is() -> None:
    model, images, parts = summing((2, 5, 6))
    with pytest.raises(MapShapeError, match="do not fit"):
        metrics.deletion(model, images, parts[:2], 1)
    with pytest.raises(TargetError, match="no class 7"):
        metrics.deletion(model, images, parts, 7)
    with pytest.raises(TargetError, match="3 images"):
        metrics.deletion(model, images, parts, [1, 1])
    broken = parts.clone()
    broken[1, 0, 0] = float("nan")
    with pytest.raises(MapShapeError, match=r"\[1\]"):
        metrics.average_drop(model, images, broken, 1)
    with pytest.raises(UnknownNameError, match="'deletion'"):
        metrics.evaluate(model, images, parts, 1, metrics=["deletoin"])


# ------------------------------------------------------------------ tables and plots


def test_a_table_names_its_maps_by_what_differs() -> None:
    model, images, parts = summing((2, 5, 6))
    maps = HeatMaps(
        {
            (method, "layer4", 1): HeatMap(sign * parts, method, "layer4", "class 1", (1, 1, 1))
            for method, sign in (("gradcam", 1), ("layercam", -1))
        }
    )
    table = metrics.evaluate(model, images, maps, metrics=["deletion", "complexity"])
    assert table.maps == ("gradcam", "layercam")
    lines = str(table).splitlines()
    assert lines[0].split() == ["heat", "map", "deletion", "(lower)", "complexity", "(lower)"]
    assert lines[1].startswith("gradcam ")
    assert f"{table['gradcam', 'deletion'].mean:.3f} [" in lines[1]
    with pytest.raises(UnknownNameError, match="gradcam"):
        table["scorecam", "deletion"]


def test_progress_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    model, images, parts = summing((2, 12))
    metrics.deletion(model, images, parts, 1, steps=3)
    assert capsys.readouterr().out == ""
    metrics.deletion(model, images, parts, 1, steps=3, progress=True)
    assert "deletion" in capsys.readouterr().out


def test_plots_are_pictures_and_replace_files_at_once(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model, images, parts = summing((2, 5, 6))
    for metric in (metrics.deletion, metrics.average_drop):
        path = metric(model, images, parts, 1).draw(tmp_path / f"{metric.__name__}.png")
        assert path.read_bytes().startswith(b"\x89PNG")
    before = path.read_bytes()
    with pytest.raises(UnknownFormatError, match="png"):
        metrics.deletion(model, images, parts, 1).draw(tmp_path / "one.nonsense")
    assert path.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["average_drop.png", "deletion.png"]


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match="matplotlib"):
        metrics.complexity(torch.rand(2, 4, 4)).draw(tmp_path / "x.png")
