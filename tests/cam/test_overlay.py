"""Pictures of heat maps: each pixel is a stated blend, and each picture says what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hooktrace.cam.heatmaps import HeatMap, HeatMaps
from hooktrace.cam.overlay import colours_of
from hooktrace.errors import MapShapeError, UnknownFormatError

RED = (200, 10, 30)


def heat(raw: Tensor, **facts: Any) -> HeatMap:
    return HeatMap(raw, "gradcam", "layer4", "class 1", (1,) * len(raw), image=(8, 8), **facts)


def photo(size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("RGB", size, RED)


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
        return picture


def pixels(picture: Image.Image) -> Any:
    return np.asarray(picture).astype(int)


def test_a_pixel_is_the_blend_of_photo_and_colour() -> None:
    raw = torch.zeros(1, 2, 2)
    raw[0, 0, 0] = 5.0
    drawn = pixels(heat(raw).overlay(photo((2, 2)), title=False, alpha=0.25))
    cold, hot = (colours_of(torch.tensor(one)).numpy() for one in (0.0, 1.0))
    assert np.abs(drawn[0, 0] - (0.75 * np.array(RED) + 0.25 * hot)).max() <= 0.5
    assert np.abs(drawn[1, 1] - (0.75 * np.array(RED) + 0.25 * cold)).max() <= 0.5


@pytest.mark.parametrize(
    "as_given",
    [
        lambda picture: picture,
        np.asarray,
        lambda picture: np.asarray(picture).astype(np.float32) / 255,
        lambda picture: torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1) / 255,
    ],
)
def test_without_the_map_the_photo_is_left_as_it_is_in_any_form(as_given: Any) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8))
    drawn = heat(torch.rand(1, 3, 3)).overlay(as_given(picture), alpha=0, title=False)
    assert (pixels(drawn) == pixels(picture)).all()


def test_the_map_is_brought_to_the_size_of_the_photo_linearly() -> None:
    raw = torch.rand(1, 3, 4)
    drawn = pixels(heat(raw).overlay(photo((16, 12)), alpha=1, title=False))
    size = (12, 16)
    grown = torch.nn.functional.interpolate(raw[None] / raw.max(), size, mode="bilinear")[0, 0]
    assert np.abs(drawn - colours_of(grown).numpy()).max() <= 0.5


def test_signed_maps_are_blue_white_and_red_about_zero() -> None:
    blue, white, red = colours_of(torch.tensor([-1.0, 0.0, 1.0]), signed=True)
    assert blue[2] > blue[0] + 100
    assert red[0] > red[2] + 100
    assert (white - white.mean()).abs().max() < 1
    grey = colours_of(torch.tensor(float("nan")))
    assert (grey == grey[0]).all()


def test_a_title_and_a_legend_stand_around_the_photo() -> None:
    one = heat(torch.rand(1, 2, 2), scores=torch.tensor([3.0]))
    bare = one.overlay(photo((230, 100)), title=False)
    titled = one.overlay(photo((230, 100)), names=["a", "猫 \n cat"])
    assert bare.size == (230, 100)
    assert titled.width == 230
    assert titled.height > 100 + 40
    assert (pixels(titled)[:40] < 120).any()  # ink above the photo


def test_a_flagged_map_says_so_on_its_picture() -> None:
    fine, blank = heat(torch.rand(1, 2, 2)), heat(-torch.rand(1, 2, 2))
    assert blank.flags == (("all_nonpositive",),)
    tall, short = (one.overlay(photo()).height for one in (blank, fine))
    assert tall > short


@pytest.mark.parametrize("shape", [(2, 7), (2, 5, 6), (2, 3, 4, 5)])
def test_a_grid_has_a_row_for_each_image_and_a_column_for_each_map(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    maps = HeatMaps({(name, "l", 1): heat(torch.rand(shape)) for name in ("a", "b", "c")})
    single = HeatMaps({("a", "l", 1): heat(torch.rand(1, *shape[1:]))})
    large, small = (
        opened(one.draw(tmp_path / f"{number}.png")).size
        for number, one in enumerate((maps, single))
    )
    assert large[0] - small[0] == 2 * (224 + 12)
    assert large[1] - small[1] == 224 + 2 * 18 + 12


def test_a_grid_with_photos_begins_with_the_photo(tmp_path: Path) -> None:
    maps = HeatMaps({("a", "l", 1): heat(torch.rand(1, 2, 2))})
    drawn = pixels(opened(maps.draw(tmp_path / "grid.png", [photo()])))
    assert tuple(drawn[100, 100]) == RED


def test_a_failing_write_leaves_the_old_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "grid.png"
    path.write_bytes(b"old")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        HeatMaps({("a", "l", 1): heat(torch.rand(1, 2, 2))}).draw(path)
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["grid.png"]


def test_wrong_arguments_are_told_what_there_is(tmp_path: Path) -> None:
    one = heat(torch.rand(2, 2, 2))
    maps = HeatMaps({("a", "l", 1): one})
    with pytest.raises(UnknownFormatError, match=r"\.png"):
        maps.draw(tmp_path / "x.gif")
    with pytest.raises(MapShapeError, match="maps of 2 images, but 1"):
        maps.draw(tmp_path / "x.png", [photo()])
    with pytest.raises(MapShapeError, match="no item=2"):
        one.overlay(photo(), 2)
    with pytest.raises(MapShapeError, match="two dimensions"):
        heat(torch.rand(1, 5)).overlay(photo())
    with pytest.raises(MapShapeError, match=r"\(3, H, W\)"):
        one.overlay(torch.rand(4, 4))
    with pytest.raises(ValueError, match="alpha="):
        one.overlay(photo(), alpha=2)
    with pytest.raises(ValueError, match="norm="):
        one.overlay(photo(), norm="none")
    with pytest.raises(ValueError, match="sign="):
        one.normalized(sign="both")
