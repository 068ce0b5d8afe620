"""What a model returned, looked at for scores: tensors, dicts, tuples, dataclasses, lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from hooktrace.descriptions import Container, Slot, build
from hooktrace.errors import TargetError
from hooktrace.results import describe

__all__ = ["batch_of", "check_scores", "items_of", "logits_of", "tensor_of"]


def logits_of(output: Any) -> Tensor:
    """Return the tensor of class scores out of what a model returned.

    Of a dict or a dataclass the entry ``logits`` or ``out``, else the first floating-point
    tensor of at least two dimensions; of a tuple or list the first one.

    Raises:
        TargetError: There is no such tensor.
    """
    return tensor_of(output, 2)


def tensor_of(output: Any, dimensions: int) -> Tensor:
    """Return it, where scores have at least so many dimensions.

    Raises:
        TargetError: There is no such tensor.
    """
    found = _first(output, dimensions)
    if found is None:
        raise TargetError(
            f"The model returned a {type(output).__name__} without a tensor (N, classes). Give a "
            f"callable as target=, from what the model returned to one score for each image."
        )
    return found


def _first(output: Any, dimensions: int) -> Tensor | None:
    if isinstance(output, Tensor):
        fits = output.dim() >= dimensions and output.is_floating_point()
        return output if fits else None
    items = _items(output)
    named = (items[name] for name in ("logits", "out") if name in items)
    found = (_first(item, dimensions) for item in (*named, *items.values()))
    return next((one for one in found if one is not None), None)


def _items(output: Any) -> dict[Any, Any]:
    """Return what a container holds, by key; nothing of anything else."""
    if isinstance(output, Mapping):
        return dict(output)
    if is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    if isinstance(output, Sequence) and not isinstance(output, str):
        return {**dict(enumerate(output)), **getattr(output, "_asdict", dict)()}
    return {}


def batch_of(output: Any) -> int:
    """Return how many images an output is of: tensors have them first, detection lists them.

    Raises:
        TargetError: It holds no tensor.
    """
    if _listed(output):
        return len(output)
    for one in _tensors(output):
        if one.dim():
            return len(one)
    raise TargetError(f"The model returned a {type(output).__name__} without a batch of tensors.")


def items_of(output: Any) -> Iterator[Any]:
    """Yield the output of each image: entries of the first axis, in the same containers.

    What has another first axis than the batch, such as a loss, is the same for every image.
    """
    if _listed(output):
        yield from output
        return
    count, description = batch_of(output), describe(output)
    roles = dict(_by_role(output, description))
    for number in range(count):
        yield build(
            description,
            {
                role: one[number] if one.dim() and len(one) == count else one
                for role, one in roles.items()
            },
        )


def check_scores(scores: Any, label: str, output: Any, images: int | None) -> None:
    """Check what a target returned.

    Args:
        scores: Should be floating-point: (N,), (N, 1) or a single number.
        label: What the score is, in a few words.
        output: What the model returned.
        images: How many images the model got; None if that is not known.

    Raises:
        TargetError: It is no such tensor.
    """
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        raise TargetError(
            f"A target returns a floating-point tensor with one score for each image, "
            f"but {label} returned {_described(scores)}."
        )
    if scores.numel() == 1:
        return
    expected = {images, next((len(one) for one in _tensors(output) if one.dim()), None)}
    if _listed(output):
        expected = {len(output)}
    fits = scores.numel() == len(scores) if scores.dim() else True
    if not fits or (None not in expected and len(scores) not in expected):
        raise TargetError(
            f"A target returns one score for each image, (N,), or a single number, but {label} "
            f"returned {tuple(scores.shape)}. A callable as target= gets the output of the whole "
            f"batch; a list of callables gets the output of one image each."
        )


def _described(thing: Any) -> str:
    if isinstance(thing, Tensor):
        return f"one of {str(thing.dtype).removeprefix('torch.')}"
    return f"a {type(thing).__name__}"


def _listed(output: Any) -> bool:
    """Whether it is a list with a dict for each image, as detection returns."""
    return isinstance(output, (list, tuple)) and bool(output) and isinstance(output[0], Mapping)


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
        return
    for item in _items(output).values():
        yield from _tensors(item)


def _by_role(output: Any, description: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of an output with the roles that they have in its description."""
    if isinstance(description, Slot):
        yield description.role, output
    elif isinstance(description, Container):
        for key, item in description.items:
            plain = description.how == "attributes" and not isinstance(output, Mapping)
            yield from _by_role(getattr(output, key) if plain else output[key], item)
