"""Heat maps of photographs: from files to files, as ``hooktrace cam`` makes them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from hooktrace.cam.heatmaps import HeatMaps
from hooktrace.cam.making import methods_of
from hooktrace.errors import (
    BlankMapWarning,
    HooktraceError,
    MissingExtraError,
    UnknownNameError,
    nearest,
)
from hooktrace.explaining import explain
from hooktrace.pretrained import Classifier, load
from hooktrace.progress import bars, work

__all__ = ["PhotographError", "explain_photographs"]


class PhotographError(HooktraceError, OSError):
    """A photograph cannot be read, or a picture of it would overwrite a file."""


def explain_photographs(
    paths: Sequence[Path],
    *,
    model: str,
    weights: str = "DEFAULT",
    methods: Sequence[str] = ("gradcam",),
    layer: str | None = None,
    classes: Sequence[str] = (),
    folder: Path = Path("cam-output"),
    force: bool = False,
    say: Callable[[str], Any] = print,
    progress: bool = False,
) -> list[Path]:
    """Write a picture of heat maps for each photograph.

    Args:
        paths: The photographs.
        model: Name of a classifier, as `hooktrace.pretrained.load` takes it.
        weights: ``DEFAULT``, ``none`` or the path of a checkpoint.
        methods: Names of methods.
        layer: Name of a module; None chooses one.
        classes: Numbers or names of classes; none for the predicted class.
        folder: Where the pictures go, each as ``NAME-cam.png``.
        force: Whether files of these names may be replaced.
        say: Is given a line for each photograph.
        progress: Whether to show bars on standard error, if that is a terminal.

    Returns:
        The paths of the pictures.

    Raises:
        PhotographError: A photograph cannot be read, or a picture of that name is there already.
        UnknownNameError: There is no such model, layer, method or class.
        ModelError: The model's weights cannot be loaded.
        MissingExtraError: torchvision or Pillow is not installed.
    """
    methods_of(list(methods))  # names are checked before anything is loaded
    _usable(folder)
    pictures = _free([folder / f"{path.stem}-cam.png" for path in paths], force=force)
    photos = [_opened(path) for path in paths]
    known = load(model, weights)
    wanted = [_number(one, known) for one in classes]
    say(f"{known.name} with {known.origin}")
    folder.mkdir(parents=True, exist_ok=True)
    for number, (path, photo, picture) in enumerate(zip(paths, photos, pictures, strict=True)):
        seen = known.crop(photo)
        label = f"{path.name}, {number + 1} of {len(paths)}"
        with warnings.catch_warnings(record=True) as complaints, _shown(label, progress):
            warnings.simplefilter("always", BlankMapWarning)
            maps = explain(
                known.model,
                known.prepare(seen).unsqueeze(0),
                classes=wanted or None,
                method=list(methods),
                layer=layer,
            )
        maps.draw(picture, [seen], names=known.names or None)
        for line in _told(path, maps, known):
            say(line)
        for complaint in complaints:
            say(f"  {complaint.message}")
        say(f"  {picture}")
    return pictures


@contextmanager
def _shown(label: str, progress: bool) -> Iterator[None]:
    """Show that a photograph is worked on, and bars of what takes long."""
    with bars() if progress else nullcontext(), work(label):
        yield


def _usable(folder: Path) -> None:
    for one in (folder, *folder.parents):
        if one.exists():
            if not one.is_dir():
                raise PhotographError(f"{one} is no folder. Give another with --output.")
            return


def _free(pictures: list[Path], *, force: bool) -> list[Path]:
    doubled = {one for one in pictures if pictures.count(one) > 1}
    if doubled:
        raise PhotographError(f"Two of the photographs have one name: {min(doubled).name}.")
    folders = [one for one in pictures if one.is_dir()]
    if folders:
        raise PhotographError(f"{folders[0]} is a folder. Give another with --output.")
    there = [one for one in pictures if one.exists()]
    if there and not force:
        raise PhotographError(
            f"{there[0]} is there already. Give another folder with --output, or --force."
        )
    return pictures


def _opened(path: Path) -> Any:
    try:
        images = import_module("PIL.Image")
    except ImportError as error:
        raise MissingExtraError("Explaining photographs", "pillow", "cam") from error
    try:
        with images.open(path) as photo:
            return photo.convert("RGB")
    except FileNotFoundError as error:
        raise PhotographError(f"There is no photograph {path}.") from error
    except OSError as error:
        raise PhotographError(f"The photograph {path} cannot be read: {error}") from error


def _number(wanted: str, known: Classifier) -> int:
    """Return the number of a class that is given by number or name."""
    if wanted.isdigit():
        return int(wanted)
    if wanted in known.names:
        return known.names.index(wanted)
    raise UnknownNameError(f"{known.name} has no class {wanted!r}.{nearest(wanted, known.names)}")


def _told(path: Path, maps: HeatMaps, known: Classifier) -> list[str]:
    """Say what was explained of a photograph, and by which layer."""
    lines = [str(path)]
    for target in dict.fromkeys(key[2] for key in maps):
        one = next(iter(maps.of(target=target).maps.values()))
        assert one.classes is not None and one.scores is not None  # noqa: PT018
        number = one.classes[0]
        name = f" {known.names[number]}" if known.names else ""
        lines.append(f"  class {number}{name}, score {one.scores[0]:.3g}")
    for name, why in {one.layer: one.why for one in maps.maps.values() if one.why}.items():
        lines += [f"  layer {name}", *(f"    {reason}" for reason in why)]
    return lines
