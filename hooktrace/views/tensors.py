"""The story of one named tensor: what it held, what its gradient was, and who changed that."""

from __future__ import annotations

from typing import Any

from hooktrace.errors import NoGradientError, UnknownNameError, nearest
from hooktrace.events import (
    BackwardStarted,
    GradientAccumulated,
    GradientComputed,
    GradientRetained,
    HookFired,
    Observation,
    TensorId,
    TracedHook,
    TracedTensor,
)
from hooktrace.log import EventLog
from hooktrace.tensorstats import TensorStats
from hooktrace.views.values import content

__all__ = ["TensorView", "named_tensors", "tensor_view"]

_ADVICE = "Tensors of plain code are recorded by their summary, small ones with their numbers."


class TensorView:
    """A tensor that has a name: a parameter, or a variable of the code around the block.

    Attributes:
        name: Its name.
        row: Its row in the log.
        operation: Name of the autograd node that made it; empty for a leaf.
        value: What it was seen to hold; None if that was never looked at.
        gradients: The gradients that arrived for it, in order.
        accumulated: For a leaf, each time its ``.grad`` was filled or added to.
        retained: For a non-leaf with ``retain_grad()``, each time its ``.grad`` was filled.
        hooks: The hooks on it.
        firings: Their firings, in order.
    """

    def __init__(self, log: EventLog, number: TensorId) -> None:
        self._log = log
        self.row: TracedTensor = log.tensors[number]
        self.name = self.row.name
        self.operation = next(
            (
                log.nodes[node].name
                for value, (node, _) in log.producers.items()
                if value.tensor == number
            ),
            "",
        )
        self.value: Observation | None = next(
            (seen for value, seen in log.contents.items() if value.tensor == number), None
        )
        self.gradients = [one for one in log.of(GradientComputed) if one.tensor == number]
        self.accumulated = [one for one in log.of(GradientAccumulated) if one.tensor == number]
        self.retained = [one for one in log.of(GradientRetained) if one.tensor == number]
        self.hooks: list[TracedHook] = [hook for hook in log.hooks if hook.tensor == number]
        numbers = {hook.id for hook in self.hooks}
        self.firings = [one for one in log.of(HookFired) if one.hook in numbers]

    @property
    def grad(self) -> Any:
        """What ``.grad`` held after the last backward run; None if it was never filled.

        Raises:
            NoGradientError: No backward ran while the trace was open.
        """
        filled: list[tuple[int, Observation]] = [(one.seq, one.after) for one in self.accumulated]
        filled += [(one.seq, one.gradient) for one in self.retained]
        for firing in self.firings:
            edits = [edit for edit in firing.edits if edit.role == "param.grad"]
            filled += [(firing.seq, edit.after) for edit in edits[-1:]]
        if not filled and not self._log.of(BackwardStarted):
            raise NoGradientError(
                f"No backward ran inside the block, so {self.name}.grad is unknown."
            )
        last = max(filled, key=lambda pair: pair[0])[1] if filled else None
        return content(self._log, last, _ADVICE)

    @property
    def stats(self) -> dict[str, TensorStats]:
        """Statistics of its ``value``, the last ``gradient`` that arrived, and its last ``.grad``.

        Raises:
            NoStatisticsError: The trace was opened without ``stats=True``.
        """
        table = self._log.stats
        seen = {"gradient": [one.gradient for one in self.gradients]}
        seen["gradient"] += [one.arrived for one in self.accumulated if one.arrived is not None]
        seen[".grad"] = [one.after for one in self.accumulated]
        seen[".grad"] += [one.gradient for one in self.retained]
        last = {role: table.of(found[-1]) for role, found in seen.items() if found}
        found = {**table.by_role(()), "value": self._value_stats(), **last}
        return {role: stats for role, stats in found.items() if stats is not None}

    def _value_stats(self) -> TensorStats | None:
        table = self._log.stats
        held = [one.number for one in table.parameters if one.tensor == self.row.id]
        return table[held[-1]] if held else table.of(self.value)

    def __repr__(self) -> str:
        what = self.operation or ("leaf" if self.row.leaf else "tensor")
        return f"<Tensor {self.name} ({what}) = {self.value if self.value else 'not looked at'}>"


def named_tensors(log: EventLog) -> dict[str, TensorId]:
    """Return the tensors that have a name, by all their names; of several with one the latest."""
    return {**log.aliases, **{row.name: row.id for row in log.tensors if row.name}}


def tensor_view(log: EventLog, name: str) -> TensorView:
    """Return the story of the tensor of this name.

    Raises:
        UnknownNameError: No tensor has this name; the message gives the nearest ones.
    """
    known = named_tensors(log)
    if name not in known:
        raise UnknownNameError(f"No tensor named {name!r} was seen.{nearest(name, known)}")
    return TensorView(log, known[name])
