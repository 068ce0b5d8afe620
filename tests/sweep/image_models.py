"""Architectures of timm: some small ones of each of its modules, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from .subjects import Library, NotHere, Subject

NAMES = Path(__file__).with_name("image_models.txt")
SIZES = (32, 64, 96, 128, 160, 224, 256, 320)


def names() -> list[str]:
    import timm

    known = set(timm.list_models())
    return [name for name in NAMES.read_text().split() if name in known]


def build(name: str) -> Subject:
    import timm

    with torch.device("meta"):
        fixed = timm.create_model(name).pretrained_cfg.get("fixed_input_size", False)
    model = None
    for size in SIZES:
        options = {"img_size": size} if fixed else {}
        try:
            if model is None or fixed:
                model = timm.create_model(name, num_classes=5, **options).train()
            return _subject(model, size)
        except Exception:
            if fixed:
                model = None
    raise NotHere("runs on none of the sizes that were tried")


def _subject(model: nn.Module, size: int) -> Subject:
    """Return the model with inputs of this size, if it runs on them."""
    channels: Any = model.pretrained_cfg["input_size"][0]  # type: ignore[index]

    def inputs() -> tuple[tuple[torch.Tensor], dict[str, Any]]:
        shape = (2, channels, size, size)
        return (torch.rand(shape, dtype=torch.get_default_dtype()).requires_grad_(),), {}

    with torch.no_grad():
        model(*inputs()[0])
    return Subject(model, inputs)


LIBRARY = Library("timm", names, build)
