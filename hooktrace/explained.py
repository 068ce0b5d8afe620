"""Heat maps of more images than fit into memory: written as they are made, read one by one.

A folder holds a manifest and one file for each batch, each written whole or not at all; a run that
was interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from hooktrace.cam.heatmaps import HeatMap, HeatMaps
from hooktrace.errors import MismatchError, TraceStateError
from hooktrace.progress import bars, steps

__all__ = ["Explained", "stream"]

_FORMAT = 1


class Explained:
    """A folder of heat maps; iterate to get the `HeatMaps` of each batch, read when it comes.

    Args:
        folder: Where ``ht.explain(..., to=folder)`` wrote them.

    Attributes:
        folder: The same.
        settings: What they were made with: model, layer, method, target.

    Raises:
        TraceStateError: There is no manifest in it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            self.settings: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text())
        except FileNotFoundError as error:
            raise TraceStateError(
                f"{self.folder} holds no heat maps: there is no manifest.json in it."
            ) from error

    @property
    def files(self) -> list[Path]:
        """The files of the batches, in order."""
        return sorted(self.folder.glob("batch-*.safetensors"))

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.files)

    def __iter__(self) -> Iterator[HeatMaps]:
        return (_read(path)[0] for path in self.files)

    def __repr__(self) -> str:
        return f"<Explained {self.folder}: {len(self)} batches>"


def stream(
    batches: Iterable[Any],
    explain: Callable[[Any, Any], HeatMaps],
    folder: str | os.PathLike[str],
    settings: dict[str, Any],
    *,
    progress: bool,
) -> Explained:
    """Explain one batch after the other, and write each at once.

    Args:
        batches: Images, or tuples and lists of images and labels.
        explain: From images and labels to heat maps.
        folder: Where to; batches that it has already are not made again.
        settings: What tells one run from another; goes into the manifest.
        progress: Whether to show a bar on standard error.

    Raises:
        MismatchError: The folder holds the maps of another run, or of other images.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    _agree(place, settings)
    shown = bars(piped=True) if progress else nullcontext()
    with shown:
        _stream(batches, explain, place)
    return Explained(place)


def _stream(batches: Iterable[Any], explain: Callable[[Any, Any], HeatMaps], place: Path) -> None:
    total = len(batches) if isinstance(batches, Sized) else None
    for number, batch in enumerate(steps(batches, total, "heat maps")):
        several = isinstance(batch, (tuple, list))
        images = batch[0] if several else batch
        labels = batch[1] if several and len(batch) > 1 else None
        path = place / f"batch-{number:06}.safetensors"
        mark = _mark(images)
        if path.exists():
            if _read(path)[1] != mark:
                raise MismatchError(
                    f"{path} was made of other images than batch {number} has now. A run can be "
                    f"continued where the batches come in the same order: shuffle=False. Or give "
                    f"another folder."
                )
            continue
        _write(path, explain(images, labels), mark)


def _agree(place: Path, settings: dict[str, Any]) -> None:
    manifest = place / "manifest.json"
    now = json.loads(json.dumps({"format": _FORMAT, **settings}, default=str))
    if not manifest.exists():
        _whole(manifest, lambda path: path.write_text(json.dumps(now, indent=1)))
        return
    then = json.loads(manifest.read_text())
    other = [name for name in dict.fromkeys((*now, *then)) if now.get(name) != then.get(name)]
    if other:
        told = ", ".join(f"{name}: {then.get(name)} | {now.get(name)}" for name in other[:3])
        raise MismatchError(
            f"{place} holds the maps of another run (there | now): {told}. Give another folder."
        )


def _mark(images: Any) -> str:
    """Return what tells a batch of images from another."""
    tensors = images.values() if isinstance(images, dict) else [images]
    found = hashlib.sha256()
    for one in tensors:
        if isinstance(one, Tensor):
            pixels = one.detach().to("cpu").contiguous()
            found.update(f"{tuple(one.shape)} {one.dtype}".encode())
            found.update(pixels.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


# ------------------------------------------------------------------ files


def _write(path: Path, maps: HeatMaps, mark: str) -> None:
    tensors, rows = {}, []
    for number, (key, one) in enumerate(maps.maps.items()):
        tensors[f"raw.{number}"] = one.raw.contiguous()
        if one.scores is not None:
            tensors[f"scores.{number}"] = one.scores.contiguous()
        rows.append(
            {
                "key": key,
                "method": one.method,
                "layer": one.layer,
                "target": one.target,
                "classes": one.classes,
                "image": one.image,
                "relu": one.relu,
                "why": one.why,
            }
        )
    facts = {"maps": json.dumps(rows, default=str), "images": mark}
    _whole(path, lambda there: save_file(tensors, there, metadata=facts))


def _whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file under another name, and give it its own when it is complete."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(half)
        os.replace(half, path)
    finally:
        half.unlink(missing_ok=True)


def _read(path: Path) -> tuple[HeatMaps, str]:
    """Return what a file holds, and the mark of the images that it was made of."""
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
        found: dict[Any, HeatMap] = {}
        for number, row in enumerate(json.loads(facts["maps"])):
            key = tuple(tuple(one) if isinstance(one, list) else one for one in row.pop("key"))
            scores = f"scores.{number}"
            for name in ("classes", "image", "why"):
                row[name] = None if row[name] is None else tuple(row[name])
            found[key] = HeatMap(
                raw=file.get_tensor(f"raw.{number}"),
                scores=file.get_tensor(scores) if scores in file.keys() else None,  # noqa: SIM118
                **row,
            )
    return HeatMaps(found), facts["images"]
