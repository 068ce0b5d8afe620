"""Heat maps in a report: what cam= takes, and what becomes of it."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import hooktrace as ht
from hooktrace.cam.overlay import colours_of
from hooktrace.errors import MapShapeError, MissingExtraError
from hooktrace.reporting import heat_pictures


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def maps(net: nn.Module, images: torch.Tensor) -> Any:
    return ht.explain(net, images, classes=[0, 1], layer="0", method=["gradcam", "layercam"])


def opened(png: bytes) -> torch.Tensor:
    """Return the pixels of a picture: (H, W, 3)."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    raw = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return raw.reshape(picture.height, picture.width, 3)


def test_each_map_and_image_is_a_picture_that_says_what_it_is(maps: Any) -> None:
    found = heat_pictures(maps)
    assert len(found) == len(maps) * 2 == 8
    assert re.match(r"gradcam of 0 for class 0: ", found[0].title)
    assert found[0].layer == "0"
    assert "image 0" in found[0].note
    assert "the map alone" in found[0].note


def test_a_map_alone_has_the_colours_of_its_numbers(maps: Any) -> None:
    one = maps["gradcam", "0", 0]
    pixels = opened(heat_pictures(one)[1].png)
    grid = one.normalized()[1]
    expected = colours_of(grid).to(torch.uint8)
    centres = [round((at + 0.5) * len(pixels) / len(grid)) for at in range(len(grid))]
    assert torch.equal(pixels[centres][:, centres], expected)


def test_a_photograph_lies_under_its_map(maps: Any, images: torch.Tensor) -> None:
    alone, over = heat_pictures(maps), heat_pictures((maps, list(images)))
    assert all("alone" not in one.note for one in over)
    first, second = opened(alone[0].png).float(), opened(over[0].png).float()
    photo = images[0].mean() * 255
    middle = second.mean()
    assert abs(middle - (first.mean() + photo) / 2) < 12


@pytest.mark.parametrize("cam", ["gradcam", 3, [1, 2], torch.ones(2, 2), ("a", "b")])
def test_what_is_no_heat_map_is_refused(cam: Any, tmp_path: Path) -> None:
    with ht.trace() as t:
        torch.ones(1, requires_grad=True).sum().backward()
    with pytest.raises(TypeError, match=r"cam= takes heat maps as t\.cam\(\)"):
        t.report(tmp_path / "x.html", cam=cam)
    assert list(tmp_path.iterdir()) == []


def test_every_image_has_a_photograph(maps: Any, images: torch.Tensor) -> None:
    with pytest.raises(MapShapeError, match="2 images, but 1 photographs"):
        heat_pictures((maps, [images[0]]))


def test_without_pillow_the_extra_is_named(maps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r"hooktrace\[images\]"):
        heat_pictures(maps)


def test_the_page_links_a_map_to_the_call_of_its_layer(
    net: nn.Module, images: torch.Tensor, tmp_path: Path
) -> None:
    with ht.trace(net, keep=["0"]) as t:
        net(images)[:, 1].sum().backward()
    page = t.report(tmp_path / "x.html", cam=t.cam("0", target="backward")).read_text("utf-8")
    heat = page[page.index('<section id="heat"') :].partition("</section>")[0]
    assert heat.count("data:image/png;base64,") == 2
    assert f'href="#e={t["0"].called.seq}"' in heat


def test_heat_maps_that_do_not_fit_are_told(net: nn.Module, tmp_path: Path) -> None:
    images = torch.rand(6, 3, 8, 8)
    photos = [torch.rand(3, 224, 224) for _ in images]
    with ht.trace(net) as t:
        net(images)
    maps = ht.explain(net, images, target=0, layer="0")
    path = t.report(tmp_path / "x.html", cam=(maps, photos), limit=900_000)
    page = path.read_text("utf-8")
    shown = page.count("data:image/png;base64,")
    assert 0 < shown < 6
    (told,) = re.findall(r"<li>.*?(Heat maps: .*?)</li>", page)
    assert told.count("gradcam of 0") == 6 - shown
    assert path.stat().st_size <= 900_000
