"""`explain()`: heat maps in one call, which runs the model itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hooktrace.cam.heatmaps import HeatMaps
from hooktrace.cam.layers import choose
from hooktrace.cam.making import methods_of
from hooktrace.explained import Explained, stream
from hooktrace.graphedruns import traced_run, untouched
from hooktrace.progress import bars
from hooktrace.session import Trace
from hooktrace.views.calls import CallIndex

__all__ = ["explain"]


def explain(
    model: nn.Module,
    images: Any,
    *,
    target: Any = None,
    classes: Sequence[int] | None = None,
    method: Any = "gradcam",
    layer: str | Sequence[str] | None = None,
    reshape: Any = None,
    seed: int = 0,
    to: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Any:
    """Run a model on images and return heat maps of what it sees in them.

    The model runs in the mode that it is in, with your hooks on it; parameters and their ``.grad``,
    buffers, flags and the generators of random numbers are afterwards what they were.  Frozen
    models and an outer ``torch.no_grad()`` make no difference: a graph is recorded from the
    earliest of the layers on, and nowhere before.

    Args:
        model: What to explain.
        images: (N, C, *S), or whatever it takes: a tuple of positional arguments, or a dict of
            keyword arguments.  With ``to=`` an iterable of such batches, such as a ``DataLoader``,
            with or without labels.
        target: A class for all images, a list with one for each, a callable on what the model
            returns, or None for the predicted class; with ``to=`` also ``"labels"``, those of the
            loader.
        classes: Several classes, each with a map of its own, instead of a target.
        method: Names out of `hooktrace.cam.METHODS`, or methods with options, one or several.
        layer: Names of modules, or None: then one is chosen, and ``.why`` of the maps says why.
        reshape: From what a layer returned to (N, C, *S), for layouts that are not found.
        seed: For methods that draw random numbers.
        to: A folder, for more images than fit into memory: each batch's maps are written there
            when they are made.  Called again, an interrupted run goes on where it stopped.
        progress: Whether to show bars on standard error: over the batches with ``to=``, and of
            methods that run the model often.

    Returns:
        `HeatMaps` by (method, layer, target); a single one has ``.raw`` (N, *S) itself.  With
        ``to=`` an `Explained`, from which the maps of each batch can be read.

    Raises:
        UnknownNameError: There is no such layer or method; the message names the nearest.
        MapShapeError: A layer has no spatial extent, or none could be chosen.
        NoGraphError: The target cannot be differentiated for a layer.
        TargetError: The target does not fit the batch or the classes.
        MismatchError: The folder `to` holds the maps of another run, or of other images.
        TypeError: ``target="backward"``: there is no backward of yours in here.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(
        ...     nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1),
        ...     nn.Flatten(), nn.Linear(4, 2),
        ... )
        >>> explain(net, torch.randn(1, 3, 8, 8), target=1).raw.shape
        torch.Size([1, 6, 6])
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"explain() takes a module and its images, not a {type(model).__name__}.")
    options = {"classes": classes, "method": method, "reshape": reshape, "seed": seed}
    if to is not None:
        return _streamed(model, images, target, layer, options, to, progress)
    if isinstance(target, str):
        raise TypeError(
            "explain() runs the model itself, so it takes a class, a callable or None as target=; "
            f"t.cam(..., target={target!r}) uses the gradients of a backward inside a trace."
        )
    if not isinstance(images, (Tensor, tuple, Mapping)):
        raise TypeError(
            f"explain() takes a tensor of images, a tuple of arguments or a dict of keyword "
            f"arguments, but got {type(images).__name__}; an iterable of batches needs to=, a "
            f"folder for the maps."
        )
    with bars(piped=True) if progress else nullcontext():
        return _explained(model, images, target, _Choice(layer), options)


class _Choice:
    """Which layers to look at: those that were named, or one that is chosen at the first run.

    Attributes:
        names: The layers.
        why: Why that one was chosen; () if they were named.
    """

    def __init__(self, layer: str | Sequence[str] | None) -> None:
        self.names = [layer] if isinstance(layer, str) else list(layer or ())
        self.why: tuple[str, ...] = ()
        self._open = layer is None

    def settle(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Choose from a run that keeps nothing, unless that is done."""
        if not self._open:
            return
        with torch.inference_mode(False), torch.no_grad(), Trace(model, edits="versions") as trace:
            model(*args, **kwargs)
        self.settle_by(trace)

    def settle_by(self, trace: Trace) -> None:
        """Choose from a run that there has been, unless that is done."""
        if not self._open:
            return
        calls = CallIndex(trace.log).refresh()
        found = choose(calls, calls.roots()[-1])
        self.names, self.why, self._open = [found.name], found.why, False


def _explained(
    model: nn.Module, images: Any, target: Any, choice: _Choice, options: dict[str, Any]
) -> HeatMaps:
    args, kwargs = _arguments(images)
    options = {**options, "method": methods_of(options["method"])}
    with untouched(model):
        whole = any(one.scope == "model" for one in options["method"])
        if not whole:
            choice.settle(model, args, kwargs)
        trace = traced_run(model, args, kwargs, choice.names, whole=whole)
        try:
            choice.settle_by(trace)
            given = {"model": model, "inputs": kwargs or args}
            made = trace.cam(choice.names, target=target, **given, **options)
        finally:
            trace.release()
    return HeatMaps(
        {
            key: replace(one, why=(*choice.why, *one.why)) if one.why else one
            for key, one in made.maps.items()
        }
    )


def _streamed(
    model: nn.Module,
    batches: Iterable[Any],
    target: Any,
    layer: str | Sequence[str] | None,
    options: dict[str, Any],
    folder: str | os.PathLike[str],
    progress: bool,
) -> Explained:
    """Explain batch by batch; a layer that is not named is chosen once, by the first batch."""
    choice = _Choice(layer)

    def one(images: Any, labels: Any) -> HeatMaps:
        if target == "labels" and labels is None:
            raise TypeError('target="labels" needs batches of images and labels.')
        wanted = labels if target == "labels" else target
        return _explained(model, images, wanted, choice, options)

    settings = {
        "model": type(model).__name__,
        "layer": layer,
        "target": target if isinstance(target, (int, str, list, tuple)) else _label(target),
        **{name: one for name, one in options.items() if name != "reshape"},
    }
    return stream(batches, one, folder, settings, progress=progress)


def _label(target: Any) -> Any:
    return getattr(target, "label", None) or getattr(target, "__name__", target)


def _arguments(images: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(images, Mapping):
        return (), dict(images)
    return (images if isinstance(images, tuple) else (images,)), {}
