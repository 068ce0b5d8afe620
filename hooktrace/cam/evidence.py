"""What a method of class activation maps may see: recorded values, and gradients of a score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from hooktrace.cam.layouts import Layout
from hooktrace.cam.question import Place, Question
from hooktrace.errors import MissingModelError, NoGradientError
from hooktrace.log import EventLog
from hooktrace.views.calls import Call, CallIndex

__all__ = ["Evidence", "Layer", "Rerun", "Scorer", "wide"]

Scorer = Callable[[Any, Tensor], Tensor]
"""From what the model returned for M copies of images, and the number of each one's image (M,), to
the scores (M,)."""


def wide(tensor: Tensor) -> Tensor:
    """Return `tensor` in at least float32, in which sums over it are taken."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


@dataclass(frozen=True)
class Layer:
    """A recorded output that maps are made of.

    Attributes:
        call: The call that returned it.
        role: Which of its outputs.
        value: What it held when the call returned, as the layer returned it.
        layout: How its axes are laid out.
        image: Spatial sizes *S of the model's input; () if they are not known.
        made: What `Evidence.once` has made of it.
    """

    call: Call
    role: str
    value: Tensor
    layout: Layout
    image: tuple[int, ...]
    made: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def place(self) -> Place:
        """Where a `Question` finds it."""
        return self.call.id, self.role

    @cached_property
    def activations(self) -> Tensor:
        """(N, C, *S), float32 or wider."""
        return wide(self.layout.arrange(self.value)).contiguous()


@dataclass(frozen=True)
class Rerun:
    """The model, for methods that run it again.

    Attributes:
        model: What was traced.
        args, kwargs: What it was called with.
    """

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Evidence:
    """All that a method may see of one layer and one score.

    Args:
        calls: The calls of the trace.
        layer: The layer; for methods of the whole model the one that is looked at last.
        layers: All layers that were asked for, in their order.
        question: The score; None for ``target="backward"``.
        rerun: The model, if it was given.
        seed: For methods that draw random numbers, which never touch the global generator.
    """

    def __init__(
        self,
        calls: CallIndex,
        layer: Layer,
        layers: Sequence[Layer],
        question: Question | None,
        rerun: Rerun | None = None,
        seed: int = 0,
    ) -> None:
        self.calls = calls
        self.log: EventLog = calls.log
        self.layer = layer
        self.layers = tuple(layers)
        self.question = question
        self._rerun = rerun
        self.seed = seed
        self.root = layer.call.root

    # -------------------------------------------------------------- one layer

    @property
    def activations(self) -> Tensor:
        """(N, C, *S) what the layer returned, before anything overwrote it."""
        return self.layer.activations

    @cached_property
    def gradients(self) -> Tensor:
        """(N, C, *S) gradients of each image's score with respect to `activations`.

        Raises:
            NoGraphError: There is no graph from the score to the layer, or it was freed.
            NoGradientError: With ``target="backward"``: no backward reached the layer.
        """
        return self.gradients_of(self.layer)

    def gradients_of(self, layer: Layer) -> Tensor:
        """Return (N, C, *S), the gradients with respect to another of `layers`."""
        if self.question is None:
            found = _arrived(layer)
        else:
            places = list(dict.fromkeys(one.place for one in (*self.layers, layer)))
            found = self.question.gradients(places)[layer.place]
        return wide(layer.layout.arrange(found)).contiguous()

    def of(self, layer: Layer) -> Evidence:
        """Return the same evidence with another of the layers in the middle."""
        return Evidence(self.calls, layer, self.layers, self.question, self._rerun, self.seed)

    # -------------------------------------------------------------- more

    @property
    def scores(self) -> Tensor:
        """(N,) the scores.

        Raises:
            NoGradientError: With ``target="backward"``, which knows no score.
        """
        return self.asked("needs to know the score").scores

    def asked(self, why: str) -> Question:
        """Return the question, for a method that cannot do with gradients alone.

        Raises:
            NoGradientError: With ``target="backward"`` there is none.
        """
        if self.question is None:
            raise NoGradientError(
                f"This method {why}, which the gradients of a past backward do not tell. Give "
                f"target= a class or a callable."
            )
        return self.question

    def scorer(self, why: str) -> Scorer:
        """Return the score of fresh outputs, of the classes that the recorded run decided for.

        Raises:
            NoGradientError: With ``target="backward"``, which knows no score.
        """
        return self.asked(why).scores_of

    def rerun(self, method: str) -> Rerun:
        """Return the model to run it again.

        Raises:
            MissingModelError: It was not given.
        """
        if self._rerun is None:
            raise MissingModelError(
                f"{method} needs model= and inputs=: it runs the model again, and a trace keeps "
                f"neither the model nor its inputs. Give both: t.cam(..., model=model, "
                f"inputs=images), or use ht.explain(model, images, method={method!r})."
            )
        return self._rerun

    def generator(self) -> torch.Generator:
        """Return a generator of random numbers on the layer's device, seeded anew."""
        return torch.Generator(self.activations.device).manual_seed(self.seed)

    def shared(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what several methods need of this layer and score, made once."""
        if name not in self.__dict__:
            self.__dict__[name] = make()
        return self.__dict__[name]

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what is the same for every score, made once for all of them."""
        if name not in self.layer.made:
            self.layer.made[name] = make()
        return self.layer.made[name]


def _arrived(layer: Layer) -> Tensor:
    """Return the gradient that backward brought to a layer while the trace was open."""
    places = [one.role for one in layer.call.seen_outputs]
    found = layer.call.grad_outputs[places.index(layer.role)]
    if not isinstance(found, Tensor):
        raise NoGradientError(
            f'target="backward" uses the gradients that a backward inside the block left, but '
            f"none arrived at {layer.call}. Call backward() inside the block, or name a class."
        )
    return found
