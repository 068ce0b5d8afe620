"""A callback for Lightning: steps of training are traced, and reported on."""

from __future__ import annotations

import os
from typing import Any

from hooktrace.errors import MissingExtraError
from hooktrace.integrations.reporting import OnTrace, StepReports

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback  # type: ignore[assignment, unused-ignore]
    except ImportError as error:
        raise MissingExtraError("TraceCallback", "lightning", "lightning") from error

__all__ = ["TraceCallback"]


class TraceCallback(Callback):  # type: ignore[misc, unused-ignore]
    """Traces the first batch of a training and every n-th after it, in the process of rank 0.

        >>> trainer = Trainer(callbacks=[TraceCallback(every=100)])    # doctest: +SKIP

    The norms of activations, gradients and parameters go to the trainer's loggers, as
    ``hooktrace/gradient_norm/layer1.0.conv1``.

    Args:
        every: How many batches lie between those that are traced, plus one.
        norms: Whether to log norms.
        findings: Whether to print what the doctor finds, each finding once.
        folder: Where to save the traces, as ``step-000100.hooktrace``; None for nowhere.
        on_trace: Is called with each trace and ``trainer.global_step``.

    Raises:
        ValueError: `every` is less than 1.
    """

    def __init__(
        self,
        every: int = 100,
        *,
        norms: bool = True,
        findings: bool = True,
        folder: str | os.PathLike[str] | None = None,
        on_trace: OnTrace | None = None,
    ) -> None:
        self._norms = norms
        self._reports = StepReports(every, findings, folder, on_trace)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin a loop."""
        if trainer.is_global_zero:
            self._reports.start(pl_module)

    def on_train_batch_start(self, *_: Any) -> None:
        """Begin a step."""
        self._reports.begin()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """End a step, and log its norms."""
        found = self._reports.end(trainer.global_step)
        if found and self._norms:
            named = {f"hooktrace/{tag}": number for tag, number in sorted(found.items())}
            for logger in trainer.loggers:  # log_dict() would repeat them in every later batch
                logger.log_metrics(named, step=trainer.global_step)

    def on_train_end(self, *_: Any) -> None:
        """End a loop."""
        self._reports.stop()

    def on_exception(self, *_: Any) -> None:
        """End a loop that raised."""
        self._reports.stop()
