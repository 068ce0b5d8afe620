"""FullGrad: the input and the biases make up the score, and the map is made of their parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import hooktrace as ht
from hooktrace.cam import METHODS
from hooktrace.cam.evidence import Evidence, Rerun
from hooktrace.cam.fullgradients import Parts, parts
from hooktrace.cam.making import layer_of
from hooktrace.cam.question import Question
from hooktrace.cam.targets import as_target
from hooktrace.errors import (
    GraphFreedError,
    MapShapeError,
    MethodError,
    MissingModelError,
    NoGradientError,
    NoGraphError,
    NotKeptError,
)
from hooktrace.views.calls import CallIndex

FullGrad: Any = METHODS["fullgrad"]
SIZES = {1: (16,), 2: (12, 10), 3: (6, 8, 6)}
KINDS: dict[int, Any] = {
    1: (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.ConvTranspose1d, nn.AdaptiveAvgPool1d),
    2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.ConvTranspose2d, nn.AdaptiveAvgPool2d),
    3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.ConvTranspose3d, nn.AdaptiveAvgPool3d),
}


class Residual(nn.Module):
    """A ReLU network with everything that has a bias, in-place code, and a layer called twice."""

    def __init__(self, dims: int = 2, inplace: bool = True) -> None:
        super().__init__()
        conv, norm, pool, up, average = KINDS[dims]
        self.stem = conv(3, 6, 3, padding=1, bias=False)
        self.norm = norm(6)
        self.plain = norm(6, affine=False)
        self.twice = conv(6, 6, 3, padding=1)
        self.pool = pool(2)
        self.up = up(6, 5, 2, stride=2)
        self.late = conv(5, 5, 3, stride=2)
        self.act = nn.ReLU(inplace=inplace)
        self.average = average(1)
        self.hidden = nn.Linear(5, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, images: Tensor) -> Tensor:
        out = self.act(self.norm(self.stem(images)))
        identity = out
        out = self.twice(self.act(self.plain(self.twice(out))))
        out += identity
        out = self.act(self.late(self.act(self.up(self.pool(self.act(out))))))
        return self.head(self.act(self.hidden(self.average(out).flatten(1))))


def made(dims: int = 2, **options: Any) -> Residual:
    torch.manual_seed(dims)
    model = Residual(dims, **options).double().eval()
    for module in model.modules():
        if isinstance(module, KINDS[dims][1]):
            module.running_mean.normal_()  # type: ignore[union-attr,operator]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr,operator]
            if module.affine:
                nn.init.normal_(module.weight)  # type: ignore[arg-type]
                nn.init.normal_(module.bias)  # type: ignore[arg-type]
    return model


def batch(dims: int = 2) -> Tensor:
    return torch.randn(2, 3, *SIZES[dims], dtype=torch.double)


def parts_of(model: nn.Module, images: Tensor, layer: str, target: Any) -> Parts:
    with ht.trace(model, keep=True) as t:
        model(images)
    calls = CallIndex(t.log).refresh()
    made_of = layer_of(calls, calls.one(layer))
    question = Question(calls, made_of.call.root, as_target(target), "a score")
    return parts(Evidence(calls, made_of, [made_of], question, Rerun(model, (images,), {})))


def by_pytorch(
    model: nn.Module, images: Tensor, target: int
) -> tuple[Tensor, list[tuple[type[nn.Module], Tensor]]]:
    """Return x g_x, and b g of each layer call in order, by PyTorch alone.

    The bias of a layer is what it returns for zeros, which needs no formula.
    """
    images = images.detach().requires_grad_()
    seen: list[tuple[type[nn.Module], Tensor, Tensor]] = []
    biased = ("Conv", "BatchNorm", "Linear")

    def keep(module: Any, args: Any, out: Tensor) -> Tensor:
        with torch.no_grad():
            seen.append((type(module), out, module.forward(torch.zeros_like(args[0]))))
        return out.clone()  # so that nobody writes to what is differentiated for

    layers = [one for one in model.modules() if type(one).__name__.startswith(biased)]
    handles = [one.register_forward_hook(keep) for one in layers]
    score = model(images)[:, target].sum()
    for handle in handles:
        handle.remove()
    first, *rest = torch.autograd.grad(score, [images, *(out for _, out, _ in seen)])
    found = [(kind, g * bias) for (kind, _, bias), g in zip(seen, rest, strict=True) if bias.any()]
    return (first * images).detach(), found


# ------------------------------------------------------------------ completeness


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_parts_of_a_relu_network_sum_to_the_logit(dims: int) -> None:
    model, images = made(dims), batch(dims).requires_grad_()
    found = parts_of(model, images, "norm", [2, 0])
    wanted = model(images)[[0, 1], [2, 0]].detach()
    torch.testing.assert_close(found.sum(), wanted, rtol=1e-10, atol=1e-10)
    assert found.image.flatten(1).sum(1).sub(wanted).abs().min() > 0.01  # the biases do matter


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_parts_are_gradients_times_input_and_biases(dims: int) -> None:
    model, images = made(dims), batch(dims).requires_grad_()
    found = parts_of(model, images, "norm", 1)
    image, biases = by_pytorch(model, images, 1)
    torch.testing.assert_close(found.image, image)
    assert len(biases) == len(found.biases) == 8  # `twice` counts twice, `stem` has none
    for one, (_, wanted) in zip(found.biases.values(), biases, strict=True):
        torch.testing.assert_close(one, wanted)


def test_parts_are_named_by_calls_and_say_which_of_them_are_maps() -> None:
    found = parts_of(made(), batch().requires_grad_(), "norm", 1)
    spatial = ["norm@0", "plain@0", "twice@0", "twice@1", "up@0", "late@0"]
    assert sorted(found.biases) == sorted([*spatial, "hidden@0", "head@0"])
    assert found.spatial == set(spatial)


def test_a_linear_layer_on_positions_is_no_map_of_the_image() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.mix, self.head = nn.Conv1d(3, 4, 3), nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, series: Tensor) -> Tensor:
            return self.head(self.mix(self.conv(series).relu().transpose(1, 2)).relu().mean(1))

    torch.manual_seed(0)
    model, series = Positions().double().eval(), batch(1).requires_grad_()
    found = parts_of(model, series, "conv", 1)
    assert found.spatial == {"conv@0"}
    torch.testing.assert_close(found.sum(), model(series)[:, 1].detach())


def test_what_is_overwritten_in_place_makes_no_difference() -> None:
    images = batch().requires_grad_()
    one, other = (parts_of(made(inplace=way), images, "norm", 1) for way in (True, False))
    for name, part in one.biases.items():
        torch.testing.assert_close(part, other.biases[name], rtol=0, atol=0)


def test_the_map_says_what_its_parts_sum_to() -> None:
    model, images = made(), batch().requires_grad_()
    with ht.trace(model, keep=True) as t:
        model(images)
    found = t.cam("norm", target=1, method="fullgrad", model=model, inputs=images).single
    torch.testing.assert_close(found.extra["sum"], found.scores)


# ------------------------------------------------------------------ the map


def scaled(values: Any) -> Any:
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else values * 0


def psi(terms: Tensor, size: tuple[int, ...], rescale: str) -> Tensor:
    """Return psi of one layer as the paper has it: every channel is resized, then summed."""
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    maps = []
    for image in terms.abs().numpy():
        rows = scaled(image) if rescale == "layer" else np.stack([scaled(one) for one in image])
        layer = torch.from_numpy(rows).unsqueeze(0)
        resized = functional.interpolate(layer, size, mode=mode, align_corners=rescale == "layer")
        maps.append(resized[0].sum(0))
    return torch.stack(maps)


@pytest.mark.parametrize("rescale", ["layer", "channel"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_map_is_the_sum_of_the_rescaled_parts(dims: int, rescale: str) -> None:
    model, images = made(dims), batch(dims).requires_grad_()
    with ht.trace(model, keep=True) as t:
        model(images)
    way = FullGrad(rescale=rescale)
    found = t.cam("norm", target=1, method=way, model=model, inputs=images).raw
    image, biases = by_pytorch(model, images, 1)
    maps = [term for kind, term in biases if kind is not nn.Linear]
    wanted = sum(psi(one, SIZES[dims], rescale) for one in (image, *maps))
    assert found.shape == (2, *SIZES[dims])
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_the_layer_that_is_named_makes_no_difference() -> None:
    model, images = made(), batch().requires_grad_()
    with ht.trace(model, keep=True) as t:
        model(images)
    given = {"target": 1, "method": "fullgrad", "model": model, "inputs": images}
    assert torch.equal(t.cam("norm", **given).raw, t.cam("twice@1", **given).raw)


def test_scaling_the_score_changes_nothing() -> None:
    model, images = made(), batch().requires_grad_()
    with ht.trace(model, keep=True) as t:
        model(images)
    maps = [
        t.cam("norm", target=by, method="fullgrad", model=model, inputs=images).raw
        for by in (lambda out: out[:, 1], lambda out: out[:, 1] * 2.0**-13)
    ]
    assert torch.equal(*maps)


def test_explain_arranges_it_for_a_frozen_model() -> None:
    model, images = made(), batch()
    with ht.trace(model, keep=True) as t:
        seen = images.clone().requires_grad_()
        model(seen)
    wanted = t.cam("norm", target=1, method="fullgrad", model=model, inputs=seen).raw
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        found = ht.explain(model, images, target=1, method="fullgrad")
    torch.testing.assert_close(found.raw, wanted)
    assert not images.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    model, images = made().to(dtype), batch().to(dtype).requires_grad_()
    found = ht.explain(model, images, target=1, method="fullgrad", layer="norm")
    assert found.raw.dtype == torch.float32
    assert found.raw.isfinite().all()


def test_a_head_that_the_score_does_not_depend_on_adds_nothing() -> None:
    class TwoHeads(Residual):
        def forward(self, images: Tensor) -> Any:
            out = self.norm(self.stem(images))
            return {
                "out": self.head(self.hidden(self.up(out).mean((2, 3)))),
                "aux": self.twice(out),
            }

    torch.manual_seed(0)
    model, images = TwoHeads().double().eval(), batch().requires_grad_()
    found = parts_of(model, images, "norm", 1)
    assert "twice@0" not in found.biases
    torch.testing.assert_close(found.sum(), model(images)["out"][:, 1].detach())


# ------------------------------------------------------------------ what it lacks


def test_layers_that_were_not_kept_are_named() -> None:
    model, images = made(), batch().requires_grad_()
    with ht.trace(model, keep=["norm", "up"]) as t:
        model(images)
    with pytest.raises(NotKeptError, match=r"twice@0, plain@0.*keep=True.*ht\.explain") as caught:
        t.cam("norm", target=1, method="fullgrad", model=model, inputs=images)
    assert "stem" not in str(caught.value)  # it has no bias
    assert "norm@0" not in str(caught.value)


def test_an_image_that_requires_no_gradient_is_refused() -> None:
    model, images = made(), batch()
    with ht.trace(model, keep=True) as t:
        model(images)
    with pytest.raises(NoGraphError, match=r"require none.*requires_grad_\(\).*ht\.explain"):
        t.cam("norm", target=1, method="fullgrad", model=model, inputs=images)


def test_other_images_than_those_that_were_traced_are_refused() -> None:
    model, images = made(), batch().requires_grad_()
    with ht.trace(model, keep=True) as t:
        model(images)
    other = (images.detach() + 1).requires_grad_()
    with pytest.raises(NoGraphError, match="not those that were traced"):
        t.cam("norm", target=1, method="fullgrad", model=model, inputs=other)
    with pytest.raises(MapShapeError, match="holds no batch"):
        t.cam("norm", target=1, method="fullgrad", model=model, inputs=images[:, :, 1:])


def test_the_model_is_needed() -> None:
    model, images = made(), batch().requires_grad_()
    with ht.trace(model, keep=True) as t:
        model(images)
    with pytest.raises(MissingModelError, match="fullgrad"):
        t.cam("norm", target=1, method="fullgrad")
    with pytest.raises(MethodError, match="Give the model that was traced"):
        t.cam("norm", target=1, method="fullgrad", model=model.norm, inputs=images)


def test_batch_statistics_are_refused() -> None:
    model, images = made().train(), batch().requires_grad_()
    with ht.trace(model, keep=True) as t:
        model(images)
    with pytest.raises(MethodError, match=r"norm@0 normalised by the statistics of the batch"):
        t.cam("norm", target=1, method="fullgrad", model=model, inputs=images)


def test_a_graph_that_was_freed_and_a_past_backward_are_refused() -> None:
    model, images = made(), batch().requires_grad_()
    with ht.trace(model, keep=True) as t:
        model(images).sum().backward()
    given = {"method": "fullgrad", "model": model, "inputs": images}
    with pytest.raises(GraphFreedError, match="retain_graph"):
        t.cam("norm", target=1, **given)
    with pytest.raises(NoGradientError, match="starts from the score"):
        t.cam("norm", target="backward", **given)


def test_a_scale_that_it_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="layer or channel"):
        FullGrad(rescale="image")
