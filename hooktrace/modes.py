"""The modes in which a module is called."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["GRAD", "INFERENCE", "TRAINING", "Mode"]

GRAD, INFERENCE, TRAINING = 1, 2, 4
"""Modes as they are recorded: autograd records, inference mode is on, the module trains."""


class Mode(NamedTuple):
    """The modes in which a module was called.

    Attributes:
        grad: Whether autograd recorded: not under ``torch.no_grad()``.
        inference: Whether ``torch.inference_mode()`` was on.
        training: The module's own ``training``.
    """

    grad: bool
    inference: bool
    training: bool

    @classmethod
    def of(cls, bits: int) -> Mode:
        """Return the modes that a sum of `GRAD`, `INFERENCE` and `TRAINING` stands for."""
        return cls(bool(bits & GRAD), bool(bits & INFERENCE), bool(bits & TRAINING))
