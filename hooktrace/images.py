"""Tensors as pictures: feature maps.

torchvision and Pillow, which the extra ``images`` installs, are imported when the first picture is
made.  What feature maps do and do not mean: each tile has its own contrast unless told otherwise,
so tiles say *where* a channel responds and not how strongly beside the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from hooktrace.errors import MapShapeError, NotKeptError
from hooktrace.pixels import enlarged, package, picture, readable
from hooktrace.views.calls import Call, CallIndex

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["all_feature_maps", "draw", "feature_maps", "is_convolution"]


def draw(calls: CallIndex, name: str | None, **options: Any) -> Any:
    """Draw the call of this name, or every kept convolution."""
    if name is None:
        return all_feature_maps(calls, **options)
    return feature_maps(calls.one(name), **options)


def feature_maps(
    call: Call,
    *,
    item: int = 0,
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = True,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = True,
    scale: int = 1,
) -> Image.Image:
    """Draw the kept output of a call as a grid with one tile for each channel.

    Args:
        call: Its single output has shape (N, C, H, W).
        item: Which of the N items of the batch; negative numbers count from the end.
        nrow: Tiles in a row.
        padding: Pixels between tiles.
        normalize: Whether to shift and scale the values to [0, 1]; else those outside are cut off.
        value_range: The values that become black and white; the lowest and highest by default.
        scale_each: Whether each tile is scaled by its own lowest and highest value.
        scale: Size of one value in pixels.

    Returns:
        An RGB picture, drawn by ``torchvision.utils.make_grid``.

    Raises:
        NotKeptError: The values were not kept.
        MapShapeError: The output does not have four dimensions, or `item` is not in the batch.
        MissingExtraError: torchvision or Pillow is not installed.
    """
    utils = package("torchvision", "torchvision.utils")
    maps = _channels(call, item).unsqueeze(1)
    grid = utils.make_grid(
        maps,
        nrow=nrow,
        padding=padding,
        normalize=normalize,
        value_range=value_range,
        scale_each=scale_each,
    )
    drawn = picture(grid.mul(255).add(0.5).clamp(0, 255).permute(1, 2, 0))
    return enlarged(drawn, scale)


def all_feature_maps(calls: CallIndex, **options: Any) -> dict[str, Image.Image]:
    """Draw every kept convolution over two dimensions, by name (``name@number`` if ambiguous).

    Raises:
        NotKeptError: No such convolution was kept.
    """
    convolutions = [call for call in calls if is_convolution(call)]
    kept = [call for call in convolutions if call.kept and _is_tensor(call.output)]
    if not kept:
        raise NotKeptError(_no_convolution(convolutions))
    names = [call.name for call in kept]
    return {
        call.name if names.count(call.name) == 1 else str(call): feature_maps(call, **options)
        for call in kept
    }


def _channels(call: Call, item: int) -> torch.Tensor:
    """Return the channels of one item of a kept output: (C, H, W), float32, on the CPU."""
    output = call.output
    shape = tuple(getattr(output, "shape", ()))
    if len(shape) != 4:
        what = f"shape {shape}" if shape else f"no tensor but {output}"
        raise MapShapeError(
            f"Feature maps need an output of shape (N, C, H, W), but that of {call} "
            f"({call.module.type}) has {what}."
        )
    if not _is_tensor(output):
        raise NotKeptError(
            f"The output of {call} was not kept, so there is nothing to draw. "
            f"Keep it with trace(model, keep=[{call.name!r}])."
        )
    if not -shape[0] <= item < shape[0]:
        raise MapShapeError(f"{call} had a batch of {shape[0]}; there is no item={item}.")
    return readable(output[item])


def _is_tensor(thing: Any) -> bool:
    return isinstance(thing, torch.Tensor)


def is_convolution(call: Call) -> bool:
    """Whether a call is one of a convolution over two dimensions, also of a subclass of it."""
    named = "Conv" in call.module.type or "kernel_size=(" in call.module.config
    outputs = call.seen_outputs
    shape = getattr(outputs[0].summary, "shape", ()) if len(outputs) == 1 else ()
    return named and not call.children and len(shape) == 4


def _no_convolution(convolutions: Sequence[Call]) -> str:
    if not convolutions:
        return "No convolution over two dimensions ran in this trace."
    names = list(dict.fromkeys(call.name for call in convolutions))
    shown = ", ".join(repr(name) for name in names[:4])
    more = ", ..." if len(names) > 4 else ""
    return (
        f"No convolution was kept, so there is nothing to draw. Convolutions that ran: {shown}"
        f"{more}. Keep some with trace(model, keep=[{shown}])."
    )
