"""Methods that run the model again: the maps of grad-cam, torchcam and captum, and why they differ.

The model writes nothing in place and is float64.  grad-cam takes scores in float32, so that its
weights are right to some 1e-7.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from captum.attr import LayerFeatureAblation
from pytorch_grad_cam import AblationCAM, ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional
from torchcam import methods as torchcam

import hooktrace as ht
from hooktrace.cam.methods.iscam import IsCam
from hooktrace.cam.methods.scorecam import ScoreCam
from hooktrace.cam.methods.sscam import SsCam

pytestmark = pytest.mark.filterwarnings("ignore::hooktrace.errors.BlankMapWarning")

CLASS = 2
ROUNDING = {"rtol": 1e-10, "atol": 1e-13}  # of float64, after sums of a few hundred terms
SINGLE = 1e-5  # of scores in float32, differences of which are a small part of them
LAYERS = ["relu1", "conv2", "relu2"]
RECTIFIED = ["relu1", "relu2"]
SIZE = (12, 10)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()
        self.conv2, self.relu2 = nn.Conv2d(8, 6, 3, 2, 1), nn.ReLU()
        self.fc = nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu2(self.conv2(self.relu1(self.conv1(images))))
        return self.fc(x.mean((2, 3)))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(11)
    made = Net().double().eval()
    with torch.no_grad():
        made.fc.weight.mul_(20)  # scores that tell channels apart
    return made


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let grad-cam draw no progress bars."""

    def plain(numbers: Any) -> Iterator[Any]:
        return iter(numbers)

    monkeypatch.setattr("tqdm.tqdm", plain)


def images() -> Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(8)).double()


def ours(model: nn.Module, layer: str, method: Any) -> Tensor:
    found: Tensor = ht.explain(model, images(), target=CLASS, layer=layer, method=method).raw
    return found


def seen(model: nn.Module, layer: str) -> Tensor:
    kept: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *args: kept.append(args[2]))
    with torch.no_grad():
        model(images())
    handle.remove()
    return kept[0]


def by_grad_cam(kind: Any, model: nn.Module, layer: str) -> Tensor:
    """Return the map as the library has it before it cuts, scales and resizes it."""
    model = copy.deepcopy(model)
    found: list[Any] = []

    class Raw(kind):  # type: ignore[misc]
        def get_cam_image(self, *args: Any, **kwargs: Any) -> Any:
            found.append(super().get_cam_image(*args, **kwargs))
            return found[0]

    with Raw(model=model, target_layers=[model.get_submodule(layer)]) as extractor:
        extractor(images(), [ClassifierOutputTarget(CLASS)] * 2)
    return torch.from_numpy(found[0])


def by_torchcam(kind: Any, model: nn.Module, layer: str, **options: Any) -> Tensor:
    model = copy.deepcopy(model)
    with kind(model, layer, **options) as extractor:
        scores = model(images())
        (found,) = extractor([CLASS] * 2, scores, normalized=False)
    return found.detach()


def near(found: Tensor, wanted: Tensor, rounding: float) -> None:
    scale = wanted.abs().max().item()
    torch.testing.assert_close(found, wanted, rtol=0, atol=rounding * scale, check_dtype=False)


# ------------------------------------------------------------------ Ablation-CAM


def ablated(model: nn.Module, layer: str, value: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Return the map with each channel replaced: ``value`` of (C, *S) and its number."""
    activations = seen(model, layer)
    with torch.no_grad():
        own = model(images())[:, CLASS]
    weights = torch.empty(activations.shape[:2]).double()
    for row, channel in torch.cartesian_prod(*map(torch.arange, weights.shape)).tolist():
        changed = activations[row].clone()
        changed[channel] = value(changed, channel)
        handle = model.get_submodule(layer).register_forward_hook(
            lambda _module, _args, _output, changed=changed: changed.unsqueeze(0)
        )
        with torch.no_grad():
            weights[row, channel] = 1 - model(images()[[row]])[0, CLASS] / own[row]
        handle.remove()
    return torch.einsum("nk,nkij->nij", weights, activations)


@pytest.mark.parametrize("layer", RECTIFIED)
def test_ablationcam_of_a_rectified_layer_is_that_of_grad_cam(model: nn.Module, layer: str) -> None:
    found = ours(model, layer, "ablationcam")
    torch.testing.assert_close(found, ablated(model, layer, lambda _a, _k: torch.zeros(())))
    near(by_grad_cam(AblationCAM, model, layer), found, SINGLE)


def test_ablationcam_of_grad_cam_takes_minus_ten_million_for_zero_where_values_are_negative(
    model: nn.Module,
) -> None:
    """The paper sets the channel to zero; tanh, unlike a ReLU, tells the two apart."""
    model.relu2 = nn.Tanh()
    theirs = by_grad_cam(AblationCAM, model, "conv2")
    near(theirs, ablated(model, "conv2", lambda a, _k: a.min() - 1e7), SINGLE)
    found = ours(model, "conv2", "ablationcam")
    torch.testing.assert_close(found, ablated(model, "conv2", lambda _a, _k: torch.zeros(())))
    assert (found - theirs).norm() > 0.1 * found.norm()


@pytest.mark.parametrize("layer", LAYERS)
def test_the_weights_of_ablationcam_are_the_layer_feature_ablation_of_captum(
    model: nn.Module, layer: str
) -> None:
    activations = seen(model, layer)
    channels = torch.arange(activations.shape[1]).reshape(1, -1, 1, 1).expand_as(activations[:1])
    drops = LayerFeatureAblation(model, model.get_submodule(layer)).attribute(
        images(), layer_baselines=0, target=CLASS, layer_mask=channels
    )
    assert isinstance(drops, Tensor)
    own = model(images())[:, CLASS].detach().reshape(-1, 1, 1, 1)
    expected = (drops / own * activations).sum(1)
    torch.testing.assert_close(ours(model, layer, "ablationcam"), expected, **ROUNDING)


# ------------------------------------------------------------------ Score-CAM and its kin


def scored(
    model: nn.Module,
    layer: str,
    factors: tuple[float, ...] = (1.0,),
    *,
    eps: float = 0.0,
    corners: bool = False,
    first: str = "resize",
) -> Tensor:
    """Return Score-CAM's map by a loop, with what the libraries do differently."""

    def scale(maps: Tensor, shifted_eps: bool) -> Tensor:
        low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
        span = high - low + eps if shifted_eps else high - low
        return torch.where(high == low, 0, (maps - low) / torch.where(span == 0, 1, span))

    def resize(maps: Tensor) -> Tensor:
        return functional.interpolate(maps, SIZE, mode="bilinear", align_corners=corners)

    activations = seen(model, layer)
    masks = (
        scale(resize(activations), True) if first == "resize" else resize(scale(activations, True))
    )
    sums = []
    with torch.no_grad():
        for mask in masks.unsqueeze(2).unbind(1):
            views = [model(one * images() * mask)[:, CLASS] for one in factors]
            sums.append(torch.stack(views).mean(0))
    weights = torch.stack(sums, 1).softmax(1)
    return torch.einsum("nk,nkij->nij", weights, activations)


@pytest.mark.parametrize("layer", LAYERS)
def test_scorecam_differs_from_grad_cam_by_the_corners_of_its_resizing(
    model: nn.Module, layer: str
) -> None:
    """It aligns corners, which the authors' code does not; the order is the same."""
    theirs = by_grad_cam(ScoreCAM, model, layer)
    near(theirs, scored(model, layer, eps=1e-8, corners=True), SINGLE)
    found = ours(model, layer, "scorecam")
    torch.testing.assert_close(found, scored(model, layer), **ROUNDING)
    if layer.endswith("2"):  # the other layer has the size of the image
        assert (found - theirs).norm() > 1e-3 * found.norm()
    else:
        near(theirs, found, SINGLE)


@pytest.mark.parametrize("layer", LAYERS)
def test_scorecam_that_normalizes_first_is_that_of_torchcam(model: nn.Module, layer: str) -> None:
    theirs = by_torchcam(torchcam.ScoreCAM, model, layer)
    found = ours(model, layer, ScoreCam("normalize_first")).relu()
    loop = scored(model, layer, first="normalize")
    torch.testing.assert_close(found, loop.relu(), **ROUNDING)
    near(theirs, found, 1e-6)  # its epsilon of 1e-8, over the smallest range of a channel
    torch.testing.assert_close(
        theirs, scored(model, layer, eps=1e-8, first="normalize").relu(), **ROUNDING
    )


@pytest.mark.parametrize("layer", LAYERS)
def test_iscam_of_torchcam_is_one_step_ahead_of_the_sum_that_it_quotes(
    model: nn.Module, layer: str
) -> None:
    theirs = by_torchcam(torchcam.ISCAM, model, layer, num_samples=4)
    ahead = scored(model, layer, (0.25, 0.75, 1.5, 2.5), eps=1e-8, first="normalize")
    torch.testing.assert_close(theirs, ahead.relu(), **ROUNDING)
    quoted = scored(model, layer, (0.0, 0.25, 0.75, 1.5), first="normalize")
    found = ours(model, layer, IsCam("normalize_first", steps=4))
    torch.testing.assert_close(found, quoted, **ROUNDING)
    assert (found.relu() - theirs).norm() > 1e-3 * found.norm()
    straight = scored(model, layer, (0.25, 0.5, 0.75, 1.0), first="normalize")
    found = ours(model, layer, IsCam("normalize_first", path="straight", steps=4))
    torch.testing.assert_close(found, straight, **ROUNDING)


def test_sscam_without_noise_is_that_of_torchcam_without_noise(model: nn.Module) -> None:
    """With noise it draws from the global generator, for each channel anew."""
    theirs = by_torchcam(torchcam.SSCAM, model, "relu2", num_samples=2, std=1e-30)
    found = ours(model, "relu2", SsCam("normalize_first", sigma=0.0, samples=2)).relu()
    near(theirs, found, 1e-6)
    state = torch.get_rng_state()
    by_torchcam(torchcam.SSCAM, model, "relu2", num_samples=1)
    assert not torch.equal(torch.get_rng_state(), state)


def test_smooth_grad_cam_plus_plus_of_torchcam_sums_activations_times_gradients(
    model: nn.Module,
) -> None:
    """The equation has (sum A) g^3; there it is sum(A g^3), the same as in its Grad-CAM++."""
    kept: list[Tensor] = []
    handle = model.get_submodule("conv2").register_forward_hook(lambda *a: kept.append(a[2]))
    score = model(images())[:, CLASS].sum()
    handle.remove()
    (g,) = torch.autograd.grad(score, kept[0])
    a = kept[0].detach()

    def formula(total: Tensor, eps: float) -> Tensor:
        shares = torch.where(g == 0, 0, g**2 / (2 * g**2 + total + eps))
        return torch.einsum("nk,nkij->nij", (shares * g.relu()).sum((2, 3)), a)

    quiet: Any = {"num_samples": 2, "std": 1e-30}
    theirs = by_torchcam(torchcam.SmoothGradCAMpp, model, "conv2", **quiet)
    mixed = formula((a * g**3).sum((2, 3), keepdim=True), 1e-8)
    torch.testing.assert_close(theirs, mixed.relu(), **ROUNDING)
    equation = formula(a.sum((2, 3), keepdim=True) * g**3, 0.0)
    kind: Any = ht.cam.METHODS["smoothgradcam++"]
    found = ours(model, "conv2", kind(samples=2, sigma=0.0))
    torch.testing.assert_close(found, equation, **ROUNDING)
    assert (found.relu() - theirs).norm() > 0.01 * found.norm()
