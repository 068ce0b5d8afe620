"""Tracing every n-th step of a training loop: what the loggers and callbacks share."""

from __future__ import annotations

import warnings
import weakref
from typing import Any

import torch
from torch import nn

from hooktrace.errors import NothingTracedWarning
from hooktrace.pausing import leave_out
from hooktrace.session import Trace

__all__ = ["TracedSteps"]


class TracedSteps:
    """The steps of one loop, of which the first and every n-th after it are traced.

    What runs under ``no_grad`` while a step is traced, such as a validation, is left out.  If it is
    dropped, a trace that is open ends.

    Args:
        model: What is traced.
        every: How many steps lie between those that are traced, plus one.
        keep: The modules whose values are kept.

    Attributes:
        number: How many steps have ended.

    Raises:
        ValueError: `every` is less than 1.
    """

    def __init__(self, model: nn.Module, every: int, keep: Any = False) -> None:
        if every < 1:
            raise ValueError(f"every= is 1 or more, but got {every}.")
        self.number = 0
        self.trace: Trace | None = None
        self._model, self._every, self._keep = model, every, keep

    def begin(self) -> None:
        """Begin a step."""
        if self.number % self._every == 0 and self.trace is None:
            self.trace = _begun(self._model, self._keep)
            self._finalizer = weakref.finalize(self, _end, self.trace)

    def end(self) -> Trace | None:
        """End a step; return its trace if it has one."""
        self.number += 1
        return None if self.trace is None else self.abandon()

    def abandon(self) -> Trace | None:
        """End the trace of a step that did not end."""
        trace, self.trace = self.trace, None
        if trace is not None:
            self._finalizer.detach()
            _end(trace)
        return trace


def _begun(model: nn.Module, keep: Any) -> Trace:
    trace = Trace(model, keep=keep, edits="versions", stats=True)
    trace.__enter__()
    leave_out(trace._recorder, lambda: not torch.is_grad_enabled())
    return trace


def _end(trace: Trace) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingTracedWarning)
        trace.__exit__(None, None, None)
