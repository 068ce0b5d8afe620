"""What a field of a view holds: the tensor where it was kept, and a stand-in where it was not."""

from __future__ import annotations

import ast
from typing import Any

from hooktrace.errors import NotKeptError
from hooktrace.events import Observation, TensorSummary, format_numbers
from hooktrace.log import EventLog

__all__ = ["Unkept", "content"]


class Unkept:
    """Stands for a tensor whose values were not kept; says what is known of it.

    Attributes:
        shape: Tuple of sizes.
        dtype: Such as ``"float32"``.
        device: Such as ``"cpu"``.
        requires_grad: As at the time.
        numbers: All elements in row-major order for CPU tensors of at most 16, else None.

    Raises:
        NotKeptError: On asking for anything else, or using it as a tensor.
    """

    __slots__ = ("_advice", "_observation")

    def __init__(self, observation: Observation, advice: str) -> None:
        self._observation = observation
        self._advice = advice

    @property
    def _summary(self) -> TensorSummary:
        summary = self._observation.summary
        assert isinstance(summary, TensorSummary)
        return summary

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return self._summary.shape

    @property
    def dtype(self) -> str:
        """Name of the dtype, without ``torch.``."""
        return self._summary.dtype

    @property
    def device(self) -> str:
        """Name of the device."""
        return self._summary.device

    @property
    def requires_grad(self) -> bool:
        """As at the time of the observation."""
        return self._summary.requires_grad

    @property
    def numbers(self) -> tuple[float, ...] | None:
        """All elements, if it is small enough to have been recorded whole."""
        return self._observation.numbers

    def tolist(self) -> Any:
        """Return the numbers, nested as the shape says, if it is small enough."""
        numbers: Any = self._observation.numbers
        if numbers is None:
            self._refuse()
        numbers = list(numbers)
        for size in reversed(self.shape[1:]):
            groups = range(0, len(numbers), size) if size else ()
            numbers = [numbers[start : start + size] for start in groups]
        return numbers if self.shape else numbers[0]

    def item(self) -> float:
        """Return the number, if there is one only."""
        numbers = self._observation.numbers
        if numbers is None or len(numbers) != 1:
            self._refuse()
        assert numbers is not None
        return numbers[0]

    __float__ = item

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("__", "_repr")):
            raise AttributeError(name)
        raise NotKeptError(
            f"The values of {self._observation.role} were not kept, only their summary "
            f"({self._summary}), so there is no .{name}. {self._advice}"
        )

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise NotKeptError(
            f"The values of {self._observation.role} ({self._summary}) were not kept, so they "
            f"cannot be used. {self._advice}"
        )

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for item in (*args, *(kwargs or {}).values()):
            if isinstance(item, cls):
                item._refuse()
        raise NotKeptError("A tensor whose values were not kept cannot be computed with.")

    def __repr__(self) -> str:
        numbers = self._observation.numbers
        what = format_numbers(numbers) if numbers is not None else "values not kept"
        return f"<{self._observation.role}: {self._summary}, {what}>"

    # Everything that one does with a tensor says how its values could have been kept.
    __array__ = __bool__ = __int__ = __index__ = __len__ = __iter__ = _refuse
    __getitem__ = __setitem__ = __contains__ = __hash__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _refuse
    __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __neg__ = __pos__ = __abs__ = _refuse
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __invert__ = _refuse


def content(log: EventLog, observation: Observation | None, advice: str) -> Any:
    """Return the recorded tensor, an `Unkept`, or for what is no tensor its text.

    Args:
        log: Where the snapshots are.
        observation: What was seen; None gives None.
        advice: A sentence that tells how the value could have been kept.
    """
    if observation is None:
        return None
    if observation.value is None:
        return _literal(observation.summary)
    if log.released:
        advice = "They were let go by release()."
    kept = log.snapshots.get(observation.value)
    return kept if kept is not None else Unkept(observation, advice)


def _literal(text: Any) -> Any:
    """Return the None, truth value, number or string that was recorded as text, else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
