"""ROAD and its imputation: the paper's system, solved, and grad-cam."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from metric_nets import summing
from scipy import sparse
from scipy.sparse.linalg import spsolve

from hooktrace.cam import metrics
from hooktrace.errors import (
    MapShapeError,
)


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
