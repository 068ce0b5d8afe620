"""A callback for the ``Trainer`` of transformers: steps of training are traced, and reported on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hooktrace.errors import MissingExtraError
from hooktrace.integrations.reporting import OnTrace, StepReports

try:
    from transformers.trainer_callback import TrainerCallback
except ImportError as error:
    raise MissingExtraError("TraceCallback", "transformers", "transformers") from error

__all__ = ["TraceCallback"]


class TraceCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Traces the first step of a training and every n-th after it, in the first process.

        >>> trainer = Trainer(model=model, ...)                        # doctest: +SKIP
        >>> trainer.add_callback(TraceCallback(every=100, log=trainer.log))  # doctest: +SKIP

    A step is one of the optimizer: with gradient accumulation, all batches of it.

    Args:
        every: How many steps lie between those that are traced, plus one.
        log: Where norms of activations, gradients and parameters go, as a dict of
            ``hooktrace/gradient_norm/...``: ``trainer.log``; None for nowhere.
        findings: Whether to print what the doctor finds, each finding once.
        folder: Where to save the traces, as ``step-000100.hooktrace``; None for nowhere.
        on_trace: Is called with each trace and the number of its step, as the trainer counts.

    Raises:
        ValueError: `every` is less than 1.
    """

    def __init__(
        self,
        every: int = 100,
        *,
        log: Callable[[dict[str, float]], None] | None = None,
        findings: bool = True,
        folder: str | os.PathLike[str] | None = None,
        on_trace: OnTrace | None = None,
    ) -> None:
        self._log = log
        self._reports = StepReports(every, findings, folder, on_trace)

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Begin a loop."""
        if state.is_world_process_zero:
            self._reports.start(model)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Begin a step."""
        self._reports.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End a step, and log its norms."""
        found = self._reports.end(state.global_step)
        if found and self._log is not None:
            self._log({f"hooktrace/{tag}": number for tag, number in sorted(found.items())})

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """End a loop."""
        self._reports.stop()
