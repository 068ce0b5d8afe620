"""Average drop, increase and change of confidence: by hand, and grad-cam."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from metric_nets import small_net, summing

from hooktrace.cam import metrics


def sigmoid(values: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(values)))


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
