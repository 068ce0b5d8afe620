"""The model run again, on a replica: the user's own is never touched, also when it raises."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hooktrace._torch_replica import replicate, version_of
from hooktrace.cam.evidence import Evidence, Rerun
from hooktrace.cam.trees import mapped, repeated, tensors_of
from hooktrace.errors import MapShapeError, TargetError
from hooktrace.results import Container, Slot, describe

__all__ = ["Replica", "Tail", "call_number"]


class Replica:
    """A twin of the model with the same parameters, clones of its buffers, and no hooks.

    It runs in the model's own mode, train or eval.

    Args:
        rerun: The model and what it was called with.
    """

    def __init__(self, rerun: Rerun) -> None:
        self.model = replicate(rerun.model)
        self.args, self.kwargs = rerun.args, rerun.kwargs
        self._image: Tensor | None = None

    def run(self, args: Any = None, kwargs: Any = None) -> Any:
        """Run on copies of the arguments, by default the recorded ones, with forked RNG."""
        args = self.args if args is None else args
        kwargs = self.kwargs if kwargs is None else kwargs
        with self._forked():
            return self.model(*mapped(args, torch.clone), **mapped(kwargs, torch.clone))

    def run_rows(self, rows: Tensor, count: int, images: Tensor | None = None) -> Any:
        """Run on copies of the images `rows` of the batch of `count`, or on `images` instead."""
        args, kwargs = (repeated(one, rows, count) for one in (self.args, self.kwargs))
        if images is not None:
            places = [id(one) for one in tensors_of((self.args, self.kwargs))]
            wanted = places.index(id(self._image))
            order = itertools.count()

            def change(tensor: Tensor) -> Tensor:
                return images if next(order) == wanted else tensor

            args, kwargs = mapped((args, kwargs), change)
        with self._forked():
            return self.model(*args, **kwargs)

    def images(self, count: int, sizes: tuple[int, ...]) -> Tensor:
        """Return the input that is the batch of images: (N, channels, *sizes).

        Raises:
            MapShapeError: No input has this shape.
        """
        for one in tensors_of((self.args, self.kwargs)):
            if one.dim() > 2 and len(one) == count and tuple(one.shape[2:]) == sizes:
                self._image = one
                return one.detach()
        raise MapShapeError(
            f"inputs= holds no batch of {count} images of the size {sizes}, as was traced."
        )

    @contextmanager
    def _forked(self) -> Iterator[None]:
        devices = {one.device for one in self.model.parameters() if one.is_cuda}
        with torch.random.fork_rng(sorted(one.index for one in devices)):
            yield


@dataclass
class _Seen:
    """One call of a module in the recorded run."""

    module: nn.Module
    number: int
    result: Any = None
    finished: bool = False
    wrote: bool = False
    inner: list[_Seen] = field(default_factory=list)


def roles(description: Any) -> Iterator[str]:
    """Yield the roles of a description's tensors, in its order."""
    if isinstance(description, Slot):
        yield description.role
    elif isinstance(description, Container):
        for _, item in description.items:
            yield from roles(item)


def _modules_in(seen: _Seen) -> Iterator[nn.Module]:
    for one in seen.inner:
        yield one.module
        yield from _modules_in(one)


def call_number(evidence: Evidence) -> int:
    """Return how many calls of the layer's module came before its own in one run of the model."""
    own = evidence.layer.call
    return sum(
        one.module.name == own.module.name and one.id < own.id and one.root is own.root
        for one in evidence.calls
    )


class Tail:
    """What follows a layer: the model with what was called before it replayed.

    One run is recorded.  From then on each module that was called and finished before the layer
    returns what it returned then, and so does the layer, with a value of the caller's; code
    between modules is run.  A module that wrote into its input is run, not replayed.

    Args:
        rerun: The model and what it was called with.
        evidence: Which layer.

    Raises:
        TargetError: The model, run again, does not call the layer.
    """

    def __init__(self, rerun: Rerun, evidence: Evidence) -> None:
        self._replica = Replica(rerun)
        layer = evidence.layer
        self._count = len(layer.value)
        self._place = self._replica.model.get_submodule(layer.call.module.name)
        self._index = call_number(evidence)
        self._rows = torch.zeros(0, dtype=torch.long)
        self._value: Any = None
        self._own: Any = None
        self._calls: dict[nn.Module, int] = {}
        self._results: dict[tuple[nn.Module, int], Any] = {}
        self._inside: dict[tuple[nn.Module, int], list[nn.Module]] = {}
        self._record(str(layer.call))
        self._override()

    def run(self, role: str, value: Tensor, rows: Tensor) -> Any:
        """Return the model's output where the layer's `role` is `value`, of the images `rows`."""
        order = iter(tensors_of(self._own))
        names = {id(next(order)): one for one in roles(describe(self._own))}
        self._value = mapped(
            self._own,
            lambda one: value if names[id(one)] == role else repeated(one, rows, self._count),
        )
        self._rows = rows
        self._calls.clear()
        return self._replica.run_rows(rows, self._count)

    def _record(self, label: str) -> None:
        top = _Seen(self._replica.model, 0)
        open_calls, counts = [top], dict[nn.Module, int]()
        frozen: list[_Seen] = []

        def spied(module: nn.Module, original: Callable[..., Any]) -> Callable[..., Any]:
            def forward(*args: Any, **kwargs: Any) -> Any:
                number = counts[module] = counts.get(module, -1) + 1
                seen = _Seen(module, number)
                if module is self._place and number == self._index:
                    done = (one for call in open_calls for one in call.inner)
                    frozen.extend(one for one in done if one.finished)
                open_calls[-1].inner.append(seen)
                open_calls.append(seen)
                before = [(one, version_of(one)) for one in tensors_of((args, kwargs))]
                try:
                    result = original(*args, **kwargs)
                finally:
                    open_calls.pop()
                seen.wrote = any(version_of(one) != version for one, version in before)
                seen.finished = True
                for one in seen.inner:
                    if not any(one is kept for kept in frozen):
                        one.result = None
                if module is self._place and number == self._index:
                    self._own = mapped(result, torch.clone)
                if counts.get(self._place, -1) < self._index:
                    seen.result = mapped(result, torch.clone)
                return result

            return forward

        places = list(self._replica.model.modules())
        originals = [module.forward for module in places]
        for module in places:
            module.forward = spied(module, module.forward)
        try:
            self._replica.run()
        finally:
            for module, original in zip(places, originals, strict=True):
                module.forward = original
        if counts.get(self._place, -1) < self._index:
            raise TargetError(f"The model, run again with these inputs, does not call {label}.")
        for one in frozen:
            if not one.wrote and one.module is not self._place:
                self._results[one.module, one.number] = one.result
                self._inside[one.module, one.number] = list(_modules_in(one))

    def _override(self) -> None:
        for module in {self._place, *(module for module, _ in self._results)}:
            module.forward = self._replaying(module, module.forward)

    def _replaying(self, module: nn.Module, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            number = self._calls[module] = self._calls.get(module, -1) + 1
            if module is self._place and number == self._index:
                return self._value
            if (module, number) in self._results:
                for one in self._inside[module, number]:
                    self._calls[one] = self._calls.get(one, -1) + 1
                return repeated(self._results[module, number], self._rows, self._count)
            return original(*args, **kwargs)

        return forward
