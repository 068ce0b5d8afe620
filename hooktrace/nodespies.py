"""What hangs on autograd nodes for the time of a backward run, and tells the run what it sees."""

from __future__ import annotations

from typing import Any

import torch

from hooktrace import _torch

__all__ = ["IncomingSpy", "NodeHook", "NodeSpy", "OutputSpy", "PlainSpy"]


class NodeHook:
    """A hook of ours on one autograd node, for the time of one backward run.

    Attributes:
        run: The `BackwardRun` that is told.
        key: Of the node.
        targets: What to look out for.
        place: The dictionary that it stands in.
    """

    __slots__ = ("key", "place", "run", "targets")

    def __init__(self, run: Any, key: int, targets: Any) -> None:
        self.run = run
        self.key = key
        self.targets = targets
        self.place: Any = None


class OutputSpy(NodeHook):
    """Sees the gradients that a node receives for outputs of module calls."""

    __slots__ = ()

    def __call__(self, gradients: tuple[torch.Tensor | None, ...]) -> None:
        """Tell the run what comes in."""
        with _torch.aside():
            state = self.run.catch_up(self.key)
            if state is not None:
                self.run.arrived(state, self.targets, gradients)


class IncomingSpy(NodeHook):
    """Sees the gradients that a node receives, as shares of gradients of module calls."""

    __slots__ = ()

    def __call__(self, gradients: tuple[torch.Tensor | None, ...]) -> None:
        """Tell the run what comes in."""
        with _torch.aside():
            state = self.run.catch_up(self.key)
            if state is not None:
                self.run.contributed(state, self.targets, gradients)


class PlainSpy(NodeHook):
    """Sees all gradients that a node outside of all calls receives."""

    __slots__ = ()

    def __call__(self, gradients: tuple[torch.Tensor | None, ...]) -> None:
        """Tell the run what comes in."""
        with _torch.aside():
            if self.run.catch_up(self.key) is not None:
                row, owners = self.targets
                for output, gradient in enumerate(gradients):
                    if gradient is not None:
                        self.run.reached(row, gradient, owners.get(output))


class NodeSpy(NodeHook):
    """Sees what a node receives and what it sends to arguments of module calls.

    One post-hook instead of a prehook and a post-hook costs half.  It sees the same gradients:
    PyTorch's own nodes do not write to what they receive.
    """

    __slots__ = ()

    def __call__(
        self,
        grad_inputs: tuple[torch.Tensor | None, ...],
        grad_outputs: tuple[torch.Tensor | None, ...],
    ) -> None:
        """Tell the run what came in and what goes out."""
        with _torch.aside():
            state = self.run.catch_up(self.key)
            if state is not None:
                outputs, shares = self.targets
                self.run.arrived(state, outputs, grad_outputs)
                self.run.contributed(state, shares, grad_inputs)
