"""Oracle for gradients: PyTorch's own full backward hooks on a twin without in-place operations.

The twin is the same model while it is forbidden to work in place: flags named ``inplace`` are
off, and `OutOfPlace` runs ``x += y`` as ``x = x + y`` and ``relu(x, inplace=True)`` as
``relu(x)``.  Code that uses the written tensor under another name gives another output then, by
which it is found: it has no twin.
"""

from __future__ import annotations

import contextlib
import inspect
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from hooktrace.views.values import content

from .prints import Print, Runs

Gradients = dict[tuple[str, str], list[Any]]
"""By name of a module and ``grad_output[i]`` or ``grad_input[i]``: one for each of its calls."""

ARITHMETIC = ("add", "sub", "mul", "div", "pow", "relu", "sigmoid", "tanh", "clamp", "masked_fill")
OUT_OF_PLACE = {
    getattr(torch.Tensor, f"{name}_"): getattr(torch.Tensor, name) for name in ARITHMETIC
}


class OutOfPlace(TorchFunctionMode):
    """Runs in-place methods on tensors with gradients, and ``inplace=True``, out of place."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in OUT_OF_PLACE and args[0].requires_grad:
            func = OUT_OF_PLACE[func]
        elif kwargs.get("inplace"):
            kwargs["inplace"] = False
        elif getattr(func, "__module__", "") == "torch.nn.functional" and any(
            one is True for one in args
        ):
            names = list(inspect.signature(func).parameters)
            if "inplace" in names and names.index("inplace") < len(args):
                place = names.index("inplace")
                args = (*args[:place], False, *args[place + 1 :])
        return func(*args, **kwargs)


@contextlib.contextmanager
def out_of_place(model: nn.Module) -> Iterator[None]:
    """Forbid a model to work in place."""
    flagged = [one for one in model.modules() if getattr(one, "inplace", None) is True]
    for one in flagged:
        one.inplace = False  # type: ignore[assignment]
    try:
        with OutOfPlace():
            yield
    finally:
        for one in flagged:
            one.inplace = True  # type: ignore[assignment]


class Hooked:
    """Full backward hooks on every module of a twin, while it runs.

    Attributes:
        found: What the hooks were given; the calls of one module latest first.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.found: Gradients = defaultdict(list)
        self.calls = 0

    def run(self, runs: Runs) -> Print:
        """Run the twin with hooks."""
        handles = []
        for name, module in self.model.named_modules():

            def note(
                module: nn.Module, grad_input: Any, grad_output: Any, name: str = name
            ) -> None:
                self.calls += 1
                for role, gradients in (("input", grad_input), ("output", grad_output)):
                    for place, gradient in enumerate(gradients):
                        copy = None if gradient is None else gradient.detach().clone()
                        self.found[name, f"grad_{role}[{place}]"].append(copy)

            handles.append(module.register_full_backward_hook(note))
        try:
            with out_of_place(self.model):
                return runs.run()[0]
        finally:
            for handle in handles:
                handle.remove()
            for module in self.model.modules():
                module._is_full_backward_hook = None


def traced_gradients(t: Any) -> tuple[Gradients, set[tuple[str, str]]]:
    """Return the gradients of every call of a trace, and which come with a note.

    Places are counted as full backward hooks count them: elements of the tuple of arguments, or of
    the tuple that was returned.
    """
    found: Gradients = defaultdict(list)
    noted = set()
    for call in t.calls():
        name = call.module.name
        events = {event.gradient.role: event for event in call.gradients}
        for side, sightings, role in (
            ("input", call.seen_inputs, "args"),
            ("output", call.seen_outputs, "output"),
        ):
            for index, seen in enumerate(sightings):
                place = _place(seen.role, role, index)
                if place is None:
                    continue
                key = (name, f"grad_{side}[{place}]")
                event = events.get(f"grad_{side}[{index}]")
                found[key].append(None if event is None else content(t.log, event.gradient, "kept"))
                if event is not None and event.note:
                    noted.add(key)
    return found, noted


def _place(role: str, side: str, index: int) -> int | None:
    """Return the place of ``args[2]``, ``output``, or a field of a named tuple; None if deeper."""
    path = role.removeprefix(side)
    if not role.startswith(side) or path.count("[") + path.count(".") > 1:
        return None
    if path.startswith("."):
        return index
    return int(path[1:-1] or 0) if path[1:-1].isdigit() or not path else None
