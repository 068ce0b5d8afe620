"""Methods of one layer at the edges of their formulas: zero denominators, precision, options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hooktrace as ht
from hooktrace.cam import METHODS

# maps that are nowhere positive are among what is tested
pytestmark = pytest.mark.filterwarnings("ignore::hooktrace.errors.BlankMapWarning")

CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SIZES = {1: (12,), 2: (6, 5), 3: (4, 3, 5)}
CLASS = 1


class Net(nn.Module):
    """A score with chosen gradients: ``sum A * slopes``."""

    def __init__(self, activations: Tensor, slopes: Tensor) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, activations.shape[1], 1)
        self.activations, self.slopes = activations, slopes

    def forward(self, images: Tensor) -> Tensor:
        found = self.layer(images)
        score = (found * self.slopes).flatten(1).sum(1)
        return torch.stack([-score, score], 1)


def chosen(activations: list[Any], slopes: list[Any], method: Any) -> Tensor:
    """Return the map for activations (C, H, W) and gradients (C, H, W)."""
    a, g = (torch.tensor(one, dtype=torch.double).unsqueeze(0) for one in (activations, slopes))
    model = Net(a, g).double()
    model.layer.register_forward_hook(lambda *_: a.clone().requires_grad_().clone())
    with ht.trace(model, keep=["layer"]) as t:
        model(torch.ones(1, 1, *a.shape[2:], dtype=torch.double))
    return t.cam("layer", target=CLASS, method=method).raw[0]


# ------------------------------------------------------------------ Grad-CAM++


def test_gradcam_plus_plus_gives_no_weight_where_its_denominator_is_zero() -> None:
    # the activations sum to -2: at g = 1 the denominator 2 g^2 + (-2) g^3 is 0, at g = 2 it is -8
    found = chosen([[[-3.0, 1.0, 0.0]]], [[[1.0, 2.0, 0.0]]], "gradcam++")
    weight = 2.0 * 4 / (2 * 4 - 2 * 8)
    torch.testing.assert_close(found, weight * torch.tensor([[-3.0, 1.0, 0.0]]).double())


@pytest.mark.parametrize("power", [-13, 13])
def test_gradcam_plus_plus_depends_on_the_scale_of_the_logits_as_its_equation(power: int) -> None:
    a = [[[5.0, 10.0, 2.5]], [[1.0, 0.0, 0.5]]]
    g = torch.tensor([[[0.3, -0.2, 0.7]], [[0.1, 0.4, -0.6]]])
    plain, scaled = (chosen(a, (g * factor).tolist(), "gradcam++") for factor in (1.0, 2.0**power))
    slopes, values = g.double() * 2.0**power, torch.tensor(a).double()
    alpha = slopes**2 / (2 * slopes**2 + values.sum((1, 2), keepdim=True) * slopes**3)
    weights = (alpha * slopes.relu()).sum((1, 2))
    torch.testing.assert_close(
        scaled, torch.einsum("k,khw->hw", weights, values), rtol=1e-6, atol=0
    )
    assert not torch.allclose(plain / plain.max(), scaled / scaled.max(), rtol=1e-2)


# ------------------------------------------------------------------ XGrad-CAM


def test_xgradcam_gives_no_weight_to_a_channel_that_sums_to_zero() -> None:
    a = [[[0.1, 0.2, -0.3]], [[1.0, 3.0, 0.0]], [[0.0, 0.0, 0.0]]]
    g = [[[1.0, 1.0, 2.0]], [[2.0, 4.0, 9.0]], [[5.0, 5.0, 5.0]]]
    assert sum(a[0][0]) != 0  # but for rounding it would be
    found = chosen(a, g, "xgradcam")
    torch.testing.assert_close(found, (14 / 4) * torch.tensor(a[1]).double())


@pytest.mark.parametrize("size", [1e-30, 1e-9, 1e9])
def test_xgradcam_does_not_care_about_the_size_of_the_activations(size: float) -> None:
    a = torch.tensor([[[1.0, 3.0, -1.0]], [[2.0, -1.0, 0.5]]], dtype=torch.double)
    g = [[[1.0, -2.0, 2.0]], [[2.0, 4.0, 1.0]]]
    plain, small = chosen(a.tolist(), g, "xgradcam"), chosen((a * size).tolist(), g, "xgradcam")
    torch.testing.assert_close(small / size, plain, rtol=1e-12, atol=0)


# ------------------------------------------------------------------ FEM


def test_fem_adds_nothing_for_a_channel_that_is_the_same_everywhere() -> None:
    spike = [[0.0] * 24 + [5.0]]
    found = chosen([spike, [[0.1] * 25]], [[[0.0] * 25]] * 2, "fem")
    torch.testing.assert_close(found, torch.tensor([[0.0] * 24 + [0.2]]).double())


def test_fem_takes_the_number_of_deviations() -> None:
    one, slopes = [[[0.0, 0.0, 0.0, 1.0]]], [[[0.0] * 4]]  # 1 is sqrt(3) deviations above the mean
    near, far = (chosen(one, slopes, METHODS["fem"](sigmas=s)) for s in (1.73, 1.74))  # type: ignore[call-arg]
    assert near.tolist() == [[0, 0, 0, 0.25]]
    assert far.tolist() == [[0, 0, 0, 0]]


def test_fem_refuses_a_form_that_it_has_not() -> None:
    with pytest.raises(ValueError, match="masks or activations, but got 'paper'"):
        METHODS["fem"](form="paper")  # type: ignore[call-arg]


# ------------------------------------------------------------------ random weights


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_random_weights_are_even_in_their_range_and_the_same_in_each_precision(
    dtype: torch.dtype,
) -> None:
    channels = 2048
    model = nn.Sequential(nn.Identity())
    images = torch.eye(channels, dtype=dtype).unsqueeze(0)  # so that the map is the weights
    with ht.trace(model, keep=["0"]) as t, torch.no_grad():
        model(images)
    found = t.cam("0", target=lambda out: out.flatten(1).sum(1), method="random", seed=3).raw[0]
    wanted = 2 * torch.rand(channels, generator=torch.Generator().manual_seed(3)) - 1
    torch.testing.assert_close(found, wanted.to(found.dtype), rtol=0, atol=0)
    assert found.abs().max() <= 1
    # an even distribution in [-1, 1] has the variance 1 / 3; five standard errors
    assert abs(found.mean()) < 5 * (1 / 3 / channels) ** 0.5
    assert abs(found.var() - 1 / 3) < 5 * (4 / 45 / channels) ** 0.5


# ------------------------------------------------------------------ precision


def half_net(dims: int) -> nn.Sequential:
    torch.manual_seed(dims)
    conv = CONVOLUTIONS[dims]
    return nn.Sequential(
        conv(3, 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.LazyLinear(3)
    ).double()


FORMULAS = {
    "gradcam": "nk,nk...->n...",
    "gradcam++": "nk,nk...->n...",
    "xgradcam": "nk,nk...->n...",
    "hirescam": "nk...,nk...->n...",
    "gradcam_elementwise": "nk...->n...",
    "layercam": "nk...,nk...->n...",
}


def formula(method: str, a: Tensor, g: Tensor) -> Tensor:
    places = tuple(range(2, a.dim()))
    total = a.sum(places, keepdim=True)
    factors = {
        "gradcam": lambda: (g.mean(places), a),
        "gradcam++": lambda: ((g.relu() * g**2 / (2 * g**2 + total * g**3)).sum(places), a),
        "xgradcam": lambda: ((g * a / total).sum(places), a),
        "hirescam": lambda: (g, a),
        "gradcam_elementwise": lambda: ((g * a).relu(),),
        "layercam": lambda: (g.relu(), a),
    }
    return torch.einsum(FORMULAS[method], *factors[method]())


@pytest.mark.parametrize("method", FORMULAS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_from_half_precision_a_map_is_the_formula_of_the_same_numbers(
    dims: int, dtype: torch.dtype, method: str
) -> None:
    model, images = half_net(dims), torch.randn(2, 3, *SIZES[dims], dtype=torch.double)
    model(images)  # the lazy layer gets its shape
    model, images = model.to(dtype), images.to(dtype)
    with ht.trace(model, keep=["1"]) as t:
        model(images)
    found = t.cam("1", target=CLASS, method=method).raw
    activations = model[:2](images).detach().requires_grad_()
    (gradients,) = torch.autograd.grad(model[2:](activations)[:, CLASS].sum(), activations)
    wanted = formula(method, activations.detach().double(), gradients.double())
    # The numbers are the same, so only float32 sums lie between: far below half precision's 1e-3.
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max())
