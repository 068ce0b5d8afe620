"""One run of a replica, recorded: what its modules returned before a layer was called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from hooktrace._torch_replica import version_of
from hooktrace.cam.trees import mapped, tensors_of
from hooktrace.errors import TargetError

if TYPE_CHECKING:
    from hooktrace.cam.replica import Replica

__all__ = ["Kept", "RecordedRun"]

_Versions = list[tuple[Tensor, int | None]]


class Kept(NamedTuple):
    """What a call returned, to be returned again.

    Attributes:
        result: The result.
        shared: Whether nobody wrote to it afterwards, so that it need not be copied.
        inside: The modules that ran inside the call, in order.
    """

    result: Any
    shared: bool
    inside: list[nn.Module]


@dataclass
class _Seen:
    """One call of a module.

    Attributes:
        at_return, at_layer: Copies of its result, from when it returned and from when the layer
            was called.
        live: The tensors of the result with their versions when the layer was called.
    """

    module: nn.Module
    number: int
    result: Any = None
    at_return: Any = None
    at_layer: Any = None
    live: _Versions = field(default_factory=list)
    finished: bool = False
    frozen: bool = False
    wrote: bool = False
    inner: list[_Seen] = field(default_factory=list)


def _inside(seen: _Seen) -> Iterator[nn.Module]:
    for one in seen.inner:
        yield one.module
        yield from _inside(one)


def _versions(tree: Any) -> _Versions:
    return [(one, version_of(one)) for one in tensors_of(tree)]


def _written(before: _Versions) -> bool:
    return any(version_of(one) != version for one, version in before)


class RecordedRun:
    """A run of a replica, up to its end, with what finished before a layer was called.

    Args:
        replica: What is run; its modules' `forward` are afterwards what they were.
        place: The layer.
        index: Which of its calls.
        label: How the layer is named in an error.

    Attributes:
        own: What the layer returned.
        random: The states of the generators of random numbers when it did.
        output: What the model returned.
        writes_inputs: Whether the model wrote to its inputs.

    Raises:
        TargetError: The model does not call the layer.
    """

    def __init__(self, replica: Replica, place: nn.Module, index: int, label: str) -> None:
        self._place, self._index = place, index
        self._counts: dict[nn.Module, int] = {}
        self._open = [_Seen(replica.model, 0)]
        self._frozen: list[_Seen] = []
        self.own: Any = None
        self.random: list[Tensor] = []
        self._replica = replica
        places = list(replica.model.modules())
        originals = [module.forward for module in places]
        for module in places:
            module.forward = self._spied(module, module.forward)
        try:
            self.output = replica.run()
        finally:
            for module, original in zip(places, originals, strict=True):
                module.forward = original
        if self._counts.get(place, -1) < index:
            raise TargetError(f"The model, run again with these inputs, does not call {label}.")
        top = self._open[0].inner[0]
        self.writes_inputs = top.wrote
        self._shared = [not _written(one.live) for one in self._frozen]
        for one in self._frozen:
            one.result, one.live = None, []

    def replayed(self, *, careful: bool) -> dict[tuple[nn.Module, int], Kept]:
        """Return what each call that finished before the layer is to return again.

        Args:
            careful: Whether calls that wrote into their input are left out, to be run, and results
                are as they were when they were returned.
        """
        return {
            (one.module, one.number): Kept(
                one.at_return if careful else one.at_layer,
                shared and not careful,
                list(_inside(one)),
            )
            for one, shared in zip(self._frozen, self._shared, strict=True)
            if one.module is not self._place and not (careful and one.wrote)
        }

    def _spied(self, module: nn.Module, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            number = self._counts[module] = self._counts.get(module, -1) + 1
            here = module is self._place and number == self._index
            if here:
                self._freeze()
            seen = _Seen(module, number)
            self._open[-1].inner.append(seen)
            self._open.append(seen)
            before = _versions((args, kwargs))
            try:
                result = original(*args, **kwargs)
            finally:
                self._open.pop()
            seen.wrote, seen.finished = _written(before), True
            for one in seen.inner:
                if not one.frozen:
                    one.at_return = one.result = None
            if here:
                self.own = mapped(result, torch.clone)
                self.random = self._replica.random_states()
            if self._counts.get(self._place, -1) < self._index:
                seen.result, seen.at_return = result, mapped(result, torch.clone)
            return result

        return forward

    def _freeze(self) -> None:
        """Take down what the results of all calls that have finished hold now."""
        done = (one for call in self._open for one in call.inner)
        self._frozen = [one for one in done if one.finished]
        for one in self._frozen:
            one.frozen = True
            one.at_layer = mapped(one.result, torch.clone)
            one.live = _versions(one.result)
