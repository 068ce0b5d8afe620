"""How the norm of the gradient changes from the last layer of a model to the first."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from hooktrace.doctor.case import Case
from hooktrace.events import CallId, TensorId
from hooktrace.views.call import Call

__all__ = ["LOST", "Profile", "profiles"]

LOST = 2.0**-11.5
"""Root of the distance of 1 from the next number in single precision, 3.5e-4: of two norms that
differ more, the square of the smaller one is lost in the sum of their squares."""

_FEWEST = 4
"""Fewer layers make no depth."""


@dataclass(frozen=True)
class Profile:
    """The norms of ``grad_output`` over the layers of one outermost call, in one backward run.

    Layers are calls of modules with parameters of their own and without inner calls, in the order
    of the forward; those whose gradient is exactly zero are left out.

    Attributes:
        root: The outermost call.
        backward: Number of the run.
        layers: Each call with the norm and the event that tells of it.
        first, last: Norm of the gradient of the weights of the first layer and of the last, over
            that of the weights themselves; None where that was not seen.
    """

    root: Call
    backward: int
    layers: list[tuple[Call, float, int]]
    first: float | None
    last: float | None

    @property
    def ratio(self) -> float:
        """Norm at the first layer over that at the last."""
        return self.layers[0][1] / self.layers[-1][1]

    @property
    def steady(self) -> bool:
        """Whether most layers share in it, and none makes more than half of it alone."""
        logs = [math.log(norm) for _, norm, _ in self.layers]
        whole = logs[0] - logs[-1]
        steps = [(one - following) / whole for one, following in itertools.pairwise(logs)]
        return 2 * sum(step > 0 for step in steps) > len(steps) and max(steps) <= 0.5

    @property
    def again(self) -> bool:
        """Whether the first layer is called several times, as the cell of a recurrent net is."""
        module = self.layers[0][0].called.module
        return sum(call.called.module == module for call, _, _ in self.layers) > 1

    @property
    def per_layer(self) -> float:
        """The factor that, taken for each layer, gives the ratio."""
        return float(self.ratio ** (1 / (len(self.layers) - 1)))

    @property
    def figures(self) -> tuple[str, ...]:
        """The norms at up to six layers, from the last to the first."""
        backwards = self.layers[::-1]
        places = sorted({round(place * (len(backwards) - 1) / 5) for place in range(6)})
        shown = [f"{backwards[place][0]} {backwards[place][1]:.2g}" for place in places]
        return (
            "norm of grad_output from the last layer to the first: " + ", ".join(shown),
            f"over {len(self.layers)} layers, x{self.per_layer:.2g} for each",
            *(
                f"the gradient of the weights of {layer[0]} is {figure:.2g} of the weights"
                for layer, figure in ((self.layers[0], self.first), (self.layers[-1], self.last))
                if figure is not None
            ),
        )

    @property
    def events(self) -> tuple[int, ...]:
        """The events of the last layer and of the first."""
        return self.layers[-1][2], self.layers[0][2]


def profiles(case: Case) -> Iterator[Profile]:
    """Yield the profile of each outermost call that is deep enough, and of each backward run."""
    roots: dict[int, list[Call]] = {}
    for call in case.calls:
        if call.first is None and call.module.parameters and not call.children:
            roots.setdefault(call.root.id, []).append(call)
    weights = _Weights(case)
    for calls in roots.values():
        runs: dict[int, list[tuple[Call, float, int]]] = {}
        for call in calls:
            for backward, (norm, event) in _norms(case, call).items():
                if 0 < norm < math.inf:
                    runs.setdefault(backward, []).append((call, norm, event))
        for backward, layers in runs.items():
            if len(layers) >= _FEWEST:
                first, last = (weights.moved(layers[end][0], backward) for end in (0, -1))
                yield Profile(layers[0][0].root, backward, layers, first, last)


def _norms(case: Case, call: Call) -> dict[int, tuple[float, int]]:
    """Return for each backward run the norm of the gradients of all outputs, and an event."""
    squares: dict[int, tuple[float, int]] = {}
    for one in (call, *call.recomputations):
        for event in one.gradients:
            stats = case.log.stats.of(event.gradient)
            if stats is not None and event.gradient.role.startswith("grad_output"):
                before, _ = squares.get(event.backward, (0.0, 0))
                squares[event.backward] = before + stats.norm**2, event.seq
    return {run: (math.sqrt(square), event) for run, (square, event) in squares.items()}


class _Weights:
    """The norms of parameters and of their gradients."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.of: dict[str, set[TensorId]] = {}
        self.norms: dict[TensorId, list[tuple[CallId, float]]] = {}
        self.filled = {
            (event.tensor, event.backward): event.arrived or event.after
            for events in case.accumulated.values()
            for event in events
        }
        table = case.log.stats
        for held in table.parameters:
            row = case.log.tensors[held.tensor]
            if row.parameter:
                self.of.setdefault(row.name.rpartition(".")[0], set()).add(held.tensor)
                self.norms.setdefault(held.tensor, []).append((held.call, table[held.number].norm))

    def moved(self, call: Call, backward: int) -> float | None:
        """Return the largest quotient of gradient and weight among a layer's parameters."""
        found = []
        for tensor in self.of.get(call.module.name, ()):
            norms = self.norms[tensor]
            place = bisect.bisect_right(norms, call.root.id, key=lambda pair: pair[0]) - 1
            stats = self.case.log.stats.of(self.filled.get((tensor, backward)))
            if place >= 0 and norms[place][1] and stats is not None:
                found.append(stats.norm / norms[place][1])
        return max(found, default=None)
