"""Heat maps: raw and signed first, normalised when asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hooktrace.cam.resizing import resized
from hooktrace.errors import AmbiguousCallError, UnknownNameError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["HeatMap", "HeatMaps", "normalized"]

NORMS = ("per_image", "shared", "none")
SIGNS = ("relu", "abs", "keep")


def normalized(maps: Tensor, norm: str = "per_image", sign: str = "relu") -> Tensor:
    """Bring maps to one scale; zero stays zero.

    Args:
        maps: (N, *S).
        norm: ``per_image`` divides each by its largest size, ``shared`` all by the largest of the
            batch, ``none`` by nothing.
        sign: ``relu`` keeps what is positive, ``abs`` the sizes, ``keep`` both signs.

    Returns:
        (N, *S), in [0, 1], with ``keep`` in [-1, 1], unless `norm` is ``none``.  A map without
        any value other than 0 stays 0; scaling `maps` changes nothing.

    Raises:
        ValueError: `norm` or `sign` is none of these.
    """
    if norm not in NORMS:
        raise ValueError(f"norm= is one of {', '.join(NORMS)}, but got {norm!r}.")
    if sign not in SIGNS:
        raise ValueError(f"sign= is one of {', '.join(SIGNS)}, but got {sign!r}.")
    shown = {"relu": maps.clamp_min(0), "abs": maps.abs(), "keep": maps}[sign]
    if norm == "none" or not maps.numel():
        return shown
    sizes = shown.abs().flatten(1).amax(1)
    sizes = sizes.amax().expand_as(sizes) if norm == "shared" else sizes
    sizes = torch.where(sizes == 0, torch.ones_like(sizes), sizes)
    return shown / sizes.reshape(-1, *[1] * (maps.dim() - 1))


@dataclass(frozen=True, eq=False)
class HeatMap:
    """The maps of one method, layer and target, one for each image.

    Attributes:
        raw: (N, *S) signed, unnormalised, before any ReLU, on the device of the activations.
        method: Name of the method: ``gradcam``.
        layer: Name of the call: ``layer4``, ``layer@1`` of a module that was called several times.
        target: What the score is: ``class 281``.
        classes: The class of each image, where the target is one.
        scores: (N,) the score of each image; None with ``target="backward"``.
        image: Spatial sizes *S of the model's input; () if they are not known.
        relu: Whether the authors of the method show the positive part only.
        why: What was decided on the way: layout of the axes, choice of the layer; () for methods
            that look at the whole model.
        extra: What else a method found, such as the components of ``dff``.
    """

    raw: Tensor
    method: str
    layer: str
    target: str
    classes: tuple[int, ...] | None = None
    scores: Tensor | None = None
    image: tuple[int, ...] = ()
    relu: bool = True
    why: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def flags(self) -> tuple[tuple[str, ...], ...]:
        """For each image what its map lacks: ``nonfinite``, ``flat``, ``all_nonpositive``."""
        flat = self.raw.flatten(1)
        finite = flat.isfinite().all(1).tolist()
        span = (flat.amax(1) == flat.amin(1)).tolist()
        low = (flat.amax(1) <= 0).tolist() if self.relu else [False] * len(flat)
        return tuple(
            tuple(
                name
                for name, raised in (
                    ("nonfinite", not finite[i]),
                    ("flat", finite[i] and span[i]),
                    ("all_nonpositive", finite[i] and low[i]),
                )
                if raised
            )
            for i in range(len(flat))
        )

    def normalized(self, norm: str = "per_image", sign: str | None = None) -> Tensor:
        """Return the maps in one scale: (N, *S).

        Args:
            norm: ``per_image``, ``shared`` (one scale for the batch) or ``none``.
            sign: ``relu``, ``abs`` or ``keep``; by default as the method's authors show it.
        """
        return normalized(self.raw, norm, sign or ("relu" if self.relu else "keep"))

    def resized(
        self,
        size: tuple[int, ...] | None = None,
        norm: str = "per_image",
        sign: str | None = None,
    ) -> Tensor:
        """Return the normalised maps at the size of the input, linear in between: (N, *size).

        Args:
            size: Spatial sizes; by default those of the model's input.
            norm, sign: As in `normalized`.

        Raises:
            MapShapeError: The size of the input is not known, or has other dimensions.
        """
        return resized(self.normalized(norm, sign), tuple(size or self.image))

    def overlay(self, photo: Any, item: int = 0, **options: Any) -> Image.Image:
        """Draw the map of one image over its photograph.

        Args:
            photo: A picture (PIL), an array (H, W, 3), or a tensor (3, H, W) from 0 to 1, of what
                the model has seen: the same section, in any size.
            item: Which image of the batch.
            **options: ``alpha``, the share of the map's colours (0.5); ``norm`` (``per_image`` or
                ``shared``) and ``sign`` as in `normalized`, where ``keep`` is drawn blue, white and
                red; ``names`` of the classes by number; ``title=False`` for the photograph's
                size alone, without title and legend.

        Raises:
            MapShapeError: The map is not over two dimensions, or the photograph is no picture.
            MissingExtraError: Pillow is not installed.
        """
        from hooktrace.cam.overlay import overlay

        return overlay(self, photo, item, **options)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.raw.shape))
        raised = sorted({name for one in self.flags for name in one})
        flags = f", flags: {', '.join(raised)}" if raised else ""
        return f"<HeatMap {self.method} of {self.layer} for {self.target}: {shape}{flags}>"


Key = tuple[str, str, Any]


class HeatMaps(Mapping[Key, HeatMap]):
    """Heat maps by (method, layer, class); where there is one only, it can be used as that one.

    ``maps["gradcam", "layer4", 281]`` is one of them; so is ``maps["gradcam"]`` or
    ``maps["layer4", 281]`` wherever that names one only.

    Attributes:
        maps: The heat maps, by key.
    """

    def __init__(self, maps: Mapping[Key, HeatMap]) -> None:
        self.maps = dict(maps)

    def __getitem__(self, key: Any) -> HeatMap:
        """Return a heat map.

        Raises:
            UnknownNameError: There is none of this key; the message lists those there are.
            AmbiguousCallError: Several fit.
        """
        parts = key if isinstance(key, tuple) else (key,)
        if len(parts) == 3 and parts in self.maps:
            return self.maps[parts]
        found = [whole for whole in self.maps if all(part in whole for part in parts)]
        if len(found) == 1:
            return self.maps[found[0]]
        there = ", ".join(map(str, list(self.maps)[:8])) + (", ..." if len(self.maps) > 8 else "")
        if found:
            raise AmbiguousCallError(f"{key!r} fits {len(found)} heat maps: {there}.")
        raise UnknownNameError(f"There is no heat map {key!r}, but these: {there}.")

    def __iter__(self) -> Iterator[Key]:
        return iter(self.maps)

    def __len__(self) -> int:
        return len(self.maps)

    def of(self, **wanted: Any) -> HeatMaps:
        """Return those with this ``method=``, ``layer=`` or ``target=``."""
        places = {"method": 0, "layer": 1, "target": 2}
        for name in wanted:
            if name not in places:
                raise TypeError(f"of() takes method=, layer= and target=, not {name}=.")
        return HeatMaps(
            {
                key: one
                for key, one in self.maps.items()
                if all(key[places[name]] == value for name, value in wanted.items())
            }
        )

    @property
    def single(self) -> HeatMap:
        """The heat map, if it is the only one.

        Raises:
            AmbiguousCallError: There are several.
        """
        if len(self.maps) != 1:
            there = ", ".join(map(str, list(self.maps)[:8]))
            raise AmbiguousCallError(f"There are {len(self.maps)} heat maps; name one of {there}.")
        return next(iter(self.maps.values()))

    @property
    def raw(self) -> Tensor:
        """`HeatMap.raw` of the single one: (N, *S)."""
        return self.single.raw

    @property
    def flags(self) -> Any:
        """`HeatMap.flags` of the single one; of several a dict by key."""
        if len(self.maps) == 1:
            return self.single.flags
        return {key: one.flags for key, one in self.maps.items()}

    def normalized(self, norm: str = "per_image", sign: str | None = None) -> Any:
        """Return `HeatMap.normalized` of the single one; of several a dict by key."""
        if len(self.maps) == 1:
            return self.single.normalized(norm, sign)
        return {key: one.normalized(norm, sign) for key, one in self.maps.items()}

    def resized(self, size: tuple[int, ...] | None = None, **options: Any) -> Any:
        """Return `HeatMap.resized` of the single one; of several a dict by key."""
        if len(self.maps) == 1:
            return self.single.resized(size, **options)
        return {key: one.resized(size, **options) for key, one in self.maps.items()}

    def overlay(self, photo: Any, item: int = 0, **options: Any) -> Image.Image:
        """Draw `HeatMap.overlay` of the single one."""
        return self.single.overlay(photo, item, **options)

    def draw(
        self,
        path: str | os.PathLike[str],
        photos: Sequence[Any] | None = None,
        **options: Any,
    ) -> Path:
        """Draw all in a grid: a row for each image, a column for each method, layer and class.

        Args:
            path: Where to, ending in ``.png``; written whole or not at all.
            photos: The photographs, as `HeatMap.overlay` takes them; None draws the maps alone, of
                volumes the middle slice.
            **options: ``alpha``, ``norm``, ``sign`` and ``names`` as in `HeatMap.overlay`.

        Returns:
            The path.

        Raises:
            UnknownFormatError: `path` does not end in ``.png``.
            MapShapeError: There are more or fewer photographs than images.
            MissingExtraError: Pillow is not installed.
        """
        from hooktrace.cam.overlay import draw_grid

        return draw_grid(list(self.maps.values()), path, photos, **options)

    def __repr__(self) -> str:
        if len(self.maps) == 1:
            return repr(self.single)
        return f"<HeatMaps: {', '.join(map(str, list(self.maps)[:6]))}>"
