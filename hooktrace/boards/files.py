"""Event files: where TensorBoard's records go."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from hooktrace.boards.protocol import Value, protos

__all__ = ["BoardFile", "usual_folder"]


def usual_folder(comment: str = "") -> str:
    """Return the folder that ``SummaryWriter`` takes where none is given."""
    now = datetime.now().strftime("%b%d_%H-%M-%S")
    return os.path.join("runs", f"{now}_{socket.gethostname()}{comment}")


class BoardFile:
    """Writes one run.

    Args:
        folder: The folder of the run, which is made.
        suffix: End of the name of the file.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], suffix: str = "") -> None:
        writer = protos("summary.writer.event_file_writer").EventFileWriter
        self.folder = str(folder)
        self._suffix = suffix
        self._file = writer(self.folder, filename_suffix=suffix)
        self._send: Callable[[Any], None] = self._file.add_event
        self._runs: dict[str, BoardFile] = {}
        self._owned = True

    @classmethod
    def of(cls, writer: Any) -> BoardFile:
        """Return what writes with a ``SummaryWriter``, into its file.

        Raises:
            TypeError: It is none, or it is closed.
        """
        file: Any = getattr(writer, "file_writer", None)
        if not callable(getattr(file, "add_event", None)):
            raise TypeError(
                f"This takes a folder or an open SummaryWriter, but got {type(writer).__name__}."
            )
        self = cls.__new__(cls)
        self.folder = str(writer.log_dir)
        self._suffix = writer.filename_suffix
        self._file, self._send = file, file.add_event
        self._runs = {}
        self._owned = False
        return self

    def run(self, name: str) -> BoardFile:
        """Return the run in a folder below, such as ``validation``; its curves have that name."""
        if name not in self._runs:
            self._runs[name] = BoardFile(Path(self.folder) / name, self._suffix)
        return self._runs[name]

    def add(self, values: Iterable[Value], step: int | None = None) -> None:
        """Write values that belong to one step."""
        summary = protos("compat.proto.summary_pb2").Summary(value=list(values))
        self._event(step, summary=summary)

    def add_graph(self, graph: Any) -> None:
        """Write a ``GraphDef``."""
        self._event(None, graph_def=graph.SerializeToString())

    def _event(self, step: int | None, **content: Any) -> None:
        event = protos("compat.proto.event_pb2").Event(wall_time=time.time(), **content)
        if step is not None:
            event.step = step
        self._send(event)

    def flush(self) -> None:
        """Have everything on disk, so that an open TensorBoard shows it."""
        self._file.flush()
        for run in self._runs.values():
            run.flush()

    def close(self) -> None:
        """Write what is left and close the files, but for that of a ``SummaryWriter``."""
        self.flush()
        if self._owned:
            self._file.close()
        for run in self._runs.values():
            run.close()
