"""Where a gradient came from, and who changed it on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from hooktrace.doctor.case import Case
from hooktrace.doctor.history import History
from hooktrace.doctor.passage import Passage, Step
from hooktrace.errors import NoGradientError, UnknownNameError, nearest
from hooktrace.events import TensorId
from hooktrace.log import EventLog
from hooktrace.views.calls import CallIndex
from hooktrace.views.tensors import named_tensors

__all__ = ["Blame", "Passage", "Step", "blame"]


class Blame(Sequence[Passage]):
    """The history of one tensor's gradient; ``print`` it.

    Attributes:
        name: Of the tensor.
        tensor: Its number.
        passages: One for each backward run that reached it, in order.
    """

    def __init__(self, name: str, tensor: TensorId, passages: list[Passage]) -> None:
        self.name = name
        self.tensor = tensor
        self.passages = tuple(passages)

    @property
    def steps(self) -> tuple[Step, ...]:
        """What happened in the last run that reached it, and after it."""
        return self.passages[-1].steps

    @property
    def hooks(self) -> tuple[Step, ...]:
        """The steps of the last run in which a hook changed the gradient."""
        return self.passages[-1].hooks

    @property
    def complete(self) -> bool:
        """Whether nothing is known to be missing in the last run."""
        return not self.passages[-1].gaps

    @overload
    def __getitem__(self, place: int) -> Passage: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Passage]: ...
    def __getitem__(self, place: int | slice) -> Passage | Sequence[Passage]:
        return self.passages[place]

    def __len__(self) -> int:
        return len(self.passages)

    def __str__(self) -> str:
        last, earlier = self.passages[-1], len(self) - 1
        runs = f"; {earlier} earlier run{'s' * (earlier != 1)} in .passages" if earlier else ""
        return f"The gradient of {self.name} in backward run {last.backward}{runs}:\n{last}"

    def __repr__(self) -> str:
        return f"<Blame: {self.name}, {len(self)} backward runs, {len(self.steps)} steps>"


def blame(log: EventLog, calls: CallIndex, tensor: str | TensorId) -> Blame:
    """Tell the history of a tensor's gradient.

    Args:
        log: What was recorded; its edits should be measured already.
        calls: The index of its calls, up to date.
        tensor: Name or number of a parameter, another leaf, or a tensor in between.

    Raises:
        UnknownNameError: No tensor has this name; the message gives the nearest ones.
        NoGradientError: No backward run gave it a gradient.
    """
    if isinstance(tensor, bool) or not isinstance(tensor, (str, int)):
        raise TypeError(
            f"t.blame() takes the name of a tensor, its number or a parameter, but got "
            f"{type(tensor).__name__}."
        )
    number = _number(log, tensor) if isinstance(tensor, str) else tensor
    case = Case(log, calls)
    name = case.name(number)
    passages = History(case, number).passages()
    if not passages:
        raise NoGradientError(_why_none(case, name))
    return Blame(name, number, passages)


def _number(log: EventLog, name: str) -> TensorId:
    known = named_tensors(log)
    if name not in known:
        raise UnknownNameError(f"No tensor named {name!r} was seen.{nearest(name, known)}")
    return known[name]


def _why_none(case: Case, name: str) -> str:
    if not case.runs:
        return f"No backward ran inside the block, so there is no gradient of {name}."
    count = len(case.runs)
    runs = "the backward run" if count == 1 else f"any of the {count} backward runs"
    return (
        f"No gradient of {name} was seen in {runs}: it did not require one, or was no part of "
        f"what the gradient was taken of."
    )
