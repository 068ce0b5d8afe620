"""Summaries held to torchinfo, and where that errs, to what PyTorch and torchvision say."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import hooktrace as ht

models = pytest.importorskip("torchvision").models
torchinfo = pytest.importorskip("torchinfo")

WITH_MORE = ("googlenet",)
"""Models that are made with auxiliary heads, which their published weights leave out."""


def made(name: str) -> nn.Module:
    device = "cpu" if "regnet" in name else "meta"
    with torch.device(device), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: nn.Module = models.get_model(name, weights=None)
    return model.eval()


def published(name: str) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Return what torchvision says of a model, and the shape of the images it was measured with."""
    known = models.get_model_weights(name).__members__
    weights = known.get("IMAGENET1K_V1") or known["IMAGENET1K_SWAG_LINEAR_V1"]
    crop = weights.transforms.keywords["crop_size"]
    return weights.meta, (1, 3, crop, crop)


@pytest.mark.parametrize("name", models.list_models(models))
def test_a_model_of_torchvision_has_the_numbers_that_are_published(name: str) -> None:
    model = made(name)
    meta, shape = published(name)
    ours = ht.summary(model, shape, flops=True, device="meta")
    sizes = ours.totals.sizes
    assert sizes.parameters == sum(one.numel() for one in model.parameters())
    assert sizes.parameters == sum(row.own.parameters for row in ours)
    if name not in WITH_MORE:
        assert sizes.parameters == meta["num_params"]
    assert (ours.totals.cost.flops or 0) / 2e9 == pytest.approx(meta["_ops"], abs=6e-4)
    info = torchinfo.summary(model.to("meta"), input_size=shape, device="meta", verbose=0)
    assert (sizes.parameters, sizes.trainable) == (info.total_params, info.trainable_params)
    shapes = {
        id(one.module): tuple(one.output_size)
        for one in info.summary_list
        if one.executed and not one.is_recursive and one.is_leaf_layer
    }
    compared = 0
    for row in ht.summary(model, shape):
        seen = shapes.get(id(model.get_submodule(row.name)))
        if seen is not None and row.calls == 1 and len(row.outputs) == 1:
            assert row.outputs[0].shape == seen, row.name
            compared += 1
    assert compared > 10


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t"])
def test_torchinfo_misses_the_operations_of_transformers(name: str) -> None:
    """It multiplies a layer's weights by the batch, not by the tokens, and knows no attention."""
    meta, shape = published(name)
    info = torchinfo.summary(made(name), input_size=shape, device="meta", verbose=0)
    assert info.total_mult_adds / 1e9 < 0.02 * meta["_ops"]


def test_torchinfo_counts_a_bias_as_a_multiplication_and_we_do_not() -> None:
    model = nn.Conv2d(3, 4, 3)
    ours = ht.summary(model, (2, 3, 8, 8), flops=True).totals.cost.flops or 0
    info = torchinfo.summary(model, input_size=(2, 3, 8, 8), verbose=0)
    assert info.total_mult_adds - ours / 2 == 2 * 6 * 6 * 4


# ------------------------------------------------------------------ shared parameters, recursion


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embed(tokens))


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Sequential(self.first, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


class Held(nn.Module):
    """A parameter of its own beside a child's."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.scale


AWKWARD: dict[str, tuple[Any, tuple[int, ...], torch.dtype]] = {
    "tied": (Tied, (2, 5), torch.long),
    "shared": (Shared, (2, 4), torch.float),
    "twice": (Twice, (2, 3), torch.float),
    "held": (Held, (2, 4), torch.float),
    "weight_norm": (lambda: parametrizations.weight_norm(nn.Linear(4, 3)), (2, 4), torch.float),
    "lstm": (lambda: nn.LSTM(3, 4, 2), (5, 2, 3), torch.float),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_parameters_are_those_that_an_optimizer_would_get(name: str) -> None:
    make, shape, kind = AWKWARD[name]
    model = make()
    ours = ht.summary(model, shape, dtypes=kind)
    assert ours.totals.sizes.parameters == sum(one.numel() for one in model.parameters())
    assert sum(row.own.parameters for row in ours) == ours.totals.sizes.parameters
    assert len(ours) == len(list(model.modules()))


def test_torchinfo_counts_a_tied_weight_twice() -> None:
    model = Tied()
    info = torchinfo.summary(model, input_size=(2, 5), dtypes=[torch.long], verbose=0)
    assert info.total_params == 80
    assert ht.summary(model, (2, 5), dtypes=torch.long).totals.sizes.parameters == 40


def test_torchinfo_has_a_row_for_every_call_and_we_for_every_module() -> None:
    info = torchinfo.summary(Twice(), input_size=(2, 3), verbose=0)
    assert str(info).count("(recursive)") == 1
    ours = ht.summary(Twice(), (2, 3))
    assert [(row.name, row.calls) for row in ours] == [("", 1), ("layer", 2)]
