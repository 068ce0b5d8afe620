"""Finer-CAM is the map of a difference of logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchcam import methods as torchcam

import hooktrace as ht
from hooktrace.cam import METHODS
from hooktrace.cam.targets import BinaryScore, SoftmaxScore
from hooktrace.errors import MethodError, NoGradientError, TargetError

pytestmark = pytest.mark.filterwarnings("ignore::hooktrace.errors.BlankMapWarning")

FinerCam: Any = METHODS["finercam"]
CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLS: dict[int, Any] = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
SIZES = {1: (9,), 2: (6, 5), 3: (4, 3, 5)}
LAYER = "1"
CLASSES = 6


def net(dims: int = 2, classes: int = CLASSES) -> nn.Sequential:
    torch.manual_seed(dims)
    return nn.Sequential(
        CONVOLUTIONS[dims](3, 4, 3, padding=1),
        nn.Softplus(),
        CONVOLUTIONS[dims](4, 5, 3, padding=1),
        nn.GELU(),
        POOLS[dims](1),
        nn.Flatten(),
        nn.Linear(5, classes),
    ).double()


def traced(model: nn.Module, dims: int = 2, layers: tuple[str, ...] = (LAYER,)) -> tuple[Any, Any]:
    images = torch.randn(3, 3, *SIZES[dims], dtype=torch.double)
    with ht.trace(model, keep=list(layers)) as t:
        model(images)
    return t, images


def nearest(logits: Tensor, own: int, count: int) -> list[list[int]]:
    """Return the similar classes of each image, by plain Python."""
    found = []
    for row in logits.tolist():
        others = [one for one in range(len(row)) if one != own]
        found.append(sorted(others, key=lambda d, row=row: abs(row[d] - row[own]))[:count])
    return found


def by_pytorch(model: nn.Sequential, images: Tensor, score: Any) -> Tensor:
    """Return Grad-CAM of a score of the logits, written out with PyTorch alone."""
    activations = model[:2](images).detach().requires_grad_()
    (gradients,) = torch.autograd.grad(score(model[2:](activations)).sum(), activations)
    weights = gradients.flatten(2).mean(2)
    return torch.einsum("nk,nk...->n...", weights, activations.detach())


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_it_is_gradcam_of_the_logit_less_the_mean_of_the_closest_ones(dims: int) -> None:
    model = net(dims)
    t, images = traced(model, dims)
    others = torch.tensor(nearest(model(images), 2, 3))
    wanted = by_pytorch(model, images, lambda z: z[:, 2] - 0.6 * z.gather(1, others).mean(1))
    found = t.cam(LAYER, target=2, method="finercam")
    torch.testing.assert_close(found.raw, wanted, rtol=1e-10, atol=1e-14)
    assert found.single.extra["against"] == tuple(map(tuple, others.tolist()))


def test_with_softmax_the_gradient_goes_through_the_weights_as_in_the_authors_code() -> None:
    model = net()
    t, images = traced(model)
    others = torch.tensor(nearest(model(images), 2, 3))

    def score(logits: Tensor) -> Tensor:
        weights = logits.softmax(1).gather(1, others)
        gaps = logits[:, 2:3] - logits.gather(1, others)
        return (weights * gaps).sum(1) / weights.sum(1)

    found = t.cam(LAYER, target=2, method=FinerCam(weights="softmax", gamma=1)).raw
    torch.testing.assert_close(found, by_pytorch(model, images, score), rtol=1e-10, atol=1e-14)


def test_torchcam_agrees_on_what_is_positive() -> None:
    model = net()
    t, images = traced(model)
    with torchcam.FinerCAM(model, LAYER) as extractor:
        (wanted,) = extractor(2, model(images), normalized=False)
    found = t.cam(LAYER, target=2, method="finercam").raw
    torch.testing.assert_close(found.relu(), wanted, rtol=1e-10, atol=1e-14)
    assert wanted.any()


def test_the_map_is_a_combination_of_the_maps_of_the_single_classes() -> None:
    model = net()
    t, _ = traced(model)
    single = {one: t.cam(LAYER, target=one).raw for one in (0, 1, 4)}
    found = t.cam(LAYER, target=0, method=FinerCam(against=(1, -2), gamma=0.3)).raw
    wanted = single[0] - 0.3 * (single[1] + single[4]) / 2
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-14)


def test_the_gradients_of_the_class_and_of_the_difference_are_kept_apart() -> None:
    t, _ = traced(net())
    alone = [t.cam(LAYER, target=1, method=one).raw for one in ("gradcam", "finercam")]
    maps = t.cam(LAYER, target=1, method=["gradcam", "finercam", "layercam"])
    assert torch.equal(maps["gradcam"].raw, alone[0])
    assert torch.equal(maps["finercam"].raw, alone[1])
    assert torch.equal(maps["layercam"].raw, t.cam(LAYER, target=1, method="layercam").raw)
    assert not torch.allclose(*alone)


def test_without_comparison_it_is_the_map_of_the_class() -> None:
    t, _ = traced(net())
    maps = t.cam(LAYER, target=1, method=[FinerCam(gamma=0), "gradcam"])
    torch.testing.assert_close(maps["finercam"].raw, maps["gradcam"].raw, rtol=1e-12, atol=1e-15)


def test_similar_classes_are_those_of_each_image_without_the_predicted_class() -> None:
    model = net()
    t, images = traced(model)
    logits = model(images)
    found = t.cam(LAYER, method=FinerCam(references=2)).single.extra["against"]
    for row, own, others in zip(logits, logits.argmax(1).tolist(), found, strict=True):
        assert list(others) == nearest(row.unsqueeze(0), own, 2)[0]
        assert own not in others


def test_equal_logits_are_similar_but_never_the_class_itself() -> None:
    model = net(classes=4)
    nn.init.zeros_(model[6].weight)
    nn.init.zeros_(model[6].bias)
    t, _ = traced(model)
    found = t.cam(LAYER, target=1, method=FinerCam(references=9)).single.extra["against"]
    assert found == ((0, 2, 3),) * 3


def test_another_method_can_make_the_map() -> None:
    model = net()
    t, _ = traced(model)
    found = t.cam(LAYER, target=0, method=FinerCam(of="hirescam", against=(3,))).raw
    maps = {one: t.cam(LAYER, target=one, method="hirescam").raw for one in (0, 3)}
    torch.testing.assert_close(found, maps[0] - 0.6 * maps[3], rtol=1e-10, atol=1e-14)


def test_several_layers_share_one_backward_run(monkeypatch: pytest.MonkeyPatch) -> None:
    t, _ = traced(net(), layers=("1", "3"))
    runs = []
    original = torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *given, **named: runs.append(1) or original(*given, **named)
    )
    t.cam(["1", "3"], target=0, method="finercam")
    assert len(runs) == 2  # from the score to the logits, from the logits to both layers


@pytest.mark.parametrize("target", [SoftmaxScore(1), lambda out: out.sum(1)])
def test_a_target_that_is_no_logit_is_refused(target: Any) -> None:
    t, _ = traced(net())
    with pytest.raises(MethodError, match="no such logit"):
        t.cam(LAYER, target=target, method="finercam")


def test_a_model_with_one_logit_has_no_classes_to_compare() -> None:
    t, _ = traced(net(classes=1))
    with pytest.raises(MethodError, match="no such logit"):
        t.cam(LAYER, target=BinaryScore(), method="finercam")


def test_a_past_backward_tells_no_classes() -> None:
    model = net()
    with ht.trace(model, keep=[LAYER]) as t:
        model(torch.randn(1, 3, 6, 5, dtype=torch.double)).sum().backward()
    with pytest.raises(NoGradientError, match="compares classes"):
        t.cam(LAYER, target="backward", method="finercam")


def test_classes_to_compare_with_have_to_exist_and_to_be_others() -> None:
    t, _ = traced(net())
    with pytest.raises(TargetError, match="no class 6"):
        t.cam(LAYER, target=0, method=FinerCam(against=(6,)))
    with pytest.raises(MethodError, match="holds class 5"):
        t.cam(LAYER, target=5, method=FinerCam(against=(-1,)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "max"}, "mean or softmax"),
        ({"references": 0}, "at least 1"),
        ({"against": ()}, "at least one class"),
        ({"gamma": float("nan")}, "finite"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FinerCam(**options)


@pytest.mark.parametrize("of", ["eigencam", "refinecam", "scorecam"])
def test_a_method_without_gradients_of_one_layer_makes_no_map(of: str) -> None:
    t, _ = traced(net())
    with pytest.raises(ValueError, match="from gradients"):
        t.cam(LAYER, target=0, method=FinerCam(of=of))
