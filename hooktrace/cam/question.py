"""A question to a trace: how does this score depend on what the layers returned?

The trace keeps copies of what layers and the model returned, and the gradient edges of both, taken
at the moment of the return.  A score is a function of the copies of the results; from there
autograd runs along the recorded graph to the edges of the layers.  So activation and gradient
belong to the same value, also where in-place code has overwritten the tensor since, no parameter
gets a gradient, and nothing before the earliest layer is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy as shallow
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hooktrace.cam.backwards import check_graph, run_back
from hooktrace.cam.layouts import images_of
from hooktrace.cam.outputs import check_scores
from hooktrace.cam.trees import repeated
from hooktrace.descriptions import build
from hooktrace.errors import NoGraphError, NotKeptError
from hooktrace.views.calls import Call, CallIndex

__all__ = ["Place", "Question", "differentiable"]

Place = tuple[Any, str]
"""A recorded output: the number of the call, and the role of the output."""

_FROZEN = (
    "Require a gradient of the input or of a parameter before the layer, run without no_grad(), "
    "or use ht.explain(model, images), which does without both."
)


@contextmanager
def differentiable() -> Iterator[None]:
    """Record a graph, whatever the modes around."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


class Question:
    """One score for each image of the batch, as a function of recorded values.

    Args:
        calls: The calls of the trace.
        root: The outermost call whose result is judged.
        score: From the result, as the model returned it, to scores (N,).
        label: What the score is, in a few words.

    Attributes:
        scores: (N,) the scores, detached.
        classes: The class of each image, if the target says so by a method ``classes``.
    """

    def __init__(
        self, calls: CallIndex, root: Call, score: Callable[[Any], Tensor], label: str
    ) -> None:
        self._calls = calls
        self.log = calls.log
        self.root = root
        self._leaves = self._results()
        self._ask(score, label)

    def _ask(self, score: Callable[[Any], Tensor], label: str) -> None:
        self.label = label
        self._score = score
        with differentiable():
            result = build(self.log.results[self.root.id], self._leaves)
            scores = score(result)
            check_scores(scores, label, result, images_of(self.root))
        self._scores = scores
        self.scores = scores.detach().reshape(-1)
        chosen = getattr(score, "classes", None)
        self.classes = None if chosen is None else tuple(chosen(result))
        self._found: dict[Place, Tensor] = {}
        self._others: dict[Any, Question] = {}

    def asking(self, score: Callable[[Any], Tensor], label: str) -> Question:
        """Return a question for another score of the same result, on the same copies of it.

        Args:
            score: As for this one, and hashable: an equal one gets the same question again, with
                the gradients that it has found.
            label: What the score is, in a few words.

        Raises:
            TargetError: The score does not fit what the model returned.
        """
        if score not in self._others:
            other = shallow(self)
            other._ask(score, label)
            self._others[score] = other
        return self._others[score]

    @property
    def result(self) -> Any:
        """What the model returned, put together of the copies, detached."""
        copies = {role: one.detach() for role, one in self._leaves.items()}
        return build(self.log.results[self.root.id], copies)

    def _results(self) -> dict[str, Tensor]:
        """Return the kept results by role, as leaves that a score can be differentiated for."""
        if self.root.id not in self.log.results:
            why = "They were let go by release()." if self.log.released else "Name layers in keep=."
            raise NotKeptError(f"What {self.root} returned was not kept. {why}")
        found = {}
        for seen in self.root.seen_outputs:
            if seen.value is None:
                continue
            copy = self.log.snapshots.get(seen.value)
            if copy is None:
                raise NotKeptError(
                    f"The {seen.role} of {self.root} could not be copied: it is sparse, nested, "
                    f"meta, wrapped or of a subclass."
                )
            grows = copy.is_floating_point() or copy.is_complex()
            with torch.inference_mode(False):
                found[seen.role] = copy.detach().clone().requires_grad_(grows)
        return found

    # -------------------------------------------------------------- other outputs

    def scores_of(self, output: Any, rows: Tensor) -> Tensor:
        """Return the scores of a fresh output, of the classes that the recorded run decided for.

        Args:
            output: What the model returned for M copies of images of the batch.
            rows: (M,) the number of each one's image.

        Returns:
            (M,), with a graph if the output has one.
        """
        score: Any = self._score
        count, known = len(self.scores), self.classes
        if known is not None:
            for name in getattr(score, "__dataclass_fields__", {}).keys() & {"index", "category"}:
                fixed = {name: tuple(known[row] for row in rows.tolist())}
                fresh: Any = replace(score, **fixed)
                return torch.as_tensor(fresh(output)).reshape(-1)
        turns = (rows.unsqueeze(0) == rows.unsqueeze(1)).tril(-1).sum(1)
        found: list[Tensor] = [torch.empty(0)] * len(rows)
        for turn in range(int(turns.max()) + 1):
            here = (turns == turn).nonzero().flatten()
            chosen = here.new_full((count,), int(here[0]))
            chosen[rows[here]] = here
            part = score(repeated(output, chosen, len(rows))).reshape(-1)
            for place in here.tolist():
                found[place] = part[int(rows[place])]
        return torch.stack(found)

    # -------------------------------------------------------------- gradients

    def gradients(self, places: Sequence[Place]) -> dict[Place, Tensor]:
        """Return the gradient of the sum of all scores for each of some places, in one run.

        Each image's score depends on its own activations only as long as no module mixes the
        images of a batch, as BatchNorm in training mode does; then the map is of the sum.

        Raises:
            NoGraphError: The graph has no way from the result to one of the places.
            GraphFreedError: A backward has freed it.
        """
        missing = [place for place in places if place not in self._found]
        if missing:
            found = self._differentiate(missing, create_graph=False)
            self._found.update(zip(missing, found, strict=True))
        return {place: self._found[place] for place in places}

    def curvature(self, place: Place, direction: Tensor) -> Tensor:
        """Return the Hessian of the summed score for a place, times a direction.

        Args:
            place: A recorded output.
            direction: Of its shape.

        Returns:
            H v, of its shape; zeros where the score is piecewise linear in it.

        Raises:
            NoGraphError, GraphFreedError: As `gradients`.
            RuntimeError: An operation has no second derivative.
        """
        with differentiable():
            heads, seeds, leaves = self._seeds(create_graph=True)
            edges = self._edges([place])
            (first,) = self._run(heads, seeds, edges, [place], create_graph=True)
            total = torch.zeros_like(first)
            if not first.requires_grad:
                return total
            inner = (first * direction.to(first.dtype)).sum()
            ends = [*leaves, *edges]
            *bent, direct = torch.autograd.grad(inner, ends, retain_graph=True, allow_unused=True)
            pairs = [(head, one) for head, one in zip(heads, bent, strict=True) if one is not None]
            if pairs:
                ways, bends = [head for head, _ in pairs], [bend for _, bend in pairs]
                passed = self._run(ways, bends, edges, [place], create_graph=False)
                total = total + passed[0]
        return (total if direct is None else total + direct).detach()

    def heads(self) -> list[Any]:
        """Return the gradient edges of those results that the score depends on.

        Raises:
            NoGraphError: There is none.
        """
        return self.start()[0]

    def start(self) -> tuple[list[Any], list[Tensor]]:
        """Return `heads`, and the gradient of the summed score for each: where a backward begins.

        Raises:
            NoGraphError: There is none.
        """
        with differentiable():
            heads, seeds, _ = self._seeds(create_graph=False)
        return heads, seeds

    def _differentiate(self, places: Sequence[Place], *, create_graph: bool) -> list[Tensor]:
        with differentiable():
            heads, seeds, _ = self._seeds(create_graph=create_graph)
            edges = self._edges(places)
            return self._run(heads, seeds, edges, places, create_graph=create_graph)

    def _seeds(self, *, create_graph: bool) -> tuple[list[Any], list[Tensor], list[Tensor]]:
        """Return the edges of the results, the score's gradient for each, and the copies."""
        leaves = {role: one for role, one in self._leaves.items() if one.requires_grad}
        found: Sequence[Tensor | None] = [None] * len(leaves)
        if self._scores.requires_grad:
            found = torch.autograd.grad(
                self._scores.sum(),
                list(leaves.values()),
                retain_graph=True,
                create_graph=create_graph,
                allow_unused=True,
            )
        depends = {role: one for role, one in zip(leaves, found, strict=True) if one is not None}
        if not depends:
            raise NoGraphError(
                f"The target ({self.label}) does not depend on what {self.root} returned in a way "
                f"that can be differentiated."
            )
        check_graph(self.log)
        edges = self.log.edges
        ways = [role for role in depends if (self.root.id, role) in edges]
        if not ways:
            raise NoGraphError(
                f"{self.root} returned nothing with a graph: the model is frozen, or ran under "
                f"no_grad() or inference_mode(). {_FROZEN}"
            )
        return (
            [edges[self.root.id, role] for role in ways],
            [depends[role] for role in ways],
            [leaves[role] for role in ways],
        )

    def _edges(self, places: Sequence[Place]) -> list[Any]:
        for place in places:
            if place not in self.log.edges:
                raise NoGraphError(
                    f"The {place[1]} of {self._named(place)} has no graph: nothing before it "
                    f"requires a gradient, or it ran under no_grad(). {_FROZEN}"
                )
        return [self.log.edges[place] for place in places]

    def _run(
        self,
        heads: Sequence[Any],
        seeds: Sequence[Tensor],
        edges: Sequence[Any],
        places: Sequence[Place],
        *,
        create_graph: bool,
    ) -> list[Tensor]:
        """Run autograd from the results' edges to those of the places."""
        found = run_back(heads, seeds, edges, str(self.root), create_graph=create_graph)
        reached = []
        for place, one in zip(places, found, strict=True):
            if one is None:
                raise NoGraphError(
                    f"The target ({self.label}) does not depend on the {place[1]} of "
                    f"{self._named(place)}: what the layer returned is not used on the way to "
                    f"it, or only a view of it that was written to in place later. Choose a "
                    f"layer on the way, such as the one after it."
                )
            reached.append(one)
        return reached

    def _named(self, place: Place) -> str:
        return str(self._calls.calls[place[0]])
