"""Statistics of what a tensor held when it was seen, and the table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from hooktrace.errors import NoStatisticsError
from hooktrace.records import CallId, Observation, Record, TensorId

__all__ = ["ParameterSighting", "StatsTable", "TensorStats"]


class TensorStats(Record, frozen=True, gc=False):
    """Statistics of the elements of one tensor at one moment.

    A NaN makes ``min``, ``max``, ``mean``, ``std`` and ``norm`` NaN, as in PyTorch.  Tensors of
    16 bits are measured in single precision.

    Attributes:
        min, max, mean: Of all elements.
        std: Standard deviation of these elements, divided by their number and not by one less.
        norm: Square root of the sum of squares; infinite where that overflows.
        nan, inf, zeros: How many elements are NaN, infinite, zero.
        total: How many elements there are.
        channels: Size of dimension 1, which for feature maps are the channels; None for tensors
            of fewer than two dimensions.
        dead_channels: How many of these are zero throughout; None where `channels` is.
    """

    min: float
    max: float
    mean: float
    std: float
    norm: float
    nan: int
    inf: int
    zeros: int
    total: int
    channels: int | None = None
    dead_channels: int | None = None

    @property
    def finite(self) -> bool:
        """Whether no element is NaN or infinite."""
        return not self.nan and not self.inf

    @property
    def oddity(self) -> str:
        """What is wrong with the elements in a few words, such as ``3 of 10 NaN``; or empty."""
        counts = (("NaN", self.nan), ("infinite", self.inf))
        told = [f"{n} of {self.total} {name}" for name, n in counts if n]
        if not told and self.zeros == self.total:
            return "all zero"
        return ", ".join(told)

    def __str__(self) -> str:
        return self.oddity or f"mean {self.mean:.3g}, std {self.std:.3g}"


class ParameterSighting(Record, frozen=True, gc=False):
    """What a parameter or buffer held when an outermost call began, where that was new.

    Attributes:
        call: The outermost call.
        tensor: The parameter or buffer.
        number: Of its statistics.
    """

    call: CallId
    tensor: TensorId
    number: int


class StatsTable:
    """Statistics by the number that a sighting carries.

    Attributes:
        taken: Whether the trace takes statistics.
        fetch: Brings those that still lie on a device, by number; None when no more will come.
        parameters: What parameters and buffers held, in order.
    """

    def __init__(self) -> None:
        self.taken = False
        self.fetch: Callable[[], dict[int, TensorStats]] | None = None
        self.parameters: list[ParameterSighting] = []
        self._rows: dict[int, TensorStats] = {}

    def __getitem__(self, number: int) -> TensorStats:
        self.settle()
        return self._rows[number]

    def __len__(self) -> int:
        self.settle()
        return len(self._rows)

    def __iter__(self) -> Iterator[TensorStats]:
        self.settle()
        return iter(tuple(self._rows.values()))

    def items(self) -> Iterator[tuple[int, TensorStats]]:
        """Yield the statistics with their numbers."""
        self.settle()
        return iter(tuple(self._rows.items()))

    def update(self, rows: Iterable[tuple[int, TensorStats]]) -> None:
        """Take statistics that were saved."""
        self._rows.update(rows)

    def forget(self) -> None:
        """Forget those that were fetched."""
        self.settle()
        self._rows.clear()
        self.parameters.clear()

    def of(self, seen: Observation | None) -> TensorStats | None:
        """Return the statistics of what was seen; None if there are none."""
        if seen is None or seen.stats is None:
            return None
        self.settle()
        return self._rows.get(seen.stats)

    def by_role(self, seen: Iterable[Observation | None]) -> dict[str, TensorStats]:
        """Return the statistics of several sightings by their roles.

        Raises:
            NoStatisticsError: The trace takes none.
        """
        if not self.taken:
            raise NoStatisticsError(
                "No statistics were taken. Ask for them with trace(model, stats=True)."
            )
        pairs = ((one.role, self.of(one)) for one in seen if one is not None)
        return {role: stats for role, stats in pairs if stats is not None}

    def settle(self) -> None:
        """Fetch what still lies on a device."""
        if self.fetch is not None:
            self._rows.update(self.fetch())
