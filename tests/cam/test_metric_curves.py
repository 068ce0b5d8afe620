"""Deletion, insertion and their baselines: closed forms, and torchcam."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from metric_nets import SHAPES, small_net, summing

from hooktrace.cam import metrics
from hooktrace.cam.metrics.placing import filler, order


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
