"""Feature maps: the same pixels as torchvision's own ``save_image``."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.utils import save_image

import hooktrace as ht
from hooktrace.errors import MapShapeError, MissingExtraError, NotKeptError, UnknownNameError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3)
        self.act = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(5, 2, 3, stride=2)
        self.head = nn.Linear(2, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.act(self.first(x)))
        return self.head(x.mean((2, 3)))


def traced(keep: Any = True) -> tuple[ht.Trace, Net]:
    torch.manual_seed(0)
    model = Net()
    with ht.trace(model, keep=keep) as t:
        model(torch.randn(2, 3, 12, 10))
    return t, model


def pixels(image: Any) -> torch.Tensor:
    return torch.tensor(np.asarray(image.convert("RGB"))).int()


@pytest.mark.parametrize(
    "options",
    [
        {"normalize": True, "scale_each": True},
        {"normalize": True, "scale_each": False, "nrow": 2},
        {"normalize": False, "padding": 5},
        {"normalize": True, "value_range": (-1.0, 1.0), "scale_each": False},
    ],
)
def test_the_pixels_are_those_that_torchvision_would_save(tmp_path, options):
    t, _ = traced()
    save_image(t["first"].output[1].unsqueeze(1), tmp_path / "theirs.png", **options)
    drawn = t.feature_maps("first", item=1, **options)
    with Image.open(tmp_path / "theirs.png") as theirs:
        assert torch.equal(pixels(drawn), pixels(theirs))


def test_what_is_drawn_is_what_the_convolution_returned_not_what_the_relu_left():
    t, model = traced()
    torch.manual_seed(0)
    Net()
    x = torch.randn(2, 3, 12, 10)
    (returned,) = (model.first(x)[0].detach(),)
    drawn = pixels(t.feature_maps("first", nrow=1, padding=0, normalize=True))[..., 0]
    tiles = drawn.reshape(5, 10, 8)
    low, high = returned.amin((1, 2), keepdim=True), returned.amax((1, 2), keepdim=True)

    assert torch.allclose(tiles / 255, (returned - low) / (high - low), atol=0.5 / 255 + 1e-5)


def test_each_channel_is_one_tile_eight_in_a_row_by_default():
    model = nn.Conv2d(1, 11, 1)
    with ht.trace(model, keep=True) as t:
        model(torch.randn(1, 1, 6, 4))

    assert t.feature_maps("Conv2d").size == (8 * (4 + 2) + 2, 2 * (6 + 2) + 2)


def test_scale_enlarges_every_pixel():
    t, _ = traced()
    small, large = t.feature_maps("first"), t.feature_maps("first", scale=3)

    assert large.size == (3 * small.width, 3 * small.height)
    assert torch.equal(pixels(large)[1::3, 1::3], pixels(small))


def test_without_a_name_every_kept_convolution_is_drawn():
    t, _ = traced()
    assert list(t.feature_maps()) == ["first", "second"]
    t, _ = traced(keep=["second", "head"])
    assert list(t.feature_maps()) == ["second"]


def test_a_convolution_called_twice_is_drawn_twice():
    model = nn.Conv2d(1, 1, 3, padding=1)
    with ht.trace(model, keep=True) as t:
        model(model(torch.randn(1, 1, 5, 5)))

    assert list(t.feature_maps()) == ["Conv2d@0", "Conv2d@1"]


def test_an_unkept_call_says_how_to_keep_it():
    t, _ = traced(keep=["second"])
    with pytest.raises(NotKeptError, match=r"keep=\['first'\]"):
        t.feature_maps("first")
    t, _ = traced(keep=["head"])
    with pytest.raises(NotKeptError, match=r"keep=\['first', 'second'\]"):
        t.feature_maps()


def test_a_model_without_convolutions_says_so():
    model = nn.Linear(2, 2)
    with ht.trace(model, keep=True) as t:
        model(torch.ones(1, 2))
    with pytest.raises(NotKeptError, match="No convolution over two dimensions ran"):
        t.feature_maps()


def test_an_output_that_is_no_map_is_refused_with_its_shape():
    t, _ = traced()
    with pytest.raises(MapShapeError, match=r"head@0 \(Linear\) has shape \(2, 4\)"):
        t.feature_maps("head")


def test_an_item_outside_of_the_batch_is_refused():
    t, _ = traced()
    assert t.feature_maps("first", item=-1).size == t.feature_maps("first", item=1).size
    with pytest.raises(MapShapeError, match="batch of 2; there is no item=2"):
        t.feature_maps("first", item=2)


def test_an_unknown_name_gets_the_nearest_one():
    t, _ = traced()
    with pytest.raises(UnknownNameError, match="Did you mean 'first'"):
        t.feature_maps("frist")


def test_half_precision_is_drawn():
    model = nn.Conv2d(1, 2, 1).to(torch.bfloat16)
    with ht.trace(model, keep=True) as t:
        model(torch.ones(1, 1, 4, 4, dtype=torch.bfloat16))

    assert t.feature_maps("Conv2d").mode == "RGB"


@pytest.mark.parametrize(
    ("missing", "named"), [("torchvision.utils", "torchvision"), ("PIL.Image", "pillow")]
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, missing, named):
    t, _ = traced()
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=rf"'{named}'.*hooktrace\[images\]"):
        t.feature_maps("first")
