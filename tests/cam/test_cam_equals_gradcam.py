"""CAM needs pooling and one linear layer; where it has them it is Grad-CAM up to a constant."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hooktrace as ht
from hooktrace.cam.targets import SeveralClasses
from hooktrace.errors import GraphFreedError, MethodError, NoGradientError, NoGraphError

POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "adaptive": lambda a: nn.functional.adaptive_avg_pool2d(a, 1).flatten(1),
    "average": lambda a: nn.functional.avg_pool2d(a, (6, 5)).flatten(1),
    "mean": lambda a: a.mean((2, 3)),
    "mean of flat": lambda a: a.flatten(2).mean(-1),
    "channels last": lambda a: a.permute(0, 2, 3, 1).flatten(1, 2).mean(1),
}


class Pooled(nn.Module):
    """A convolution, some pooling and a linear layer; `between` changes what the head is given."""

    def __init__(
        self,
        pool: Callable[[Tensor], Tensor] = POOLS["mean"],
        head: nn.Module | None = None,
        between: Callable[[Any], Any] = lambda features: features,
        dtype: torch.dtype = torch.double,
    ) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.layer = nn.Conv2d(3, 7, 3, padding=1)
        self.head = head or nn.Linear(7, 4)
        self.pool, self.between = pool, between
        self.to(dtype)

    def forward(self, images: Tensor) -> Any:
        return self.head(self.between(self.pool(self.layer(images))))


def images(dtype: torch.dtype = torch.double) -> Tensor:
    return torch.randn(2, 3, 6, 5, dtype=torch.double).to(dtype)


def traced(model: nn.Module, x: Tensor) -> ht.Recording:
    with ht.trace(model, keep=["layer"]) as t:
        model(x)
    return t


def expected(model: Any, x: Tensor, classes: list[int]) -> Tensor:
    weight = model.head.weight.detach().flatten(1)[classes]
    return torch.einsum("nk,nkhw->nhw", weight, model.layer(x).detach())


# ------------------------------------------------------------------ where it applies


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("pool", POOLS)
def test_the_weights_are_those_of_the_head_whatever_pools(pool: str, bias: bool) -> None:
    model, x = Pooled(POOLS[pool], nn.Linear(7, 4, bias=bias)), images()
    maps = traced(model, x).cam("layer", target=[3, 1], method=["cam", "gradcam"])
    torch.testing.assert_close(maps["cam"].raw, expected(model, x, [3, 1]), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(maps["gradcam"].raw * 30, maps["cam"].raw, rtol=1e-12, atol=1e-14)


def test_the_mean_of_cam_and_the_sum_of_hirescam_are_the_logit_less_the_bias() -> None:
    model, x = Pooled(), images()
    maps = traced(model, x).cam("layer", target=2, method=["cam", "hirescam"])
    wanted = (model(x)[:, 2] - model.head.bias[2]).detach()
    torch.testing.assert_close(maps["cam"].raw.mean((1, 2)), wanted)
    torch.testing.assert_close(maps["hirescam"].raw.sum((1, 2)), wanted)


def test_a_convolution_of_one_by_one_is_a_linear_head() -> None:
    model = Pooled(lambda a: a.mean((2, 3), keepdim=True), nn.Conv2d(7, 4, 1))
    model.register_forward_hook(lambda _module, _args, result: result.flatten(1))
    x = images()
    found = traced(model, x).cam("layer", target=[0, 2], method="cam").raw
    torch.testing.assert_close(found, expected(model, x, [0, 2]), rtol=1e-12, atol=1e-14)


def test_dropout_in_evaluation_and_other_results_do_not_disturb() -> None:
    class Several(Pooled):
        def forward(self, images: Tensor) -> Any:
            features = self.layer(images)
            pooled = nn.functional.dropout(self.pool(features), training=False)
            return {"logits": self.head(pooled), "features": features.tanh(), "pooled": pooled}

    model, x = Several(), images()
    found = traced(model, x).cam("layer", target=1, method="cam").raw
    torch.testing.assert_close(found, expected(model, x, [1, 1]), rtol=1e-12, atol=1e-14)


def test_for_several_classes_the_weights_are_summed() -> None:
    model, x = Pooled(), images()
    t = traced(model, x)
    found = t.cam("layer", target=SeveralClasses([0, 3]), method="cam").raw
    wanted = sum(expected(model, x, [one, one]) for one in (0, 3))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)


def test_a_hook_that_wraps_the_layer_for_backward_does_not_disturb() -> None:
    model, x = Pooled(), images()
    model.layer.register_full_backward_hook(lambda *_: None)
    found = traced(model, x).cam("layer", target=1, method="cam").raw
    torch.testing.assert_close(found, expected(model, x, [1, 1]), rtol=1e-12, atol=1e-14)


def test_channels_last_in_memory_does_not_disturb() -> None:
    model = Pooled(POOLS["adaptive"]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = images().to(memory_format=torch.channels_last)
    found = traced(model, x).cam("layer", target=1, method="cam").raw
    torch.testing.assert_close(found, expected(model, x, [1, 1]), rtol=1e-12, atol=1e-14)


def test_tokens_without_a_place_in_space_count_in_the_mean() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 7, 2, 2)
            self.layer, self.head = nn.Linear(7, 7), nn.Linear(7, 4)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.patches(images).flatten(2).mT
            tokens = torch.cat([torch.ones_like(tokens[:, :1]), tokens], 1)
            return self.head(self.layer(tokens).mean(1))

    model, x = Tokens().double(), torch.randn(1, 3, 8, 8, dtype=torch.double)
    t = traced(model, x)
    found = t.cam("layer", target=1, method="cam").raw
    tokens = t["layer"].output[:, 1:].detach()
    wanted = (tokens @ model.head.weight[1]).reshape(1, 4, 4).detach()
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)


# ------------------------------------------------------------------ where it does not


class Gated(nn.Module):
    """A head whose weights depend on the features."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(7, 4)

    def forward(self, features: Tensor) -> Tensor:
        return features @ features.T @ self.inner(features)


OTHERS: dict[str, tuple[Any, str]] = {
    "two linear layers": (
        lambda: Pooled(head=nn.Sequential(nn.Linear(7, 7), nn.Linear(7, 4))),
        "Mean, Addmm, Addmm",
    ),
    "a nonlinear head": (
        lambda: Pooled(head=nn.Sequential(nn.Linear(7, 4), nn.Tanh())),
        "Mean, Addmm, Tanh",
    ),
    "an activation before": (lambda: Pooled(lambda a: a.relu().mean((2, 3))), "Relu, Mean, Addmm"),
    "the largest instead of the mean": (lambda: Pooled(lambda a: a.amax((2, 3))), "Amax, Addmm"),
    "dropout in training": (
        lambda: Pooled(between=lambda f: nn.functional.dropout(f, training=True)),
        "Dropout|Mul",
    ),
    "features that meet themselves": (lambda: Pooled(head=Gated()), "several ways"),
    "a second way around": (
        lambda: Pooled(lambda a: a.mean((2, 3)) + a.amax((2, 3))),
        "several ways",
    ),
    "no pooling": (
        lambda: Pooled(lambda a: a.flatten(1), nn.Linear(7 * 30, 4)),
        "View, Addmm",
    ),
    "pooling of parts": (
        lambda: Pooled(
            lambda a: nn.functional.avg_pool2d(a, (3, 5)).flatten(1), nn.Linear(7 * 2, 4)
        ),
        "different weights",
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_anything_else_is_refused_and_named(what: str) -> None:
    make, named = OTHERS[what]
    t = traced(make(), images())
    with pytest.raises(MethodError, match=named):
        t.cam("layer", target=1, method="cam")


def test_the_gradients_of_a_past_backward_name_no_class() -> None:
    model = Pooled()
    with ht.trace(model, keep=["layer"]) as t:
        model(images()).sum().backward()
    with pytest.raises(NoGradientError, match="needs to know the score"):
        t.cam("layer", target="backward", method="cam")


# ------------------------------------------------------------------ without a graph


DTYPES = [torch.double, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_a_graph_the_weights_are_the_models(dtype: torch.dtype) -> None:
    model, x = Pooled(dtype=dtype), images(dtype)
    with torch.no_grad():
        t = traced(model, x)
    found = t.cam("layer", target=[3, 1], method="cam", model=model, inputs=x).raw
    wanted = torch.einsum(
        "nk,nkhw->nhw", model.head.weight[[3, 1]].double(), model.layer(x).double()
    ).detach()
    exact = (
        {"rtol": 1e-12, "atol": 1e-14} if dtype == torch.double else {"rtol": 1e-5, "atol": 1e-6}
    )
    torch.testing.assert_close(found.double(), wanted, **exact)


def test_without_a_graph_and_a_model_it_says_what_is_missing() -> None:
    model, x = Pooled(), images()
    with torch.no_grad():
        t = traced(model, x)
    with pytest.raises(NoGraphError, match=r"Or give t\.cam\(\) model= and inputs="):
        t.cam("layer", target=1, method="cam")


def test_a_freed_graph_is_replaced_by_the_model() -> None:
    model, x = Pooled(), images()
    with ht.trace(model, keep=["layer"]) as t:
        model(x).sum().backward()
    with pytest.raises(GraphFreedError):
        t.cam("layer", target=1, method="cam")
    found = t.cam("layer", target=1, method="cam", model=model, inputs=x).raw
    torch.testing.assert_close(found, expected(model, x, [1, 1]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_whose_weights_do_not_give_the_recorded_logits_is_refused(
    dtype: torch.dtype,
) -> None:
    model, x = Pooled(dtype=dtype), images(dtype)
    with torch.no_grad():
        t = traced(model, x)
    trained = copy.deepcopy(model)
    with torch.no_grad():
        trained.head.weight.mul_(1.5)
    with pytest.raises(MethodError, match="the weights have changed since"):
        t.cam("layer", target=1, method="cam", model=trained, inputs=x)


@pytest.mark.parametrize("what", ["a nonlinear head", "an activation before"])
def test_without_a_graph_anything_else_is_refused_too(what: str) -> None:
    model, x = OTHERS[what][0](), images()
    with torch.no_grad():
        t = traced(model, x)
    with pytest.raises(MethodError, match="recorded logits are not those"):
        t.cam("layer", target=1, method="cam", model=model, inputs=x)


def test_without_a_graph_a_target_without_a_class_is_refused() -> None:
    model, x = Pooled(), images()
    with torch.no_grad():
        t = traced(model, x)
    with pytest.raises(MethodError, match="needs a class as target"):
        t.cam("layer", target=SeveralClasses([0, 3]), method="cam", model=model, inputs=x)


def test_a_model_that_calls_no_linear_module_is_told_so() -> None:
    model = Pooled(lambda a: a.mean((2, 3), keepdim=True), nn.Conv2d(7, 4, 1))
    model.register_forward_hook(lambda _module, _args, result: result.flatten(1))
    x = images()
    with torch.no_grad():
        t = traced(model, x)
    with pytest.raises(MethodError, match="called no module of type Linear"):
        t.cam("layer", target=1, method="cam", model=model, inputs=x)


def test_a_last_linear_layer_that_does_not_take_the_channels_is_refused() -> None:
    model, x = Pooled(head=nn.Sequential(nn.Linear(7, 9), nn.Linear(9, 4))), images()
    with torch.no_grad():
        t = traced(model, x)
    with pytest.raises(MethodError, match=r"head\.1, takes 9 features .* has 7 channels"):
        t.cam("layer", target=1, method="cam", model=model, inputs=x)
