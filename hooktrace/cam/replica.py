"""The model run again, on a replica: the user's own is never touched, also when it raises."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hooktrace._torch_replica import Buffers, replicate
from hooktrace.cam.evidence import Evidence, Rerun
from hooktrace.cam.recordedrun import RecordedRun
from hooktrace.cam.trees import mapped, repeated, tensors_of
from hooktrace.descriptions import Container, Slot
from hooktrace.errors import MapShapeError
from hooktrace.results import describe

__all__ = ["Replica", "Tail", "by_role", "call_number"]


class Replica:
    """A twin of the model with the same parameters, clones of its buffers, and no hooks.

    It runs in the model's own mode, train or eval.  Every run begins with the model's buffers and
    the state of the generators of random numbers that they are in.

    Args:
        rerun: The model and what it was called with.
    """

    def __init__(self, rerun: Rerun) -> None:
        self.model = replicate(rerun.model)
        self.args, self.kwargs = rerun.args, rerun.kwargs
        self._state = Buffers(rerun.model, self.model)
        self._image: Tensor | None = None
        devices = {one.device for one in self.model.parameters() if one.is_cuda}
        self._devices = sorted(one.index for one in devices)

    def run(self, args: Any = None, kwargs: Any = None) -> Any:
        """Run on copies of the arguments, by default the recorded ones, with forked RNG."""
        args = self.args if args is None else args
        kwargs = self.kwargs if kwargs is None else kwargs
        with self._forked():
            return self.model(*mapped(args, torch.clone), **mapped(kwargs, torch.clone))

    def run_rows(
        self, rows: Tensor, count: int, images: Tensor | None = None, *, shared: bool = False
    ) -> Any:
        """Run on the images `rows` of the batch of `count`, or on `images` instead.

        Args:
            rows: Which of the images, (M,).
            count: How many there are.
            images: What to run on instead of the batch of images.
            shared: Whether the model does not write to its inputs: then they are not copied.
        """
        args, kwargs = (
            repeated(one, rows, count, shared=shared) for one in (self.args, self.kwargs)
        )
        if images is not None:
            args, kwargs = self._with(images, args, kwargs)
        with self._forked():
            return self.model(*args, **kwargs)

    def arguments(self, images: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the model was called with, with other images in the place of its own."""
        return self._with(images, self.args, self.kwargs)

    def _with(self, images: Tensor, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], Any]:
        places = [id(one) for one in tensors_of((self.args, self.kwargs))]
        wanted = places.index(id(self._image))
        order = itertools.count()

        def change(tensor: Tensor) -> Tensor:
            return images if next(order) == wanted else tensor

        found: tuple[tuple[Any, ...], Any] = mapped((args, kwargs), change)
        return found

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

    def random_states(self) -> list[Tensor]:
        """Return the states of the generators, to be given to `resume`."""
        return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, self._devices)]

    def resume(self, states: list[Tensor]) -> None:
        """Put the generators into these states, in a run: they are put back after it."""
        torch.set_rng_state(states[0])
        for device, state in zip(self._devices, states[1:], strict=True):
            torch.cuda.set_rng_state(state, device)

    @contextmanager
    def _forked(self) -> Iterator[None]:
        self._state.put_back()
        with torch.random.fork_rng(self._devices):
            yield


def by_role(tree: Any, change: Callable[[str, Tensor], Any]) -> Any:
    """Return a result with every tensor changed, of which the change is told the role."""
    found = _roles(describe(tree))
    return mapped(tree, lambda one: change(next(found), one))


def _roles(description: Any) -> Iterator[str]:
    """Yield the roles of a description's tensors, in its order."""
    if isinstance(description, Slot):
        yield description.role
    elif isinstance(description, Container):
        for _, item in description.items:
            yield from _roles(item)


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
    returns what its result held when the layer was called, and so does the layer, with a value of
    the caller's; code between modules is run.  That is tried out with the recorded value: if the
    output is not the recorded one bit for bit, as where code reads a result before an in-place
    module overwrites it, modules that write into their input are run instead of replayed.

    Args:
        rerun: The model and what it was called with.
        evidence: Which layer.

    Raises:
        TargetError: The model, run again, does not call the layer.
    """

    def __init__(self, rerun: Rerun, evidence: Evidence) -> None:
        self._replica = Replica(rerun)
        layer = evidence.layer
        self._count, self._axis = len(evidence.activations), layer.layout.batch
        self._place = self._replica.model.get_submodule(layer.call.module.name)
        self._index = call_number(evidence)
        self._rows = torch.zeros(0, dtype=torch.long)
        self._value: Any = None
        self._calls: dict[nn.Module, int] = {}
        self._forwards = {one: one.forward for one in self._replica.model.modules()}
        recording = RecordedRun(self._replica, self._place, self._index, str(layer.call))
        self._own, self._random = recording.own, recording.random
        self._inputs_shared = not recording.writes_inputs
        self._sharing = True
        self._results = recording.replayed(careful=False)
        self._override()
        if not self._faithful(recording.output):
            self._results = recording.replayed(careful=True)
            self._override()

    def run(self, role: str, value: Tensor, rows: Tensor) -> Any:
        """Return the model's output where the layer's `role` is `value`, of the images `rows`."""
        return self._run(
            by_role(
                self._own,
                lambda name, one: value if name == role else self._repeated(one, rows),
            ),
            rows,
        )

    def _run(self, value: Any, rows: Tensor) -> Any:
        self._value, self._rows = value, rows
        self._calls.clear()
        try:
            shared = self._inputs_shared and self._sharing
            return self._replica.run_rows(rows, self._count, shared=shared)
        except RuntimeError:  # code between modules wrote to what was no copy of its own
            if not self._sharing:
                raise
            self._sharing = False
            return self._run(value, rows)

    def _faithful(self, recorded: Any) -> bool:
        """Whether a replay with what the layer returned gives the recorded output, bit for bit."""
        try:
            found = self._run(mapped(self._own, torch.clone), torch.arange(self._count))
        except RuntimeError:
            return False
        pairs = zip(tensors_of(found), tensors_of(recorded), strict=True)
        return all(torch.equal(one, other) for one, other in pairs)

    def _override(self) -> None:
        for module, forward in self._forwards.items():
            module.forward = forward
        for module in {self._place, *(module for module, _ in self._results)}:
            module.forward = self._replaying(module, module.forward)

    def _replaying(self, module: nn.Module, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            number = self._calls[module] = self._calls.get(module, -1) + 1
            if module is self._place and number == self._index:
                self._replica.resume(self._random)
                return self._value
            kept = self._results.get((module, number))
            if kept is None:
                return original(*args, **kwargs)
            for one in kept.inside:
                self._calls[one] = self._calls.get(one, -1) + 1
            return self._repeated(kept.result, self._rows, shared=kept.shared and self._sharing)

        return forward

    def _repeated(self, tree: Any, rows: Tensor, *, shared: bool = False) -> Any:
        return repeated(tree, rows, self._count, shared=shared, axis=self._axis)
