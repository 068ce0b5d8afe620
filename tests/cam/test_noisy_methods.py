"""Methods that average over runs on changed images, against naive loops in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from averaging import CLASSES, EXACT, SAMPLES, Net, explained, images
from torch import Tensor
from torch.nn import functional

from hooktrace.cam.methods.aug_smooth import AugSmooth
from hooktrace.cam.methods.iscam import IsCam
from hooktrace.cam.methods.smoothgradcam_plusplus import SmoothGradCamPlusPlus
from hooktrace.cam.methods.sscam import SsCam
from hooktrace.errors import MethodError


def noise(shape: Any, samples: int = SAMPLES, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.double) for _ in range(samples)]


def seen(data: Tensor, layer: str = "conv") -> tuple[Tensor, Tensor]:
    """Return activations and gradients of a model that writes nothing in place, by PyTorch."""
    model, kept = Net(inplace=False), []
    model.get_submodule(layer).register_forward_hook(lambda *args: kept.append(args[2]))
    score = model(data)[torch.arange(len(data)), CLASSES[: len(data)]].sum()
    return kept[0].detach(), torch.autograd.grad(score, kept[0])[0]


def scores(data: Tensor) -> Tensor:
    with torch.no_grad():
        return Net()(data)[torch.arange(len(data)), CLASSES[: len(data)]]


# ------------------------------------------------------------------ Smooth Grad-CAM++


@pytest.mark.parametrize("numerator", ["second", "first"])
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_smooth_grad_cam_plus_plus_is_its_formula(numerator: Any, batch_size: int) -> None:
    data = images()
    activations, _ = seen(data)
    spans = torch.stack([one.max() - one.min() for one in data]).reshape(2, 1, 1, 1)
    powers = [torch.zeros_like(activations) for _ in range(3)]
    for one in noise((3, 8, 12)):
        _, gradients = seen(data + 0.2 * spans * one)
        for power in range(3):
            powers[power] += gradients ** (power + 1) / SAMPLES
    total = activations.sum((2, 3), keepdim=True)
    above = powers[1] if numerator == "second" else powers[0]
    shares = torch.where(powers[1] == 0, 0, above / (2 * powers[1] + total * powers[2]))
    weights = (shares * powers[0].relu()).sum((2, 3))
    expected = torch.einsum("nk,nkij->nij", weights, activations)
    found = explained(SmoothGradCamPlusPlus(SAMPLES, 0.2, numerator, batch_size))
    torch.testing.assert_close(found, expected, **EXACT)


def test_without_noise_smooth_grad_cam_plus_plus_is_grad_cam_plus_plus() -> None:
    found = explained(SmoothGradCamPlusPlus(samples=3, sigma=0))
    torch.testing.assert_close(found, explained("gradcam++"), **EXACT)


def test_the_third_power_of_a_small_gradient_is_not_lost() -> None:
    small = Net().float()
    with torch.no_grad():
        small.head.weight.mul_(2.0**-60)  # the third power is below what float32 can hold
        small.head.bias.mul_(2.0**-60)
    single = images().float()
    found = explained(SmoothGradCamPlusPlus(4, 0), model=small, images=single)
    wanted = explained("gradcam++", model=small, images=single)
    torch.testing.assert_close(found / wanted.abs().max(), wanted / wanted.abs().max())


# ------------------------------------------------------------------ SS-CAM, IS-CAM


def masks_of(activations: Tensor) -> Tensor:
    """Return (N, C, H, W) the masks, resized first."""
    large = functional.interpolate(activations, (8, 12), mode="bilinear", align_corners=False)
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    return (large - low) / (high - low)


def weighted(see: Callable[[Tensor, Tensor], list[Tensor]], count: float) -> Tensor:
    """Return the map whose weights are the softmax of mean scores of several views."""
    data = images()
    activations, _ = seen(data)
    sums = [
        sum(scores(one) for one in see(data, mask.unsqueeze(1))) / count
        for mask in masks_of(activations).unbind(1)
    ]
    weights = torch.stack(sums, 1).softmax(1)  # type: ignore[arg-type]
    return torch.einsum("nk,nkij->nij", weights, activations)


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_sscam_with_noise_on_the_activation_is_its_formula(batch_size: int) -> None:
    added = noise((1, 8, 12))
    expected = weighted(lambda x, mask: [x * (mask + 0.5 * one) for one in added], SAMPLES)
    method = SsCam(batch_size=batch_size, sigma=0.5, samples=SAMPLES)
    torch.testing.assert_close(explained(method), expected, **EXACT)


def test_sscam_with_noise_on_the_input_is_its_formula() -> None:
    added = noise((3, 8, 12))
    expected = weighted(lambda x, mask: [x * mask + 0.5 * one for one in added], SAMPLES)
    method = SsCam(noise="input", sigma=0.5, samples=SAMPLES)
    torch.testing.assert_close(explained(method), expected, **EXACT)


@pytest.mark.parametrize(
    ("path", "factors"),
    [("straight", [0.25, 0.5, 0.75, 1.0]), ("accumulated", [0.0, 0.25, 0.75, 1.5])],
)
def test_iscam_is_its_formula(path: Any, factors: list[float]) -> None:
    expected = weighted(lambda x, mask: [one * x * mask for one in factors], 4)
    found = explained(IsCam(path=path, steps=4, batch_size=3))
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("method", [SsCam(sigma=0.0, samples=2), IsCam(path="straight", steps=1)])
def test_without_noise_or_path_they_are_score_cam(method: Any) -> None:
    torch.testing.assert_close(explained(method), explained("scorecam"), **EXACT)


# ------------------------------------------------------------------ augmentation


def test_aug_smooth_is_the_mean_of_the_maps_of_flips_and_factors_mapped_back() -> None:
    made = []
    for factor in (0.9, 1.0, 1.1):
        made.append(explained("gradcam", images=images() * factor))
        made.append(explained("gradcam", images=images().flip(3) * factor).flip(2))
    torch.testing.assert_close(explained("aug_smooth"), torch.stack(made).mean(0), **EXACT)


def test_aug_smooth_of_scales_resizes_their_maps_to_that_of_the_image() -> None:
    half = functional.interpolate(images(), (4, 6), mode="bilinear", align_corners=False)
    small = explained("layercam", images=half)
    assert small.shape == (2, 2, 3)
    back = functional.interpolate(
        small.unsqueeze(1), (4, 6), mode="bilinear", align_corners=False
    ).squeeze(1)
    found = explained(AugSmooth(of="layercam", flip=False, gains=(1.0,), scales=(1.0, 0.5)))
    torch.testing.assert_close(found, (explained("layercam") + back) / 2, **EXACT)


@pytest.mark.parametrize("of", ["scorecam", "ablationcam", SmoothGradCamPlusPlus(2, 0.1)])
def test_aug_smooth_of_a_method_that_runs_the_model_itself_gives_it_the_augmented_image(
    of: Any,
) -> None:
    flipped = explained(of, images=images().flip(3)).flip(2)
    found = explained(AugSmooth(of=of, gains=(1.0,)))
    torch.testing.assert_close(found, (explained(of) + flipped) / 2, **EXACT)


@pytest.mark.filterwarnings("ignore::hooktrace.errors.BlankMapWarning")
def test_aug_smooth_explains_the_class_of_the_image_itself() -> None:
    model, data = Net(), images()
    with torch.no_grad():
        model.head.bias[1] -= 0.0615
    assert model(data).argmax(1).tolist() == [1, 1]
    assert model(data * 1e-3).argmax(1).tolist() == [3, 3]
    found = explained(AugSmooth(gains=(1e-3,)), model=model, target=None)
    assert torch.equal(found, explained(AugSmooth(gains=(1e-3,)), model=model, target=1))
    assert not torch.equal(found, explained(AugSmooth(gains=(1e-3,)), model=model, target=3))


@pytest.mark.parametrize("of", ["finercam", "shapleycam", "cam", "guided_gradcam"])
def test_aug_smooth_says_which_methods_it_cannot_smooth(of: str) -> None:
    with pytest.raises(MethodError, match="Choose another"):
        explained(AugSmooth(of=of))
    for other in ("fullgrad", "refinecam", "aug_smooth"):
        with pytest.raises(ValueError, match=f"not {other}"):
            explained(AugSmooth(of=other))
