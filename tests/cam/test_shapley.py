"""ShapleyCAM, and the Hessian of a score for what a layer returned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hvp, jacobian
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchvision.models import VisionTransformer

import hooktrace as ht
from hooktrace.cam.question import Question
from hooktrace.cam.targets import SoftmaxScore
from hooktrace.errors import GraphFreedError, MethodError
from hooktrace.views.calls import CallIndex

pytestmark = pytest.mark.filterwarnings("ignore::hooktrace.errors.BlankMapWarning")

CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
SIZES = {1: (7,), 2: (4, 5), 3: (3, 4, 3)}


def net(dims: int = 2, act: Callable[[], nn.Module] = nn.Softplus) -> nn.Sequential:
    torch.manual_seed(dims)
    return nn.Sequential(
        CONVOLUTIONS[dims](3, 4, 3, padding=1),
        act(),
        CONVOLUTIONS[dims](4, 5, 3, padding=1),
        nn.GELU() if act is nn.Softplus else act(),
        nn.Flatten(),
        nn.LazyLinear(3),
    ).double()


def batch(dims: int = 2, count: int = 2) -> Tensor:
    return torch.randn(count, 3, *SIZES[dims], dtype=torch.double)


def squared(output: Tensor) -> Tensor:
    return output[:, 0] ** 2 * output[:, 1] + output[:, 2].sin()


TARGETS = {
    "a logit": lambda out: out[:, 1],
    "a probability": SoftmaxScore(1),
    "a polynomial": squared,
}


def curvature(model: nn.Sequential, images: Tensor, name: str, score: Any, v: Tensor) -> Tensor:
    with ht.trace(model, keep=[name]) as t:
        model(images)
    calls = CallIndex(t.log).refresh()
    call = calls.one(name)
    return Question(calls, call.root, score, "a score").curvature((call.id, "output"), v)


def score_from(model: nn.Sequential, layer: int, score: Any) -> Callable[[Tensor], Tensor]:
    return lambda activation: score(model[layer + 1 :](activation)).sum()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("layer", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_curvature_is_the_product_of_hessian_and_direction(
    dims: int, layer: int, target: str
) -> None:
    model, images, score = net(dims), batch(dims), TARGETS[target]
    model(images)  # the lazy layer gets its shape
    activation = model[: layer + 1](images).detach()
    direction = torch.randn_like(activation)
    found = curvature(model, images, str(layer), score, direction)
    _, wanted = hvp(score_from(model, layer, score), activation, direction)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-13)
    if not (target == "a logit" and layer in (3, 5)):  # from there on a logit is linear
        assert wanted.abs().max() > 1e-6


def test_curvature_of_a_nonlinear_score_of_a_relu_net_is_that_of_the_score() -> None:
    model, images = net(act=nn.ReLU), batch()
    model(images)
    activation = model[:2](images).detach()
    direction = torch.randn_like(activation)
    found = curvature(model, images, "1", squared, direction)
    _, wanted = hvp(score_from(model, 1, squared), activation, direction)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-13)
    assert wanted.abs().max() > 1e-6


def test_curvature_is_of_each_image_by_itself() -> None:
    model, images = net(), batch(count=3)
    model(images)
    direction = torch.randn_like(model[:2](images))
    whole = curvature(model, images, "1", squared, direction)
    for number in range(3):
        one = slice(number, number + 1)
        alone = curvature(model, images[one], "1", squared, direction[one])
        torch.testing.assert_close(whole[one], alone, rtol=1e-9, atol=1e-13)


def test_curvature_fills_no_gradient_and_can_be_asked_again() -> None:
    model, images = net(), batch()
    model(images)
    direction = torch.randn_like(model[:2](images))
    with ht.trace(model, keep=["1"]) as t:
        logits = model(images)
    calls = CallIndex(t.log).refresh()
    call = calls.one("1")
    question = Question(calls, call.root, squared, "a score")
    first, second = (question.curvature((call.id, "output"), direction) for _ in range(2))
    assert torch.equal(first, second)
    assert all(one.grad is None for one in model.parameters())
    logits.sum().backward()  # the graph is still there
    with pytest.raises(GraphFreedError):
        question.curvature((call.id, "output"), direction)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_map_is_that_of_the_paper(dims: int) -> None:
    model, images = net(dims), batch(dims)
    model(images)
    with ht.trace(model, keep=["1"]) as t:
        model(images)
    found = t.cam("1", target=SoftmaxScore(1), method="shapleycam").raw
    activation = model[:2](images).detach()
    score = score_from(model, 1, SoftmaxScore(1))
    gradient = jacobian(score, activation)
    _, bent = hvp(score, activation, activation)
    wanted = torch.zeros(2, *SIZES[dims], dtype=torch.double)
    for image in range(2):
        for channel in range(4):
            weight = (gradient[image, channel] - bent[image, channel] / 2).mean()
            wanted[image] += weight * activation[image, channel]
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-14)
    plain = t.cam("1", target=SoftmaxScore(1)).raw
    assert (found - plain).abs().max() > 0.01 * plain.abs().max()  # the correction does matter


def test_channels_may_come_last() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.rest = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)
            self.head = nn.Linear(4, 3)

        def forward(self, images: Tensor) -> Tensor:
            seen = self.rest(self.first(images).permute(0, 2, 3, 1))
            return self.head(nn.functional.gelu(seen).mean((1, 2)))

    torch.manual_seed(0)
    model, images = Last().double(), torch.randn(2, 3, 7, 6, dtype=torch.double)
    with ht.trace(model, keep=["rest"]) as t:
        model(images)
    found = t.cam("rest", target=SoftmaxScore(1), method="shapleycam").raw
    seen = model.rest(model.first(images).permute(0, 2, 3, 1)).detach()

    def score(given: Tensor) -> Tensor:
        return model.head(nn.functional.gelu(given).mean((1, 2))).softmax(1)[:, 1].sum()

    _, bent = hvp(score, seen, seen)
    weights = (jacobian(score, seen) - bent / 2).mean((1, 2), keepdim=True)
    torch.testing.assert_close(found, (weights * seen).sum(3), rtol=1e-9, atol=1e-14)


def test_an_overwritten_layer_has_the_map_of_its_twin() -> None:
    maps = []
    for inplace in (True, False):
        model = net(act=lambda inplace=inplace: nn.SiLU(inplace=inplace))  # type: ignore[misc]
        model.append(nn.Softplus())
        torch.manual_seed(1)
        images = batch()
        model(images)
        nn.init.normal_(model[5].weight)  # type: ignore[arg-type]
        nn.init.zeros_(model[5].bias)  # type: ignore[arg-type]
        with ht.trace(model, keep=["2"]) as t:
            model(images)
        maps.append(t.cam("2", target=SoftmaxScore(1), method="shapleycam").raw)
    torch.testing.assert_close(*maps, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    model = net()
    model(batch())
    model, images = model.to(dtype), batch().to(dtype)
    with ht.trace(model, keep=["1"]) as t:
        model(images)
    found = t.cam("1", target=SoftmaxScore(1), method="shapleycam").raw
    assert found.dtype == torch.float32
    assert found.isfinite().all()


def test_fused_attention_is_refused_and_plain_attention_is_not() -> None:
    model = VisionTransformer(12, 4, 2, 2, 8, 16, num_classes=3).double().eval()
    nn.init.normal_(model.heads[0].weight)
    images, name = torch.randn(2, 3, 12, 12, dtype=torch.double), "encoder.layers.encoder_layer_0"
    options: Any = {"target": SoftmaxScore(1), "method": "shapleycam", "layer": name}
    with pytest.raises(MethodError, match=r"second derivative.*SDPBackend\.MATH"):
        ht.explain(model, images, **options)
    with sdpa_kernel(SDPBackend.MATH):
        found = ht.explain(model, images, **options).raw
        tokens = model.encoder.dropout(
            torch.cat([model.class_token.expand(2, -1, -1), model._process_input(images)], 1)
            + model.encoder.pos_embedding
        )
        seen = model.encoder.layers[0](tokens).detach()

        def score(given: Tensor) -> Tensor:
            out = model.encoder.ln(model.encoder.layers[1](given))
            return model.heads(out[:, 0]).softmax(1)[:, 1].sum()

        _, bent = hvp(score, seen, seen)
        places = (jacobian(score, seen) - bent / 2)[:, 1:]
    wanted = (places.mean(1, keepdim=True) * seen[:, 1:]).sum(2).reshape(2, 3, 3)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-14)
