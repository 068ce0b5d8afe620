"""Which layer to explain, chosen from the records of a trace alone, with reasons.

Candidates are the values with spatial extent that modules returned, each once.  A value goes by
the name of the outermost module that returned it: ``layer4`` rather than ``layer4.1.relu@1``.  The
last one that nothing speaks against is chosen, for the later a layer, the more its channels mean.
Against a value speaks, from the mildest on,

* that it is the one before it, pooled, padded or rearranged, as ``features.30`` of VGG-16 is, whose
  ``features.29`` is what Selvaraju et al. 2017 (arXiv 1610.02391) explain;
* that a module activates it later;
* that it is a patch embedding, which knows nothing beyond its own patch;
* that it is class maps, or made in the head that makes them: the answer at each place, where
  the question is what it was made of;
* of a model that takes a list of images, as detectors do: that it comes after the maps have become
  larger again, in a pyramid of features or in a head;
* that it comes after the last attention of a model which reads off a class token: gradients of
  its patches are zero.  There, the input of that attention is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hooktrace.cam.judging import VAIN, Judge
from hooktrace.errors import MapShapeError
from hooktrace.events import TensorSummary
from hooktrace.views.calls import Call, CallIndex

__all__ = ["Candidate", "candidates", "choose"]


@dataclass(frozen=True)
class Candidate:
    """A layer that maps could be made of.

    Attributes:
        call: The call that returned it.
        name: What names it in ``calls.one(name)``: ``layer4``, or ``layer4@1`` of several calls.
        grid: Spatial sizes *S of its maps.
        rank: 0 for the best.
        against: How much speaks against it: 0 nothing, 3 that its maps would be blank.
        why: What is known of it, and what speaks against it, in sentences.
    """

    call: Call
    name: str
    grid: tuple[int, ...]
    rank: int
    against: int
    why: tuple[str, ...]


def choose(calls: CallIndex, root: Call) -> Candidate:
    """Return the layer to explain; its ``why`` also says why later ones were passed over.

    Args:
        calls: The calls of the trace; values need not have been kept.
        root: The outermost call of the model.

    Raises:
        MapShapeError: No module returned anything suitable; the message lists what there is.
    """
    ranked = candidates(calls, root)
    if not ranked or ranked[0].against >= VAIN:
        raise MapShapeError(_nothing(root, ranked))
    best = ranked[0]
    headline = (
        f"{best.name} was chosen: it is the last value with spatial extent ({_sizes(best.grid)}) "
        f"that a module returned and nothing speaks against."
    )
    if best.against:
        headline = f"{best.name} was chosen, for want of a better one."
    end = _returned_at(best.call)
    later = [one for one in ranked if one.against > best.against and _returned_at(one.call) > end]
    passed = [f"Passed over: {one.why[-1]}" for one in later[:2]]
    if len(later) > 2:
        passed.append(f"So were {len(later) - 2} more after it.")
    return replace(best, why=(headline, *best.why, *passed))


def candidates(calls: CallIndex, root: Call) -> list[Candidate]:
    """Return what maps could be made of inside an outermost call, the best first.

    Args:
        calls: The calls of the trace; values need not have been kept.
        root: The outermost call of the model.
    """
    judge = Judge(calls, root)
    judged = [(*judge.objection(one), one) for one in judge.returns.found.values()]
    judged.sort(key=lambda entry: (entry[0], -entry[2].made))
    return [
        Candidate(
            call=one.call,
            name=judge.name(one.call),
            grid=one.layout.grid,
            rank=rank,
            against=against,
            why=(*judge.said_for(one), *([said] if said else [])),
        )
        for rank, (against, said, one) in enumerate(judged)
    ]


def _nothing(root: Call, ranked: list[Candidate]) -> str:
    if ranked:
        there = " ".join(one.why[-1] for one in ranked[:3])
        return (
            f"No layer of {root} is suitable for a map. {there} Name one with layer= all the same."
        )
    seen = [
        f"{call.name} {seen.summary.dimensions}"
        for call in root.children
        for seen in call.seen_outputs
        if isinstance(seen.summary, TensorSummary)
    ]
    there = f"Its modules returned: {', '.join(seen[-8:])}." if seen else "It called no modules."
    return (
        f"No module inside {root} returned a value with spatial extent, (N, C, *S) or a grid of "
        f"tokens. {there} Name a layer, with reshape= from what it returns to (N, C, *S)."
    )


def _sizes(grid: tuple[int, ...]) -> str:
    return "x".join(map(str, grid))


def _returned_at(call: Call) -> int:
    return -1 if call.exited is None else call.exited.seq
