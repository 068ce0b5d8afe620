"""The maps of grad-cam, torchcam and captum, where they are right; and where they are not.

The model writes nothing in place, so that the peers see the tensors that they mean to see.  All
comparisons are in float64, where rounding is 1e-16 and an epsilon of a peer shows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from pytorch_grad_cam import (
    FEM,
    GradCAM,
    GradCAMElementWise,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    XGradCAM,
)
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam import methods as torchcam

import hooktrace as ht
from hooktrace.cam import METHODS

pytestmark = pytest.mark.filterwarnings("ignore::hooktrace.errors.BlankMapWarning")

CLASS = 2
ROUNDING = {"rtol": 1e-10, "atol": 1e-13}  # of float64, after sums of a few hundred terms


class Block(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.down = nn.Conv2d(channels, out, 1, stride)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        found = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(images)))))
        return self.relu2(found + self.down(images))


class SmallResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layer1, self.layer2 = Block(8, 8, 1), Block(8, 16, 2)
        self.fc = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.layer2(self.layer1(self.stem(images))).mean((2, 3)))


def images() -> Tensor:
    return torch.randn(2, 3, 12, 10, generator=torch.Generator().manual_seed(8)).double()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(11)
    made = SmallResNet().double()
    made(images())  # BatchNorm sees data once
    return made.eval()


def scaled(model: nn.Module, factor: float) -> Any:
    """Return a copy whose logits are `factor` times as large."""
    made: Any = copy.deepcopy(model)
    with torch.no_grad():
        made.fc.weight.mul_(factor)
        made.fc.bias.mul_(factor)
    return made


def ours(model: nn.Module, layer: str, method: Any) -> Tensor:
    with ht.trace(model, keep=[layer]) as t:
        model(images())
    return t.cam(layer, target=CLASS, method=method).raw


def seen(model: nn.Module, layer: str) -> tuple[Tensor, Tensor]:
    """Return activations and gradients, by PyTorch alone."""
    kept: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *args: kept.append(args[2]))
    score = model(images())[:, CLASS].sum()
    handle.remove()
    return kept[0].detach(), torch.autograd.grad(score, kept[0])[0]


LAYERS = ["layer1", "layer2", "layer2.bn2"]


# ------------------------------------------------------------------ grad-cam


def by_grad_cam(kind: Any, model: nn.Module, layer: str) -> Tensor:
    """Return the map as the library has it before it cuts, scales and resizes it."""
    model = copy.deepcopy(model)  # it writes into .grad
    targets = [ClassifierOutputTarget(CLASS)] * 2
    found: list[Any] = []

    class Raw(kind):  # type: ignore[misc]
        def get_cam_image(self, *args: Any, **kwargs: Any) -> Any:
            found.append(super().get_cam_image(*args, **kwargs))
            return found[0]

    with Raw(model=model, target_layers=[model.get_submodule(layer)]) as extractor:
        extractor(images(), targets)
    return torch.from_numpy(found[0])


GRAD_CAM = {
    "gradcam": ("gradcam", GradCAM),
    "hirescam": ("hirescam", HiResCAM),
    "gradcam_elementwise": ("gradcam_elementwise", GradCAMElementWise),
    "layercam": ("layercam", LayerCAM),
    "fem, weighting activations": (METHODS["fem"](form="activations"), FEM),  # type: ignore[call-arg]
}


@pytest.mark.parametrize("name", GRAD_CAM)
@pytest.mark.parametrize("layer", LAYERS)
def test_maps_are_those_of_grad_cam(model: nn.Module, layer: str, name: str) -> None:
    method, kind = GRAD_CAM[name]
    found, wanted = ours(model, layer, method), by_grad_cam(kind, model, layer)
    torch.testing.assert_close(found, wanted, **ROUNDING)


def test_fem_is_not_that_of_grad_cam_which_swaps_mask_and_mean(model: nn.Module) -> None:
    found, wanted = ours(model, "layer2", "fem"), by_grad_cam(FEM, model, "layer2")
    assert torch.corrcoef(torch.stack([found.flatten(), wanted.flatten()]))[0, 1] < 0.9


@pytest.mark.parametrize("layer", LAYERS)
def test_grad_cam_plus_plus_of_grad_cam_is_ours_once_its_epsilon_is_small(
    model: nn.Module, layer: str
) -> None:
    large = scaled(model, 2.0**30)
    a, g = seen(large, layer)
    below = 2 * g**2 + a.sum((2, 3), keepdim=True) * g**3
    # the weights differ by about eps / |below|, with eps = 1e-6, wherever g > 0
    off = (1e-6 / below.abs())[g > 0].max().item()
    assert off < 1e-6
    found, wanted = ours(large, layer, "gradcam++"), by_grad_cam(GradCAMPlusPlus, large, layer)
    near = 2 * off + ROUNDING["rtol"]
    torch.testing.assert_close(found, wanted, rtol=near, atol=near * wanted.abs().max())


def test_the_epsilon_of_grad_cam_changes_grad_cam_plus_plus_of_small_gradients(
    model: nn.Module,
) -> None:
    small = scaled(model, 2.0**-10)
    a, g = seen(small, "layer2")
    below = 2 * g**2 + a.sum((2, 3), keepdim=True) * g**3

    def formula(eps: float) -> Tensor:
        alpha = torch.where(g != 0, g**2 / (below + eps), 0)
        return torch.einsum("nk,nkhw->nhw", (alpha * g.relu()).sum((2, 3)), a)

    found, wanted = (
        ours(small, "layer2", "gradcam++"),
        by_grad_cam(GradCAMPlusPlus, small, "layer2"),
    )
    torch.testing.assert_close(found, formula(0.0), rtol=1e-9, atol=0)
    torch.testing.assert_close(wanted, formula(1e-6), rtol=1e-9, atol=0)
    assert (found - wanted).norm() > 0.5 * found.norm()


@pytest.mark.parametrize(("library", "eps"), [("grad-cam", 1e-7), ("torchcam", 1e-8)])
@pytest.mark.parametrize("layer", LAYERS)
def test_xgradcam_differs_from_the_peers_by_their_epsilon_alone(
    model: nn.Module, layer: str, library: str, eps: float
) -> None:
    a, g = seen(model, layer)

    def formula(eps: float) -> Tensor:
        weights = (g * a).sum((2, 3)) / (a.sum((2, 3)) + eps)
        return torch.einsum("nk,nkhw->nhw", weights, a)

    found = ours(model, layer, "xgradcam")
    if library == "grad-cam":
        theirs, wanted = by_grad_cam(XGradCAM, model, layer), formula(eps)
    else:
        theirs, wanted = by_torchcam(torchcam.XGradCAM, model, layer), formula(eps).relu()
    torch.testing.assert_close(theirs, wanted, **ROUNDING)
    # a channel of zeros alone has weight 0 / eps there, and none here
    exact = torch.where(a.abs().sum((2, 3)) == 0, 0, (g * a).sum((2, 3)) / a.sum((2, 3)))
    torch.testing.assert_close(found, torch.einsum("nk,nkhw->nhw", exact, a), **ROUNDING)


# ------------------------------------------------------------------ torchcam


def by_torchcam(kind: Any, model: nn.Module, layer: str, *more: Any) -> Tensor:
    model = copy.deepcopy(model)
    with kind(model, layer, *more) as extractor:
        scores = model(images())
        (found,) = extractor([CLASS] * 2, scores, normalized=False)
    return found.detach()


def test_cam_is_that_of_torchcam(model: nn.Module) -> None:
    wanted = by_torchcam(torchcam.CAM, model, "layer2", "fc")
    torch.testing.assert_close(ours(model, "layer2", "cam"), wanted, **ROUNDING)


@pytest.mark.parametrize(
    ("method", "kind"), [("gradcam", torchcam.GradCAM), ("layercam", torchcam.LayerCAM)]
)
@pytest.mark.parametrize("layer", LAYERS)
def test_the_positive_parts_of_maps_are_those_of_torchcam(
    model: nn.Module, layer: str, method: str, kind: Any
) -> None:
    wanted = by_torchcam(kind, model, layer)
    torch.testing.assert_close(ours(model, layer, method).relu(), wanted, **ROUNDING)


def test_grad_cam_plus_plus_of_torchcam_never_divides(model: nn.Module) -> None:
    a, g = seen(model, "layer2")
    theirs = by_torchcam(torchcam.GradCAMpp, model, "layer2")
    undivided = torch.einsum("nk,nkhw->nhw", (g**2 * g.relu()).sum((2, 3)), a)
    torch.testing.assert_close(theirs, undivided.relu(), **ROUNDING)
    found = ours(model, "layer2", "gradcam++").relu()
    assert (found / found.max() - theirs / theirs.max()).norm() > 0.01 * (
        found / found.max()
    ).norm()


# ------------------------------------------------------------------ captum


CAPTUM: dict[str, Callable[[Any, nn.Module], Tensor]] = {
    "gradcam": lambda model, at: LayerGradCam(model, at).attribute(images(), CLASS)[:, 0],
    "hirescam": lambda model, at: (
        LayerGradientXActivation(model, at).attribute(images(), CLASS).sum(1)
    ),
}


@pytest.mark.parametrize("method", CAPTUM)
@pytest.mark.parametrize("layer", LAYERS)
def test_maps_are_those_of_captum(model: nn.Module, layer: str, method: str) -> None:
    made = copy.deepcopy(model)
    wanted = CAPTUM[method](made, made.get_submodule(layer)).detach()
    torch.testing.assert_close(ours(model, layer, method), wanted, **ROUNDING)


# ------------------------------------------------------------------ single precision


@pytest.mark.parametrize(
    ("method", "kind"), [("gradcam", GradCAM), ("xgradcam", XGradCAM), ("layercam", LayerCAM)]
)
def test_in_single_precision_a_map_is_as_near_to_float64_as_that_of_grad_cam(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch, method: str, kind: Any
) -> None:
    exact = ours(model, "layer2", method)
    single, given = copy.deepcopy(model).float(), images().float()
    monkeypatch.setitem(globals(), "images", lambda: given)
    found, theirs = ours(single, "layer2", method), by_grad_cam(kind, single, "layer2")
    assert found.dtype == torch.float32
    # a factor of 4: two orders of summation round differently
    assert (found - exact).norm() <= 4 * (theirs - exact).norm()
