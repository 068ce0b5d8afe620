"""The demo: hooks of seven kinds on AlexNet, on a real photograph, as text, pictures and pages.

The code that registers the hooks is not in this package but in two small scripts in ``assets``,
which are copied beside the page, so that a reader can open them, change them and run them.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import torch

import hooktrace as ht
from hooktrace.demo.page import PAGE, Story, write_page
from hooktrace.demo.scene import DemoError, Scene, alexnet, set_scene

__all__ = ["DemoError", "run"]

SCRIPTS = ("alexnet_hooks.py", "tensor_hooks.py")
_MARK = "hooktrace demo"  # the generator that the story names


def run(
    output: Path,
    *,
    photo: Path | None = None,
    download: bool = False,
    force: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Run the demo and write its folder.

    Args:
        output: The folder.
        photo: A picture instead of the cat that scikit-image ships.
        download: Whether pretrained weights may be downloaded.
        force: Whether to write into a folder that holds something other than a demo.
        say: What to print with.

    Returns:
        The path of ``index.html``, the report of AlexNet's run.

    Raises:
        DemoError: `output` holds something else, or the photograph cannot be read.
        MissingExtraError: A package of the extra ``demo`` is not installed.
    """
    check_folder(output, force=force)
    scene = set_scene(photo, download=download)
    output.mkdir(parents=True, exist_ok=True)
    say(f"AlexNet with {scene.origin}.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        story = tell(scene, output)
    story = story._replace(warnings=_distinct(caught))
    for title, text in story.sections():
        say(f"\n{title}\n{'-' * len(title)}\n{text}")
    told = write_page(story, output)
    page = output / "index.html"
    say(f"\nOpen {page}: the run to step through. {told} tells it from beginning to end.")
    return page


def check_folder(output: Path, *, force: bool) -> None:
    """Raise unless `output` is free, or an earlier demo that may be written over."""
    if output.is_file():
        raise DemoError(f"{output} is a file; --output names a folder.")
    if force or not output.exists() or not any(output.iterdir()):
        return
    marked = {PAGE: _MARK, SCRIPTS[0]: _source(SCRIPTS[0])}  # the latter if it broke off
    if not any(text in _beginning(output / name) for name, text in marked.items()):
        raise DemoError(
            f"The folder {output} is not empty and holds no earlier demo. Choose another one "
            f"with --output, or write into it nevertheless with --force."
        )


def tell(scene: Scene, output: Path) -> Story:
    """Run everything, draw the pictures into `output`, and return what there is to say."""
    for name in SCRIPTS:
        (output / name).write_text(_source(name), "utf-8")
    hooked, plain = (_load(output / name) for name in SCRIPTS)
    model = alexnet(scene)
    main = hooked.watch(model, scene.images, scene.labels)
    tensors = plain.watch()
    scene.photo.save(output / "photo.png")
    for name, trace in (("alexnet", main), ("tensors", tensors)):
        for ending in ("svg", "png"):
            trace.draw(output / f"{name}.{ending}")
    main.report(output / "index.html", title="AlexNet with hooks of seven kinds")
    tensors.report(output / "tensors.html", title="A hook on a plain tensor")
    maps = _feature_maps(main, output)
    found = _compare(scene)
    found.draw(output / "inplace.png")
    return Story(scene, main, tensors, found, hooked, plain, maps)


def _source(name: str) -> str:
    return (files("hooktrace.demo") / "assets" / name).read_text("utf-8")


def _beginning(path: Path) -> str:
    return path.read_text("utf-8", "replace")[:10_000] if path.is_file() else ""


def _load(path: Path) -> ModuleType:
    """Import a script by its path, so that it counts as the reader's code and not as ours."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    was, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the folder is the reader's
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = was
    return module


def _feature_maps(trace: ht.Trace, output: Path) -> dict[str, str]:
    folder = output / "feature-maps"
    folder.mkdir(exist_ok=True)
    found = {}
    convolutions = [call for call in trace.calls("features.*") if call.module.type == "Conv2d"]
    for call in convolutions:
        tiles, width = call.output.shape[1], call.output.shape[-1]
        columns = 8 if tiles <= 64 else 16 if tiles <= 256 else 24
        options = {"nrow": columns, "scale": max(1, 56 // width)}
        found[call.name] = f"feature-maps/{call.name}.png"
        trace.feature_maps(call.name, **options).save(output / found[call.name])
    return found


def _compare(scene: Scene) -> ht.Comparison:
    """Trace AlexNet with its in-place ReLUs and without; the weights are the same."""
    models = [alexnet(scene, inplace=inplace) for inplace in (True, False)]
    traces = []
    for model in models:
        with ht.trace(model, keep=["features.*", model]) as t:
            loss = torch.nn.functional.cross_entropy(model(scene.images), scene.labels)
            torch.autograd.backward(loss)
        traces.append(t)
    return ht.compare(*traces)


def _distinct(caught: list[warnings.WarningMessage]) -> list[str]:
    lines = (f"{one.category.__name__}: {' '.join(str(one.message).split())}" for one in caught)
    return list(dict.fromkeys(lines))
