"""An event file of TensorBoard."""

from __future__ import annotations

from hooktrace.boards.exporting import event_file
from hooktrace.export.exporter import exporter
from hooktrace.log import EventLog
from hooktrace.views.calls import CallIndex

__all__ = ["to_tensorboard"]


@exporter("tensorboard", ".tfevents")
def to_tensorboard(log: EventLog, calls: CallIndex, *, modules: str = "*") -> bytes:
    """Graph with hooks, norms and histograms for TensorBoard, as an event file.

    Args:
        modules: A pattern of the modules that curves and histograms are written of.
    """
    return event_file(log, calls, modules)
