"""Heat maps as pictures: one over its photograph, or many in a labelled grid.

A pixel of an overlay is ``(1 - alpha) * photo + alpha * colour(heat)``, in the 0 ... 255 of the
picture, and nothing else: no gamma, no stretching of the result.  The map is brought to the
photograph's size linearly.  Pillow, which the extra ``cam`` installs, is imported when the first
picture is made.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hooktrace.cam.heatmaps import HeatMap, normalized
from hooktrace.cam.resizing import resized
from hooktrace.errors import MapShapeError, UnknownFormatError
from hooktrace.pixels import package, picture

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["answer", "colours_of", "draw_grid", "flagged", "overlay", "tile"]

_INK, _FAINT, _PAPER = (31, 35, 40), (90, 98, 107), (255, 255, 255)
_TILE, _GAP, _LINE = 224, 12, 18  # pixels
_HEAT = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))
_SIGNED = ((33, 102, 172), (103, 169, 207), (247, 247, 247), (239, 138, 98), (178, 24, 43))
_MISSING = (140, 140, 140)  # not a number
_SAYS = {
    "nonfinite": "holds NaN or infinity",
    "flat": "the same everywhere",
    "all_nonpositive": "nowhere positive",
}


def colours_of(values: Tensor, *, signed: bool = False) -> Tensor:
    """Return colours for numbers: from black over red to yellow, signed ones blue, white and red.

    Args:
        values: (*S), from 0 to 1; signed ones from -1 to 1, with white for 0.
        signed: Whether they are signed.

    Returns:
        (*S, 3), from 0 to 255; grey where a value is not a number.
    """
    stops = torch.tensor(_SIGNED if signed else _HEAT, dtype=torch.float32)
    place = (values.float() + 1) / 2 if signed else values.float()
    place = place.clamp(0, 1) * (len(stops) - 1)
    known = place.nan_to_num()
    below = known.floor().clamp(max=len(stops) - 2).long()
    share = (known - below).unsqueeze(-1)
    found = stops[below] * (1 - share) + stops[below + 1] * share
    return torch.where(place.isnan().unsqueeze(-1), torch.tensor(_MISSING).float(), found)


def overlay(
    heat: HeatMap,
    photo: Any,
    item: int = 0,
    *,
    alpha: float = 0.5,
    norm: str = "per_image",
    sign: str | None = None,
    names: Sequence[str] | None = None,
    title: bool = True,
) -> Image.Image:
    """Return one map over its photograph; `HeatMap.overlay` says what the arguments are."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha= is from 0 (only the photo) to 1 (only the map), but got {alpha}.")
    pixels = _pixels(photo)
    maps, signed = _scaled(heat, norm, sign)
    if maps.dim() != 3:
        raise MapShapeError(
            f"Only a map over two dimensions lies over a photograph, but this one is "
            f"{tuple(maps.shape)}; HeatMaps.draw(path) shows others by themselves."
        )
    if not -len(maps) <= item < len(maps):
        raise MapShapeError(f"There are maps of {len(maps)} images; there is no item={item}.")
    height, width = pixels.shape[:2]
    grown = resized(maps[item].unsqueeze(0).cpu(), (height, width))[0]
    blended = (1 - alpha) * pixels + alpha * colours_of(grown, signed=signed)
    drawn = picture(blended.round().clamp(0, 255))
    if not title:
        return drawn
    lines = [_heading(heat), answer(heat, item, names), *flagged(heat, item)]
    return _framed(drawn, lines, heat, norm, signed)


def _scaled(heat: HeatMap, norm: str, sign: str | None) -> tuple[Tensor, bool]:
    """Return maps from 0 to 1, or from -1 to 1, and whether they are signed."""
    how = sign or ("relu" if heat.relu else "keep")
    if norm == "none":
        raise ValueError("A picture needs one scale of colours: norm= is per_image or shared.")
    return normalized(heat.raw.detach().float(), norm, how), how == "keep"


def _pixels(photo: Any) -> Tensor:
    """Return a photograph as (H, W, 3), float32 from 0 to 255."""
    if isinstance(photo, Tensor):
        if photo.dim() != 3 or photo.shape[0] not in (1, 3):
            raise MapShapeError(
                f"A photograph as tensor is (3, H, W), from 0 to 1, but this is "
                f"{tuple(photo.shape)}."
            )
        found = photo.detach().cpu().expand(3, -1, -1).permute(1, 2, 0)
        return found.float() * (1 if found.dtype == torch.uint8 else 255)
    if hasattr(photo, "convert"):
        photo = photo.convert("RGB")
    array = package("numpy", "numpy").asarray(photo)
    if array.ndim != 3 or array.shape[2] != 3:
        raise MapShapeError(f"A photograph as array is (H, W, 3), but this is {array.shape}.")
    found = torch.from_numpy(array.copy())
    return found.float() * (255 if found.is_floating_point() else 1)


# ------------------------------------------------------------------ words


def _heading(heat: HeatMap) -> str:
    return f"{heat.method}, {heat.layer}"


def answer(heat: HeatMap, item: int, names: Sequence[str] | None) -> str:
    """Say what is explained of one image: class, name and score."""
    said = heat.target
    if heat.classes is not None:
        number = heat.classes[item]
        known = names is not None and number < len(names)
        said = f"class {number}" + (f" {names[number]}" if names is not None and known else "")
    return said if heat.scores is None else f"{said}: {float(heat.scores[item]):.3g}"


def flagged(heat: HeatMap, item: int) -> list[str]:
    """Say what the map of an image lacks, if anything."""
    found = [_SAYS[flag] for flag in heat.flags[item]]
    return [f"This map is {' and '.join(found)}."] if found else []


def _font(size: int) -> Any:
    return package("pillow", "PIL.ImageFont").load_default(size)


def _written(draw: Any, place: tuple[int, int], text: str, size: int, ink: Any, room: int) -> None:
    """Write a line; shorten it to the room there is, and replace what the font has not."""
    font = _font(size)
    text = "".join(one if one.isprintable() else " " for one in text)
    while len(text) > 4 and draw.textlength(text, font=font) > room:
        text = text[:-4].rstrip() + "..."
    draw.text(place, text, fill=ink, font=font)


# ------------------------------------------------------------------ frames and grids


def _framed(drawn: Any, lines: list[str], heat: HeatMap, norm: str, signed: bool) -> Image.Image:
    images, drawing = (package("pillow", f"PIL.{name}") for name in ("Image", "ImageDraw"))
    top = _GAP + _LINE * len(lines) + 4
    width = max(drawn.width, 200)
    whole = images.new("RGB", (width, top + drawn.height + 2 * _LINE), _PAPER)
    draw = drawing.Draw(whole)
    for number, line in enumerate(lines):
        ink = _INK if number == 0 else _FAINT
        _written(draw, (4, _GAP // 2 + number * _LINE), line, 13, ink, width - 8)
    whole.paste(drawn, (0, top))
    _legend(whole, draw, top + drawn.height + 8, norm, signed)
    return whole  # type: ignore[no-any-return]


def _legend(whole: Any, draw: Any, top: int, norm: str, signed: bool) -> None:
    low = -1 if signed else 0
    length = 80
    ramp = colours_of(torch.linspace(low, 1, length).expand(10, -1), signed=signed)
    text = "its largest" if norm == "per_image" else "largest of all"
    _written(draw, (4, top), str(low), 11, _FAINT, 20)
    whole.paste(picture(ramp), (20, top + 2))
    _written(draw, (26 + length, top), f"1 = {text}", 11, _FAINT, whole.width - length - 30)


def draw_grid(
    maps: Sequence[HeatMap],
    path: str | os.PathLike[str],
    photos: Sequence[Any] | None = None,
    *,
    alpha: float = 0.5,
    norm: str = "per_image",
    sign: str | None = None,
    names: Sequence[str] | None = None,
) -> Path:
    """Draw many maps: a row for each image, a column for each map.

    Raises:
        UnknownFormatError: `path` does not end in ``.png``.
        MapShapeError: There are more or fewer photographs than images.
    """
    place = Path(path)
    if place.suffix.lower() != ".png":
        raise UnknownFormatError(f"Heat maps are drawn as .png, but {place} ends otherwise.")
    count = len(maps[0].raw)
    if photos is not None and len(photos) != count:
        raise MapShapeError(f"There are maps of {count} images, but {len(photos)} photographs.")
    images, drawing = (package("pillow", f"PIL.{name}") for name in ("Image", "ImageDraw"))
    first = 0 if photos is None else 1
    step, top, row = _TILE + _GAP, _GAP + _LINE, _TILE + 2 * _LINE + _GAP
    size = ((len(maps) + first) * step + _GAP, top + count * row + _LINE + _GAP)
    whole = images.new("RGB", size, _PAPER)
    draw = drawing.Draw(whole)
    for column, heat in enumerate(maps):
        left = _GAP + (column + first) * step
        _written(draw, (left, _GAP), _heading(heat), 13, _INK, _TILE)
    if first:
        _written(draw, (_GAP, _GAP), "what the model sees", 13, _INK, _TILE)
    for number in range(count):
        under = top + number * row
        if photos is not None:
            whole.paste(_fitted(picture(_pixels(photos[number]))), (_GAP, under))
        for column, heat in enumerate(maps):
            photo = None if photos is None else photos[number]
            left = _GAP + (column + first) * step
            whole.paste(tile(heat, photo, number, alpha, norm, sign), (left, under))
            said = answer(heat, number, names)
            _written(draw, (left, under + _TILE + 2), said, 12, _FAINT, _TILE)
            for line in flagged(heat, number):
                _written(draw, (left, under + _TILE + 2 + _LINE), line, 12, _INK, _TILE)
    _legend(whole, draw, top + count * row, norm, _scaled(maps[0], norm, sign)[1])
    half = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        whole.save(half, format="PNG")
        os.replace(half, place)
    finally:
        half.unlink(missing_ok=True)
    return place


def tile(
    heat: HeatMap,
    photo: Any,
    item: int,
    alpha: float = 0.5,
    norm: str = "per_image",
    sign: str | None = None,
) -> Image.Image:
    """Draw one map as a square: over its photograph, or alone; of a volume the middle slice."""
    if photo is not None:
        return _fitted(overlay(heat, photo, item, alpha=alpha, norm=norm, sign=sign, title=False))
    maps, signed = _scaled(heat, norm, sign)
    one = maps[item].cpu()
    while one.dim() > 2:
        one = one[one.shape[0] // 2]
    colours = colours_of(one.reshape(-1, one.shape[-1]), signed=signed)
    return _fitted(picture(colours), smooth=False)


def _fitted(drawn: Any, *, smooth: bool = True) -> Image.Image:
    """Bring a picture into a square tile, whole, on white."""
    images = package("pillow", "PIL.Image")
    share = _TILE / max(drawn.size)
    size = tuple(max(1, round(one * share)) for one in drawn.size)
    how = images.Resampling.BICUBIC if smooth else images.Resampling.NEAREST
    tile = images.new("RGB", (_TILE, _TILE), _PAPER)
    tile.paste(drawn.resize(size, how), ((_TILE - size[0]) // 2, (_TILE - size[1]) // 2))
    return tile  # type: ignore[no-any-return]
