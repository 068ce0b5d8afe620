"""`cam()`: heat maps from a trace, of methods x layers x classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hooktrace.cam import methods as _methods  # noqa: F401  (fills METHODS)
from hooktrace.cam.evidence import Evidence, Layer, Rerun
from hooktrace.cam.heatmaps import HeatMap, HeatMaps
from hooktrace.cam.layers import choose
from hooktrace.cam.layouts import Layout, find_layout, image_of, images_of
from hooktrace.cam.method import METHODS, Method
from hooktrace.cam.question import Question
from hooktrace.cam.targets import Target, as_target
from hooktrace.errors import BlankMapWarning, MapShapeError, NotKeptError
from hooktrace.events import TensorSummary
from hooktrace.patches import unrecorded
from hooktrace.tracebacks import calling_level
from hooktrace.views.calls import Call, CallIndex

__all__ = ["cam", "layer_of", "methods_of"]

Reshape = Callable[[Tensor], Tensor]


@unrecorded()
def cam(
    calls: CallIndex,
    layers: str | Sequence[str] | None = None,
    *,
    target: Any = None,
    classes: Sequence[int] | None = None,
    method: Any = "gradcam",
    reshape: Reshape | None = None,
    model: nn.Module | None = None,
    inputs: Any = None,
    seed: int = 0,
) -> HeatMaps:
    """Make heat maps from what a trace kept; `Recording.cam` says what the arguments are."""
    why: tuple[str, ...] = ()
    if layers is None:
        layers, why = _chosen(calls)
    names = [layers] if isinstance(layers, str) else list(layers)
    if not names:
        raise ValueError("t.cam() takes at least one layer.")
    if classes is not None and target is not None:
        raise TypeError("target= and classes= exclude each other: give one of them.")
    made = [layer_of(calls, calls.one(name), reshape) for name in names]
    found: dict[Any, HeatMap] = {}
    wanted: list[tuple[Any, Target | None]]
    if classes is not None:
        wanted = [(one, as_target(one)) for one in classes]
    elif isinstance(target, str) and target == "backward":
        wanted = [(target, None)]
    else:
        wanted = [(_key(target), as_target(target))]
    rerun = None if model is None else Rerun(model, *_arguments(inputs))
    methods = _named(methods_of(method))
    for key, score in wanted:
        evidences = _evidences(calls, made, score, rerun, seed)
        for title, one in methods.items():
            for label, picture in _pictures(one, names, evidences, key):
                said = (*why, *picture.why) if picture.why else ()  # none of the whole model
                found[title, label, key] = replace(picture, method=title, why=said)
    return HeatMaps(found)


def _chosen(calls: CallIndex) -> tuple[str, tuple[str, ...]]:
    """Choose a layer of the last outermost call of which something was kept; say why."""
    roots = [call for call in calls.roots() if call.id in calls.log.results]
    if not roots:
        raise NotKeptError(
            "No layer was kept, so there is nothing to make maps of. Name some in keep=, or use "
            "ht.explain(model, images), which chooses one."
        )
    found = choose(calls, roots[-1])
    return found.name, found.why


def _key(target: Any) -> Any:
    if target is None:
        return "predicted"
    if isinstance(target, (int, str)):
        return target
    if isinstance(target, Tensor):
        target = target.tolist()
    if isinstance(target, Sequence):
        return tuple(target)
    return getattr(target, "label", None) or getattr(target, "__name__", type(target).__name__)


def methods_of(wanted: Any) -> list[Method]:
    """Return methods by name, class or instance."""
    several = wanted if isinstance(wanted, (list, tuple)) else [wanted]
    return [
        one if isinstance(one, Method) else one() if isinstance(one, type) else METHODS[one]()
        for one in several
    ]


def _named(methods: list[Method]) -> dict[str, Method]:
    """Return methods by name; by name and options where several have one name."""
    names = [one.name for one in methods]
    return {one.label if names.count(one.name) > 1 else one.name: one for one in methods}


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if inputs is None:
        raise TypeError("model= needs inputs= too: what the model was called with.")
    if isinstance(inputs, dict):
        return (), inputs
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def _evidences(
    calls: CallIndex, layers: list[Layer], score: Any, rerun: Rerun | None, seed: int
) -> list[Evidence]:
    questions: dict[Any, Question | None] = {}
    for layer in layers:
        root = layer.call.root
        if root.id not in questions:
            label = str(getattr(score, "label", None) or getattr(score, "__name__", "the target"))
            questions[root.id] = None if score is None else Question(calls, root, score, label)
    return [
        Evidence(
            calls,
            layer,
            [one for one in layers if one.call.root is layer.call.root],
            questions[layer.call.root.id],
            rerun,
            seed,
        )
        for layer in layers
    ]


def _pictures(
    method: Method, names: list[str], evidences: list[Evidence], key: Any
) -> list[tuple[str, HeatMap]]:
    """Make the maps of one method: of each layer, or one of all."""
    if method.scope == "layer":
        return [
            (name, _picture(method, name, one, key))
            for name, one in zip(names, evidences, strict=True)
        ]
    label = "+".join(names) if method.scope == "layers" else str(evidences[-1].root.name)
    return [(label, _picture(method, label, evidences[-1], key))]


def _picture(method: Method, label: str, evidence: Evidence, key: Any) -> HeatMap:
    with torch.no_grad(), torch.inference_mode(False):
        raw = method.map(evidence)
        extra = dict(method.details(evidence))
    question = evidence.question
    made = HeatMap(
        raw=raw.detach(),
        method=method.name,
        layer=label,
        target="what was backpropagated" if question is None else question.label,
        classes=None if question is None else question.classes,
        scores=None if question is None else question.scores,
        image=evidence.layer.image,
        relu=method.relu,
        why=() if method.scope == "model" else (evidence.layer.layout.why,),
        extra=extra,
    )
    _warn(made)
    return made


def _warn(made: HeatMap) -> None:
    for flag in ("nonfinite", "flat", "all_nonpositive"):
        hit = [number for number, one in enumerate(made.flags) if flag in one]
        if hit:
            images = ", ".join(map(str, hit[:6])) + (", ..." if len(hit) > 6 else "")
            meaning = {
                "nonfinite": "holds NaN or infinity",
                "flat": "is the same everywhere",
                "all_nonpositive": "is nowhere positive, so that its positive part is blank",
            }[flag]
            warnings.warn(
                f"The {made.method} map of {made.layer} for {made.target} {meaning} "
                f"(image {images}); .raw has it as it is.",
                BlankMapWarning,
                stacklevel=calling_level(),
            )


# ------------------------------------------------------------------ the layer


def layer_of(calls: CallIndex, call: Call, reshape: Reshape | None = None) -> Layer:
    """Return what a call returned, as a layer to make maps of.

    Args:
        calls: The calls of the trace.
        call: Whose output was kept.
        reshape: From the output to (N, C, *S), instead of the layout that is found.

    Raises:
        NotKeptError: It was not kept.
        MapShapeError: It has no spatial extent, or its layout cannot be told.
    """
    image = image_of(call.root)
    for seen in call.seen_outputs:
        summary = seen.summary
        if not isinstance(summary, TensorSummary) or "float" not in summary.dtype:
            continue
        value = calls.log.snapshots.get(seen.value) if seen.value is not None else None
        if value is None:
            how = (
                "It was let go by release()."
                if calls.log.released
                else (f"Keep it with trace(model, keep=[{call.module.name or '*'!r}]).")
            )
            kept = sorted({str(one) for one in calls if one.kept})
            there = f" Kept are: {', '.join(kept[:8])}." if kept else ""
            raise NotKeptError(f"What {call} returned was not kept. {how}{there}")
        if reshape is None:
            layout = find_layout(call, tuple(value.shape), image)
        else:
            layout = _given(reshape, value, images_of(call.root))
        return Layer(call, seen.role, value, layout, image)
    raise MapShapeError(f"{call} returned no tensor of floating-point numbers.")


def _given(reshape: Reshape, value: Tensor, images: int | None) -> Layout:
    shape = tuple(reshape(value).shape)
    if len(shape) < 3 or shape[0] != (images or value.shape[0]):
        raise MapShapeError(
            f"reshape= made {shape} of {tuple(value.shape)}; it has to return (N, C, *S), for each "
            f"of {images or value.shape[0]} images."
        )
    return Layout("as reshape= arranges it", shape[2:], reshape, batch=_images_axis(reshape, value))


def _images_axis(reshape: Reshape, value: Tensor) -> int:
    """Return along which axis of a layer's output the images are; the first if along none."""
    numbers = torch.arange(value.numel(), device=value.device).reshape(value.shape)
    places = reshape(numbers).flatten(1)
    images = torch.arange(len(places), device=value.device).unsqueeze(1)
    for axis, found in enumerate(torch.unravel_index(places, value.shape)):
        if value.shape[axis] == len(places) and bool((found == images).all()):
            return axis
    return 0
