"""Leaves without hooks and without a gradient: when their ``.grad`` is filled.

Nothing is put on them.  Whenever a backward run shows itself, at a node that is watched or a
hook that is about to fire, and at its end, those next in line are asked whether they have a
gradient now.  In line they stand in the order in which the engine will reach them, so each is
noted before anything that comes after it.
"""

from __future__ import annotations

import torch

from hooktrace import _torch
from hooktrace.events import GradientAccumulated, Value
from hooktrace.recorder import Recorder

__all__ = ["BareLeaves"]

_WINDOW = 3  # how many at the head of the line are asked
_PATIENCE = 8  # how often in vain, until the first of them has to wait for the end


class BareLeaves:
    """The line of one backward run.

    Args:
        recorder: Whose log.
        number: Number of the backward run.
        leaves: The leaves, in the order in which the engine will reach them.
    """

    def __init__(self, recorder: Recorder, number: int, leaves: list[torch.Tensor]) -> None:
        self.recorder = recorder
        self.number = number
        self._line = leaves[::-1]
        self._late: list[torch.Tensor] = []
        self._in_vain = 0

    def ask(self) -> None:
        """Note those at the head of the line that have a gradient by now."""
        line = self._line
        while line:
            for place in range(-1, -1 - min(_WINDOW, len(line)), -1):
                gradient = _torch.gradient_of(line[place])
                if gradient is not None:
                    self._note(line.pop(place), gradient)
                    self._in_vain = 0
                    break
            else:
                self._in_vain += 1
                if self._in_vain > _PATIENCE:
                    self._late.append(line.pop())
                    self._in_vain = 0
                return

    def end(self) -> None:
        """Note all others that have one, and let them go."""
        for leaf in (*self._late, *reversed(self._line)):
            gradient = _torch.gradient_of(leaf)
            if gradient is not None:
                self._note(leaf, gradient)
        self._late.clear()
        self._line.clear()

    def _note(self, leaf: torch.Tensor, gradient: torch.Tensor) -> None:
        try:
            self._record(leaf, gradient)
        except Exception:
            self.recorder.failed("the accumulation of a gradient")

    def _record(self, leaf: torch.Tensor, gradient: torch.Tensor) -> None:
        recorder = self.recorder
        known = recorder.identities.known(gradient)
        tensor = recorder.leaf(leaf)
        state = recorder.state()
        if known is not None and recorder.log.accumulated.get(tensor) is known.ref:
            if known.value == Value(known.id, _torch.version_of(gradient)):
                return  # a backward run inside this one has noted it
        after, seen = recorder.sight(state, gradient, ".grad", True)
        recorder.log.accumulated[tensor] = seen.ref
        now = recorder.clock()
        recorder.write(
            (GradientAccumulated, now, state.number, tensor, after, None, after, self.number)
        )
