"""What speaks for and against a layer as the one to explain."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise

from torch import nn

from hooktrace.cam.layouts import listed
from hooktrace.cam.returned import Returned, Returns
from hooktrace.events import TensorSummary, TensorWritten
from hooktrace.views.calls import Call, CallIndex

__all__ = ["VAIN", "Judge"]

MILD, GRAVE, VAIN = 1, 2, 3
"""A better one is near; it shows something else; its gradients are zero, or it knows too little."""

_ACTIVATIONS = frozenset(nn.modules.activation.__all__) - {"MultiheadAttention"}
_RESAMPLING = ("Pool", "Upsampl", "Dropout", "Pad", "Identity", "PixelShuffle", "PixelUnshuffle")


class Judge:
    """Says what speaks for and against the values that modules returned.

    Args:
        calls: The calls of the trace.
        root: The outermost call of the model.

    Attributes:
        returns: What its modules returned.
    """

    def __init__(self, calls: CallIndex, root: Call) -> None:
        self.root = root
        self.returns = Returns(root)
        self.found = self.returns.found
        self._results = [
            seen.summary.shape
            for seen in root.seen_outputs
            if isinstance(seen.summary, TensorSummary) and len(seen.summary.shape) > 1
        ]
        self._counts = Counter(one.name for one in calls if not one.recomputed)
        self._written = {one.before: one.line for one in calls.log.of(TensorWritten)}

    def name(self, call: Call) -> str:
        """Return a name that stands for one call."""
        return call.name if self._counts[call.name] == 1 else str(call)

    # -------------------------------------------------------------- for it

    def said_for(self, one: Returned) -> list[str]:
        """Return sentences on what a value is."""
        name = self.name(one.call)
        return [said for said in (self._called(one, name), self._state(one, name)) if said]

    def _called(self, one: Returned, name: str) -> str:
        others = [str(call) for call in one.calls if call is not one.call]
        if not others:
            return ""
        shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        return f"It goes by the outermost name: {shown} returned the same value as {name}."

    def _state(self, one: Returned, name: str) -> str:
        """Say how a value stands to activation functions and to in-place code."""
        attention = self._attention
        if self._read_off and attention is not None and attention in self._readers(one):
            return (
                f"{name} is what {attention}, the last attention, takes: what becomes of the "
                f"patches after it does not reach the class token."
            )
        if one.maker.module.base in _ACTIVATIONS:
            shown = "" if str(one.maker) == name else f", {one.maker}"
            return f"It is after its activation function{shown}."
        written = self._written.get(one.value)
        if written and self.returns.later(one) is None:
            return (
                f"Code at {written} writes to it in place afterwards; the trace has "
                f"what {name} returned, and the gradient of that."
            )
        if not self._readers(one):
            return (
                f"No module takes it as it is: code between modules goes on with it, and should "
                f"that overwrite it, the trace has what {name} returned and the gradient of that."
            )
        return ""

    def _readers(self, one: Returned) -> list[Call]:
        return self.returns.readers.get(one.value, [])

    # -------------------------------------------------------------- against it

    def objection(self, one: Returned) -> tuple[int, str]:
        """Return how much speaks against a value, from 0 to `VAIN`, and a sentence on it."""
        name = self.name(one.call)
        for against, said in (
            (VAIN, self._unread(one, name)),
            (GRAVE, self._answer(one, name)),
            (GRAVE, self._level(one, name)),
            (GRAVE if self._attention is None else VAIN, self._patches(one, name)),
            (MILD, self._resampled(one, name)),
            (MILD, self._before_activation(one, name)),
        ):
            if said:
                return against, said
        return 0, ""

    def _unread(self, one: Returned, name: str) -> str:
        attention = self._attention
        if attention is None or not self._read_off or one.made <= attention.called.seq:
            return ""
        if attention in _around(one.maker):
            return f"{name} is a part of {attention}, the last attention."
        if not one.layout.tokens:
            return ""
        return (
            f"{name} comes after {attention}, the last attention: the class token, off which "
            f"scores are read, learns nothing more of the patches, so their gradients are zero."
        )

    @cached_property
    def _read_off(self) -> bool:
        """Whether there are further tokens than patches, and (N, classes) scores made of them."""
        with_tokens = any(one.layout.tokens for one in self.found.values())
        return with_tokens and bool(self._results) and len(self._results[0]) == 2

    @cached_property
    def _attention(self) -> Call | None:
        """The last attention: the outermost call of that name with no other beside it inside."""
        attending = [call for call in self.returns.calls if _attends(call)]
        if not attending:
            return None
        last = attending[-1]
        while last.parent is not None and last.parent in attending:
            inner = [one for one in attending if last.parent in _around(one)]
            if any(last not in (one, *_around(one)) and one not in _around(last) for one in inner):
                break
            last = last.parent
        return last

    def _answer(self, one: Returned, name: str) -> str:
        if one.value in self._class_maps:
            return (
                f"{name} returned class maps: its {one.arranged[1]} channels are the "
                f"{one.arranged[1]} scores, and no weights follow."
            )
        for head in self._heads:
            if head in _around(one.maker):
                return f"{name} belongs to {head}, the head that makes class maps."
        return ""

    def _level(self, one: Returned, name: str) -> str:
        if self._pyramid is None or one.made < self._pyramid.called.seq:
            return ""
        return (
            f"{name} is made in or after {self._pyramid}, a pyramid of features or a head on one: "
            f"it is of one level, while a detected box may come of another."
        )

    @cached_property
    def _pyramid(self) -> Call | None:
        """Where a list of images is taken: the first call that makes larger maps again.

        Or that has weights which are used several times, as heads have that go over all levels.
        """
        if not any(map(listed, self.root.seen_inputs)):
            return None
        made = sorted(self.found.values(), key=lambda one: one.made)
        calls = Counter(call.name for call in self.returns.calls)
        for before, one in pairwise(made):
            again = calls[one.maker.name] > 1 and one.maker.module.parameters
            if again or math.prod(one.layout.grid) > math.prod(before.layout.grid):
                trunk = {made[0].maker, *_around(made[0].maker)}
                chain = [call for call in (one.maker, *_around(one.maker)) if call not in trunk]
                if chain:  # else it is the trunk that returns an earlier one
                    return chain[-1]
        return None

    @cached_property
    def _class_maps(self) -> dict[object, Returned]:
        """The values with as many channels as there are scores, after which come no weights.

        Embeddings have as many numbers as the last layer has channels; nobody normalises scores.
        """
        if self.returns.ends_normed:
            return {}
        scores = {shape[1] for shape in self._results}
        return {
            value: one
            for value, one in self.found.items()
            if scores.intersection(one.shape[1:])
            and one.arranged[1] in scores
            and not self.returns.weights_after(one)
        }

    @cached_property
    def _heads(self) -> list[Call]:
        """The outermost calls that make class maps out of what other weights have made."""
        return [
            one.call
            for one in self._class_maps.values()
            if one.call.children and self.returns.weights_before(one.call)
        ]

    def _patches(self, one: Returned, name: str) -> str:
        maker = one.maker
        sizes = [
            found.group(1)
            for key in ("kernel_size", "stride")
            if (found := re.search(rf"{key}=\(([\d, ]+)\)", maker.module.config))
        ]
        images = {seen.value for seen in self.root.seen_inputs if seen.value is not None}
        if len(sizes) < 2 or sizes[0] != sizes[1] or images.isdisjoint(self.returns.taken(maker)):
            return ""
        return f"{name} is a patch embedding: each position knows of its own patch only."

    def _resampled(self, one: Returned, name: str) -> str:
        maker = one.maker
        taken = self.returns.taken(maker)
        if len(taken) != 1 or taken[0] == one.value or taken[0] not in self.found:
            return ""
        if not _resamples(maker, one.shape, self.found[taken[0]].shape):
            return ""
        before = self.name(self.found[taken[0]].call)
        return f"{name} is {before} pooled or rearranged by {maker}, and tells no more."

    def _before_activation(self, one: Returned, name: str) -> str:
        later = self.returns.later(one)
        if later is not None:
            return f"{name} is overwritten by {later.maker}, which returns what comes of it."
        for reader in self._readers(one):
            if reader.module.base in _ACTIVATIONS:
                return f"{name} is before its activation, {reader}."
        return ""


def _attends(call: Call) -> bool:
    kind = call.module.type.lower()
    return "attention" in kind or kind.endswith("attn")


def _around(call: Call) -> Iterator[Call]:
    while call.parent is not None:
        call = call.parent
        yield call


def _resamples(call: Call, shape: tuple[int, ...], before: tuple[int, ...]) -> bool:
    """Whether a call has no weights and only pools, pads or rearranges."""
    base = call.module.base
    if call.children or call.module.parameters or base in _ACTIVATIONS:
        return False
    return any(word in base for word in _RESAMPLING) or shape != before
