"""What every picture of a tensor needs; Pillow and torchvision are imported when one is made."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch

from hooktrace.errors import MapShapeError, MissingExtraError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["enlarged", "package", "picture", "readable"]


def readable(tensor: torch.Tensor) -> torch.Tensor:
    """Return `tensor` as float32 on the CPU.

    Raises:
        MapShapeError: It is complex.
    """
    if tensor.is_complex():
        raise MapShapeError("Complex numbers have no picture; draw their absolute values instead.")
    return tensor.detach().to("cpu", torch.float32)


def picture(colours: torch.Tensor) -> Image.Image:
    """Return the picture of colours (H, W, 3) from 0 to 255."""
    pixels = colours.to(torch.uint8).contiguous().numpy()
    return package("pillow", "PIL.Image").fromarray(pixels)  # type: ignore[no-any-return]


def enlarged(image: Image.Image, scale: int) -> Image.Image:
    """Return a picture in which each pixel has become `scale` x `scale` pixels."""
    nearest = package("pillow", "PIL.Image").Resampling.NEAREST
    return image.resize((image.width * scale, image.height * scale), nearest)


def package(name: str, module: str) -> Any:
    """Import a module of a package that the extra ``images`` installs.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError("Drawing tensors as pictures", name, "images") from error
