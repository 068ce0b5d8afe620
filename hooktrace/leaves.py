"""Leaves without hooks and without a gradient: when their ``.grad`` is filled.

Nothing is put on them.  Whenever a backward run shows itself, at a node that is watched or a
hook that is about to fire, and at its end, those next in line are asked whether they have a
gradient now.  In line they stand in the order in which the engine will reach them, so each is
noted before anything that comes after it.
"""

from __future__ import annotations

import torch

from hooktrace._torch import gradient_of, version_of
from hooktrace.events import GradientAccumulated
from hooktrace.recorder import Recorder

__all__ = ["BareLeaves"]

_WINDOW = 3  # how many at the head of the line are asked
_PATIENCE = 8  # how often in vain, until the first of them has to wait for the end


class BareLeaves:
    """The line of one backward run.

    Args:
        recorder: Whose log.
        number: Number of the backward run.
        leaves: The leaves, in the order in which the engine will reach them, each with the key of
            the oldest node that sends it a gradient.
    """

    def __init__(
        self, recorder: Recorder, number: int, leaves: list[tuple[int, torch.Tensor]]
    ) -> None:
        self.recorder = recorder
        self.number = number
        self._line = leaves[::-1]
        self._late: list[torch.Tensor] = []
        self._in_vain = 0

    def ask_before(self, key: int) -> None:
        """Note those to which only nodes that are younger than this one send gradients.

        The engine runs the younger nodes first, and fills a leaf at once.
        """
        line = self._line
        while line and line[-1][0] > key:
            _, leaf = line.pop()
            gradient = gradient_of(leaf)
            if gradient is None:
                self._late.append(leaf)
            else:
                self._note(leaf, gradient)

    def ask(self) -> None:
        """Note those at the head of the line that have a gradient by now."""
        line = self._line
        while line:
            for place in range(-1, -1 - min(_WINDOW, len(line)), -1):
                _, leaf = line[place]
                gradient = gradient_of(leaf)
                if gradient is not None:
                    del line[place]
                    self._note(leaf, gradient)
                    self._in_vain = 0
                    break
            else:
                self._in_vain += 1
                if self._in_vain > _PATIENCE:
                    self._late.append(line.pop()[1])
                    self._in_vain = 0
                return

    def end(self) -> None:
        """Note all others that have one, and let them go."""
        for leaf in (*self._late, *(leaf for _, leaf in reversed(self._line))):
            gradient = gradient_of(leaf)
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
        tensor = recorder.leaf(leaf)
        accumulated = recorder.log.accumulated
        before = accumulated.get(tensor)
        if before is not None:
            known = recorder.identities.known(gradient)
            if known is not None and before is known.ref:
                if known.value.version == version_of(gradient):
                    return  # a backward run inside this one has noted it
        state = recorder.state()
        after, seen = recorder.sight(state, gradient, ".grad", True)
        accumulated[tensor] = seen.ref
        now = recorder.clock()
        fields = now, state.number, tensor, after, None, after, self.number
        recorder.write((GradientAccumulated, fields))
