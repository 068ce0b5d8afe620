"""Pairs of tensors next to each other as pictures, in one scale of colours with white for zero."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from hooktrace.pixels import enlarged, package, picture, readable

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Pair", "pair_sheet"]


class Pair(NamedTuple):
    """Two tensors of one shape that are to be seen side by side.

    Attributes:
        title: What they are.
        note: One more line on them.
        left: (N, C, H, W), (N, C) or any other shape; of two or more dimensions the first is the
            batch.
        right: Of the same shape.
    """

    title: str
    note: str
    left: torch.Tensor
    right: torch.Tensor


_PANEL = 460  # largest width of a panel in pixels
_MARGIN = 28
_INK = (31, 35, 40)
_FAINT = (90, 98, 107)
_LINE = (222, 226, 231)
_PAPER = (255, 255, 255)
_MISSING = (140, 140, 140)  # not a number
_STOPS = ((33, 102, 172), (103, 169, 207), (247, 247, 247), (239, 138, 98), (178, 24, 43))


def pair_sheet(
    heading: str, captions: tuple[str, str], pairs: Iterable[Pair], *, item: int = 0
) -> Image.Image:
    """Draw pairs of tensors below one another: blue below zero, white at zero, red above.

    Args:
        heading: Stands on top.
        captions: What the left and the right side show.
        pairs: Both sides of a pair share one scale.
        item: Which item of the batch; the last one where the batch is smaller.
    """
    image, draw_on = (package("pillow", f"PIL.{name}") for name in ("Image", "ImageDraw"))
    strips = [_strip(pair, captions, item) for pair in pairs]
    width = 3 * _MARGIN + 2 * _PANEL
    height = 64 + sum(strip.height for strip in strips) + _MARGIN
    sheet = image.new("RGB", (width, height), _PAPER)
    draw_on.Draw(sheet).text((_MARGIN, 24), heading, fill=_INK, font=_font(22))
    top = 64
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet  # type: ignore[no-any-return]


def _strip(pair: Pair, captions: tuple[str, str], item: int) -> Image.Image:
    image, draw_on = (package("pillow", f"PIL.{name}") for name in ("Image", "ImageDraw"))
    place = min(item, pair.left.shape[0] - 1) if pair.left.dim() > 1 else 0
    tiles, shown = _tiles(pair.left, place)
    others, _ = _tiles(pair.right, place)
    limit = _limit(tiles)
    panels = [_panel(one, limit) for one in (tiles, others)]
    top = 96
    strip = image.new("RGB", (3 * _MARGIN + 2 * _PANEL, top + panels[0].height + 50), _PAPER)
    draw = draw_on.Draw(strip)
    draw.line((_MARGIN, 6, strip.width - _MARGIN, 6), fill=_LINE)
    draw.text((_MARGIN, 18), pair.title, fill=_INK, font=_font(18))
    draw.text((_MARGIN, 44), pair.note, fill=_FAINT, font=_font(14))
    for side, (panel, caption) in enumerate(zip(panels, captions, strict=True)):
        left = _MARGIN + side * (_PANEL + _MARGIN)
        draw.text((left, 72), caption, fill=_INK, font=_font(15))
        strip.paste(panel, (left, top))
    _legend(strip, draw, limit, top + panels[0].height + 10, shown)
    return strip  # type: ignore[no-any-return]


def _legend(strip: Any, draw: Any, limit: float, top: int, shown: str) -> None:
    ramp = torch.linspace(-limit, limit, 160).expand(12, -1)
    strip.paste(picture(_colours(ramp, limit)), (_MARGIN + 60, top + 3))
    draw.text((_MARGIN + 52, top), f"{-limit:.3g}", fill=_FAINT, font=_font(13), anchor="ra")
    text = f"{limit:.3g}    White is 0. {shown}"
    draw.text((_MARGIN + 228, top), text, fill=_FAINT, font=_font(13))


def _tiles(tensor: torch.Tensor, item: int) -> tuple[torch.Tensor, str]:
    """Return up to 64 maps (K, H, W) of one item of the batch, and words on what they are."""
    values = readable(tensor[item] if tensor.dim() > 1 else tensor)
    if values.dim() < 2:
        columns = max(1, math.ceil(math.sqrt(values.numel())))
        rows = math.ceil(values.numel() / columns) or 1
        cells = torch.full((rows * columns,), math.nan)
        cells[: values.numel()] = values.reshape(-1)
        return cells.reshape(1, rows, columns), f"{values.numel()} numbers, row by row."
    maps = values.reshape(-1, *values.shape[-2:])
    count = min(64, len(maps))
    words = (
        f"{count} channels."
        if count == len(maps)
        else f"The first {count} of {len(maps)} channels."
    )
    words = words if len(maps) > 1 else ""
    return maps[:count], words


def _limit(values: torch.Tensor) -> float:
    """Return the size of value that gets the fullest colour: few values are larger."""
    sizes = values[values.isfinite()].abs().reshape(-1)
    if not sizes.numel():
        return 1.0
    place = max(1, math.ceil(0.995 * sizes.numel()))
    return float(sizes.kthvalue(place).values) or float(sizes.max()) or 1.0


def _panel(tiles: torch.Tensor, limit: float) -> Image.Image:
    image = package("pillow", "PIL.Image")
    count, height, width = tiles.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    gap = 1 if count > 1 else 0
    size = (columns * (width + gap) - gap, rows * (height + gap) - gap)
    panel = image.new("RGB", size, _LINE)
    for number, tile in enumerate(_colours(tiles, limit)):
        place = ((number % columns) * (width + gap), (number // columns) * (height + gap))
        panel.paste(picture(tile), place)
    if panel.width > _PANEL:
        return panel.resize(  # type: ignore[no-any-return]
            (_PANEL, max(1, round(panel.height * _PANEL / panel.width))), image.Resampling.BOX
        )
    return enlarged(panel, _PANEL // panel.width)


def _colours(values: torch.Tensor, limit: float) -> torch.Tensor:
    """Return colours (..., 3) from 0 to 255 for values (...)."""
    stops = torch.tensor(_STOPS, dtype=torch.float32)
    place = (values / limit).clamp(-1, 1).add(1).mul((len(stops) - 1) / 2)
    known = place.nan_to_num()
    below = known.floor().clamp(max=len(stops) - 2)
    share = (known - below).unsqueeze(-1)
    colours = stops[below.long()] * (1 - share) + stops[below.long() + 1] * share
    return torch.where(place.isnan().unsqueeze(-1), torch.tensor(_MISSING), colours)


def _font(size: int) -> Any:
    return package("pillow", "PIL.ImageFont").load_default(size)
