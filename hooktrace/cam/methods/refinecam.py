"""RefineCAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hooktrace.cam.evidence import Evidence
from hooktrace.cam.heatmaps import normalized
from hooktrace.cam.method import METHODS, Method, method
from hooktrace.cam.resizing import MODES, resized
from hooktrace.errors import MapShapeError

__all__ = ["RefineCam"]


@method
@dataclass(frozen=True)
class RefineCam(Method):
    """The product of the maps of several layers, which must agree where something matters.

    With M_l the map of layer l, its positive part divided by its largest value and resized to one
    size, linearly in between: ``map_p = prod_l M_lp``.

    Source: "How to Evaluate and Refine your CAM", 2026, arXiv 2605.14641, which was not read: the
    formula is the one that the grad-cam and torchcam libraries agree on, Grad-CAM++ as the default
    maps and the input's size are grad-cam's, the size of the largest map torchcam's.  Both
    libraries also subtract each map's least positive part; here zero stays zero.

    Attributes:
        of: The method that makes each layer's map: its name, or the method with its options.
        size: ``image`` for the size of the model's input, ``largest`` for that of the largest map.
    """

    of: str | Method = "gradcam++"
    size: Literal["image", "largest"] = "image"

    name = "refinecam"
    title = "RefineCAM"
    scope = "layers"

    def __post_init__(self) -> None:
        if self.size not in ("image", "largest"):
            raise ValueError(f"size= is image or largest, but got {self.size!r}.")

    def map(self, evidence: Evidence) -> Tensor:
        base = METHODS[self.of]() if isinstance(self.of, str) else self.of
        if base.scope != "layer":
            raise ValueError(f"of= names a method that makes a map of one layer, not {base.name}.")
        maps = [normalized(base.map(evidence.of(layer))) for layer in evidence.layers]
        size = self._size(evidence, maps)
        return torch.stack([resized(one, size) for one in maps]).prod(0)

    def _size(self, evidence: Evidence, maps: list[Tensor]) -> tuple[int, ...]:
        sizes = [tuple(one.shape[1:]) for one in maps]
        largest = tuple(max(ends) for ends in zip(*sizes, strict=False))
        size = evidence.layer.image if self.size == "image" else largest
        if len({len(one) for one in (size, *sizes)}) > 1 or len(size) not in MODES:
            raise MapShapeError(
                f"Maps of the sizes {', '.join(map(str, sizes))} cannot all be brought to {size}."
            )
        return size
