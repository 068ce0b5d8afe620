"""Every method of one layer is the formula of its paper, written out in loops in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hooktrace as ht
from hooktrace.cam import METHODS
from hooktrace.cam.targets import SoftmaxScore
from hooktrace.errors import MethodError, NoGradientError

pytestmark = pytest.mark.filterwarnings("ignore::hooktrace.errors.BlankMapWarning")

CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLS: dict[int, Any] = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
SIZES = {1: (9,), 2: (6, 5), 3: (4, 3, 5)}


def net(dims: int, smooth: bool = True) -> nn.Module:
    torch.manual_seed(dims)
    conv = CONVOLUTIONS[dims]
    return nn.Sequential(
        conv(3, 4, 3, padding=1),
        nn.Softplus() if smooth else nn.ReLU(),
        conv(4, 5, 3, padding=1),
        nn.GELU() if smooth else nn.ReLU(),
        POOLS[dims](1),
        nn.Flatten(),
        nn.Linear(5, 3),
    ).double()


def seen(model: nn.Module, images: Tensor, layer: int, target: int) -> tuple[Any, Any]:
    """Return activations and gradients of a layer as numpy arrays, by PyTorch alone."""
    activation = model[: layer + 1](images).detach().requires_grad_()
    score = model[layer + 1 :](activation)[:, target].sum()
    (gradient,) = torch.autograd.grad(score, activation)
    return activation.detach().numpy(), gradient.numpy()


def by_image(one: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, g: np.stack([one(a[n], g[n]) for n in range(len(a))])


def weighted(weight: Callable[[Any, Any], float]) -> Callable[[Any, Any], Any]:
    """Make the map of weights that depend on one channel."""
    return by_image(lambda a, g: sum(weight(a[k], g[k]) * a[k] for k in range(len(a))))


def plus_plus(a: Any, g: Any) -> float:
    total, weight = a.sum(), 0.0
    for one in g.ravel():
        alpha = one**2 / (2 * one**2 + total * one**3)
        weight += alpha * max(one, 0)
    return weight


def fem(a: Any, _g: Any) -> Any:
    return sum(a[k].mean() * (a[k] > a[k].mean() + 2 * a[k].std()) for k in range(len(a)))


def fem_of_activations(a: Any, _g: Any) -> Any:
    return sum((a[k] > a[k].mean() + 2 * a[k].std()).mean() * a[k] for k in range(len(a)))


PAPERS: dict[str, tuple[Any, Callable[[Any, Any], Any]]] = {
    "gradcam": ("gradcam", weighted(lambda a, g: g.mean())),
    "gradcam++": ("gradcam++", weighted(plus_plus)),
    "xgradcam": ("xgradcam", weighted(lambda a, g: (g * a).sum() / a.sum())),
    "hirescam": ("hirescam", by_image(lambda a, g: (g * a).sum(0))),
    "gradcam_elementwise": (
        "gradcam_elementwise",
        by_image(lambda a, g: np.maximum(g * a, 0).sum(0)),
    ),
    "layercam": ("layercam", by_image(lambda a, g: (np.maximum(g, 0) * a).sum(0))),
    "fem": ("fem", by_image(fem)),
    "fem, mask and mean swapped": (
        METHODS["fem"](form="activations"),  # type: ignore[call-arg]
        by_image(fem_of_activations),
    ),
}


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_map_is_the_formula_of_the_paper(dims: int, name: str) -> None:
    method, paper = PAPERS[name]
    model, images = net(dims), torch.randn(2, 3, *SIZES[dims], dtype=torch.double)
    with ht.trace(model, keep=["1"]) as t:
        model(images)
    found = t.cam("1", target=2, method=method).raw
    wanted = torch.from_numpy(paper(*seen(model, images, 1, 2)))
    assert found.shape == (2, *SIZES[dims])
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def test_gradcam_plus_plus_does_not_underflow_where_the_square_of_a_gradient_does() -> None:
    model, images = net(2), torch.randn(1, 3, 6, 5, dtype=torch.double)
    with ht.trace(model, keep=["1"]) as t:
        model(images)
    tiny = t.cam("1", target=lambda out: out[:, 2] * 1e-200, method="gradcam++").raw
    activation, gradient = seen(model, images, 1, 2)
    # as g goes to 0, alpha goes to 1 / 2
    wanted = by_image(lambda a, g: sum(np.maximum(g[k], 0).sum() / 2 * a[k] for k in range(len(a))))
    expected = torch.from_numpy(wanted(activation, gradient))
    torch.testing.assert_close(tiny * 1e200, expected, rtol=1e-9, atol=1e-12)


SCALE_FREE = [
    "cam", "eigengradcam", "gradcam", "gradcam_elementwise", "hirescam", "layercam",
    "shapleycam", "xgradcam",
]  # fmt: skip


@pytest.mark.parametrize("name", SCALE_FREE)
@pytest.mark.parametrize("power", [13, -13])
def test_scaling_the_logits_changes_no_normalised_map(name: str, power: int) -> None:
    model, images = net(2, smooth=False).float(), torch.randn(2, 3, 6, 5)
    maps = []
    for factor in (1.0, 2.0**power):
        with ht.trace(model, keep=["3"]) as t:
            model(images)
        by = lambda out, factor=factor: out[:, 1] * factor  # noqa: E731
        maps.append(t.cam("3", target=by, method=name).single.normalized(sign="keep"))
    assert torch.equal(*maps)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_cam_is_gradcam_times_the_number_of_positions(dims: int) -> None:
    model, images = net(dims), torch.randn(2, 3, *SIZES[dims], dtype=torch.double)
    with ht.trace(model, keep=["3"]) as t:
        model(images)
    maps = t.cam("3", target=[0, 2], method=["cam", "gradcam"])
    weights = model[6].weight[[0, 2]]
    wanted = torch.einsum("nk,nk...->n...", weights, t["3"].output).detach()
    torch.testing.assert_close(maps["cam"].raw, wanted, rtol=1e-10, atol=1e-14)
    positions = wanted[0].numel()
    torch.testing.assert_close(maps["gradcam"].raw * positions, wanted, rtol=1e-10, atol=1e-14)


def test_hirescam_sums_to_the_logit_less_the_bias() -> None:
    model, images = net(2), torch.randn(3, 3, 6, 5, dtype=torch.double)
    with ht.trace(model, keep=["3"]) as t:
        logits = model(images)
    found = t.cam("3", target=1, method="hirescam").raw.sum((1, 2))
    torch.testing.assert_close(found, (logits[:, 1] - model[6].bias[1]).detach())


@pytest.mark.parametrize("layer", ["0", "1"])
def test_cam_says_what_else_follows_the_layer(layer: str) -> None:
    model = net(2)
    with ht.trace(model, keep=[layer]) as t:
        model(torch.randn(1, 3, 6, 5, dtype=torch.double))
    with pytest.raises(MethodError, match=r"between .*@0 and the result"):
        t.cam(layer, target=0, method="cam")


def test_cam_notices_functional_code_before_the_pooling() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.head = nn.Linear(4, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.conv(images).relu().mean((2, 3)))

    model = Net()
    with ht.trace(model, keep=["conv"]) as t:
        model(torch.randn(1, 3, 6, 6))
    with pytest.raises(MethodError, match="Relu"):
        t.cam("conv", target=0, method="cam")


def test_shapleycam_corrects_by_the_hessian() -> None:
    model, images = net(2), torch.randn(1, 3, 6, 5, dtype=torch.double)
    with ht.trace(model, keep=["1"]) as t:
        model(images)
    found = t.cam("1", target=SoftmaxScore(2), method="shapleycam").raw
    activation = model[:2](images).detach()

    def score(a: Tensor) -> Tensor:
        return model[2:](a).softmax(1)[:, 2].sum()

    gradient = torch.autograd.functional.jacobian(score, activation)
    _, bent = torch.autograd.functional.hvp(score, activation, activation)
    assert bent.abs().max() > 0.01 * gradient.abs().max()
    weights = (gradient - bent / 2).mean((2, 3), keepdim=True)
    torch.testing.assert_close(found, (weights * activation).sum(1), rtol=1e-9, atol=1e-14)


def test_shapleycam_of_a_logit_of_a_relu_net_is_gradcam() -> None:
    model, images = net(2, smooth=False), torch.randn(2, 3, 6, 5, dtype=torch.double)
    with ht.trace(model, keep=["1"]) as t:
        model(images)
    maps = t.cam("1", target=1, method=["shapleycam", "gradcam"])
    assert torch.equal(maps["shapleycam"].raw, maps["gradcam"].raw)


def test_shapleycam_of_a_past_backward_says_what_it_lacks() -> None:
    model, images = net(2), torch.randn(1, 3, 6, 5, dtype=torch.double)
    with ht.trace(model, keep=["1"]) as t:
        model(images).sum().backward()
    with pytest.raises(NoGradientError, match="second derivative"):
        t.cam("1", target="backward", method="shapleycam")


def test_random_maps_are_repeatable_by_seed_and_leave_the_generator_alone() -> None:
    model, images = net(2), torch.randn(1, 3, 6, 5, dtype=torch.double)
    with ht.trace(model, keep=["1"]) as t:
        model(images)
    before = torch.get_rng_state()
    one, again = (t.cam("1", method="random", seed=4).raw for _ in range(2))
    other = t.cam("1", method="random", seed=5).raw
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


FORWARD_ONLY = ["fem", "random", "eigencam"]


@pytest.mark.parametrize("name", FORWARD_ONLY)
def test_what_needs_no_gradient_works_on_a_trace_without_a_graph(name: str) -> None:
    model, images = net(2).float(), torch.randn(1, 3, 6, 5)
    with ht.trace(model, keep=["1"]) as t, torch.no_grad():
        model(images)
    assert t.cam("1", method=name).raw.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["gradcam", "xgradcam", "hirescam", "layercam", "fem", "cam"])
def test_half_precision_is_reduced_in_float32(name: str, dtype: torch.dtype) -> None:
    model, images = net(2).to(dtype), torch.randn(1, 3, 6, 5).to(dtype)
    with ht.trace(model, keep=["3"]) as t:
        model(images)
    found = t.cam("3", target=1, method=name).raw
    assert found.dtype == torch.float32
    assert found.isfinite().all()
