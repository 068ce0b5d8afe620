"""Event files: where TensorBoard's records go."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from hooktrace.boards.protocol import Value, protos

__all__ = ["BoardFile", "usual_folder"]


def usual_folder(comment: str = "") -> str:
    """Return the folder that ``SummaryWriter`` takes where none is given."""
    now = datetime.now().strftime("%b%d_%H-%M-%S")
    return os.path.join("runs", f"{now}_{socket.gethostname()}{comment}")


class BoardFile:
    """Writes one run; `open`, `of` and `into` make one.

    Args:
        send: Takes each event.
        flush: Has everything on disk.
        close: Ends the file.
        folder: The folder of the run; None where it is no file.
        suffix: End of the names of the files.
    """

    def __init__(
        self,
        send: Callable[[Any], None],
        flush: Callable[[], None],
        close: Callable[[], None] = lambda: None,
        folder: str | None = None,
        suffix: str = "",
    ) -> None:
        self.folder = folder
        self._send, self._flush, self._close = send, flush, close
        self._suffix = suffix
        self._runs: dict[str, BoardFile] = {}

    @classmethod
    def open(cls, folder: str | os.PathLike[str], suffix: str = "") -> BoardFile:
        """Return what writes a new file into a folder, which is made.

        Raises:
            MissingExtraError: TensorBoard is not installed.
        """
        writer = protos("summary.writer.event_file_writer").EventFileWriter
        file = writer(str(folder), filename_suffix=suffix)
        return cls(file.add_event, file.flush, file.close, str(folder), suffix)

    @classmethod
    def of(cls, writer: Any) -> BoardFile:
        """Return what writes with a ``SummaryWriter``, into its file; it does not close that.

        Raises:
            TypeError: It is none, or it is closed.
        """
        file: Any = getattr(writer, "file_writer", None)
        if not callable(getattr(file, "add_event", None)):
            raise TypeError(
                f"This takes a folder or an open SummaryWriter, but got {type(writer).__name__}."
            )
        folder = str(writer.log_dir)
        return cls(file.add_event, file.flush, folder=folder, suffix=writer.filename_suffix)

    @classmethod
    def into(cls, stream: BinaryIO, time_s: float) -> BoardFile:
        """Return what writes into a stream what would be in a file.

        Args:
            stream: The stream.
            time_s: When it begins, in seconds since 1970.

        Raises:
            MissingExtraError: TensorBoard is not installed.
        """
        records = protos("summary.writer.record_writer").RecordWriter(stream)
        self = cls(lambda event: records.write(event.SerializeToString()), stream.flush)
        self._event(None, time_s, file_version="brain.Event:2")
        return self

    def run(self, name: str) -> BoardFile:
        """Return the run in a folder below, such as ``validation``; its curves have that name."""
        if name not in self._runs:
            self._runs[name] = BoardFile.open(Path(self.folder or ".") / name, self._suffix)
        return self._runs[name]

    def add(
        self, values: Iterable[Value], step: int | None = None, time_s: float | None = None
    ) -> None:
        """Write values that belong to one step.

        Args:
            values: Records of `hooktrace.boards.protocol`.
            step: The number of the step.
            time_s: When that was, in seconds since 1970; now if it is not given.
        """
        summary = protos("compat.proto.summary_pb2").Summary(value=list(values))
        self._event(step, time_s, summary=summary)

    def add_graph(self, graph: Any, time_s: float | None = None) -> None:
        """Write a ``GraphDef``."""
        self._event(None, time_s, graph_def=graph.SerializeToString())

    def _event(self, step: int | None, time_s: float | None, **content: Any) -> None:
        when = time.time() if time_s is None else time_s
        event = protos("compat.proto.event_pb2").Event(wall_time=when, **content)
        if step is not None:
            event.step = step
        self._send(event)

    def flush(self) -> None:
        """Have everything on disk, so that an open TensorBoard shows it."""
        self._flush()
        for run in self._runs.values():
            run.flush()

    def close(self) -> None:
        """Write what is left and close the files."""
        self.flush()
        self._close()
        for run in self._runs.values():
            run.close()
