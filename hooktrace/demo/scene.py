"""What the demo is played with: a photograph, AlexNet, and its weights."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hooktrace.errors import HooktraceError, MissingExtraError

__all__ = ["DemoError", "Scene", "alexnet", "set_scene"]

_SEED = 0
_CAT = 285  # ImageNet's number of "Egyptian cat"


class DemoError(HooktraceError, RuntimeError):
    """The demo cannot run as it was asked to."""


class Scene(NamedTuple):
    """What the demo is played with.

    Attributes:
        photo: The photograph as AlexNet sees it, a square of 224 x 224 pixels (PIL).
        images: The same as a normalised batch (1, 3, 224, 224).
        labels: The class that the loss asks for: (1,).
        weights: The parameters of AlexNet by name.
        pretrained: Whether they are the pretrained ones.
        categories: Names of the 1000 classes.
        origin: Where the weights come from, in a sentence.
    """

    photo: Any
    images: Tensor
    labels: Tensor
    weights: dict[str, Tensor]
    pretrained: bool
    categories: list[str]
    origin: str


def set_scene(photo: Path | None = None, *, download: bool = False) -> Scene:
    """Load the photograph and the weights.

    Args:
        photo: A picture; None takes the cat that scikit-image ships.
        download: Whether the pretrained weights may be fetched if they are not in the cache.

    Raises:
        MissingExtraError: torchvision, Pillow or scikit-image is not installed.
        DemoError: The picture cannot be read.
    """
    models = _package("torchvision", "torchvision.models")
    transforms = _package("torchvision", "torchvision.transforms.functional")
    recipe = models.AlexNet_Weights.DEFAULT
    preset = recipe.transforms()
    square = transforms.center_crop(
        transforms.resize(_photograph(photo), preset.resize_size), preset.crop_size
    )
    weights, pretrained, origin = _weights(recipe, download=download)
    images = preset(square).unsqueeze(0)
    labels = torch.tensor([_CAT])
    return Scene(square, images, labels, weights, pretrained, recipe.meta["categories"], origin)


def alexnet(scene: Scene, *, inplace: bool = True) -> nn.Module:
    """Return AlexNet in eval mode, with the in-place ReLUs it has by default or without.

    Args:
        scene: Whose weights it gets.
        inplace: Whether its ReLUs write into their input.
    """
    with torch.device("meta"):  # its own initial weights are not wanted
        model: nn.Module = import_module("torchvision.models").alexnet()
    model.load_state_dict(scene.weights, assign=True)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = inplace
    return model.eval()


def _photograph(path: Path | None) -> Any:
    images = _package("pillow", "PIL.Image")
    if path is None:
        package = find_spec("skimage")
        if package is None or package.origin is None:
            raise MissingExtraError("The demo's photograph", "scikit-image", "demo")
        path = Path(package.origin).parent / "data" / "chelsea.png"
    try:
        with images.open(path) as picture:
            return picture.convert("RGB")
    except OSError as error:
        raise DemoError(
            f"The photograph {path} cannot be read ({error}). Give one with --photo."
        ) from error


def _weights(recipe: Any, *, download: bool) -> tuple[dict[str, Tensor], bool, str]:
    cached = Path(torch.hub.get_dir()) / "checkpoints" / recipe.url.rpartition("/")[2]
    here = cached.is_file()
    if here or download:
        try:
            found = recipe.get_state_dict(progress=sys.stderr.isatty(), check_hash=True)
        except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
            what = f"{cached} could not be read" if here else f"{recipe.url} could not be fetched"
            raise DemoError(f"The pretrained weights {what}: {error}") from error
        place = "from torch.hub's local cache" if here else "downloaded for this run"
        return dict(found), True, f"pretrained weights (ImageNet), {place}"
    torch.manual_seed(_SEED)
    fresh = import_module("torchvision.models").alexnet()
    origin = (
        "random weights, because the pretrained ones are not in torch.hub's local cache; "
        "--download fetches them (233 MB)"
    )
    return dict(fresh.state_dict()), False, origin


def _package(name: str, module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError("The demo", name, "demo") from error
