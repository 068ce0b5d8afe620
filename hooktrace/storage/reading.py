"""Reading a log from a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from hooktrace.errors import TraceFormatError
from hooktrace.events import Event
from hooktrace.log import EventLog
from hooktrace.origins import Origin
from hooktrace.progress import work
from hooktrace.storage.archive import Reader
from hooktrace.storage.manifest import read_manifest
from hooktrace.storage.restore import Rebuilt
from hooktrace.storage.tensors import Vault
from hooktrace.storage.wire import (
    Ending,
    Facts,
    PartTables,
    decode,
    decode_events,
)

Made = TypeVar("Made")

__all__ = ["LIMIT_BYTES", "load_log", "read_events"]

LIMIT_BYTES = 4 << 30
"""How many bytes a file may unpack to, apart from the kept tensors, which are not packed."""


def load_log(path: str | os.PathLike[str], limit_bytes: int = LIMIT_BYTES) -> EventLog:
    """Read a log from a file that `save` wrote, or that was being written.

    No code in the file is run, as there is none.  Kept tensors are read when they are asked for.

    Args:
        path: The file.
        limit_bytes: How many bytes it may unpack to, apart from kept tensors.

    Raises:
        TraceFormatError: It is no trace, is damaged, beyond the limits, or of a later version.
        FileNotFoundError: There is no such file.
        TypeError: `path` is no path.
    """
    file = _File(path, limit_bytes)
    rebuilt = Rebuilt(str(file.path))
    for facts in file.facts():
        rebuilt.facts(facts)
    steps: list[int] = []
    with work(f"reading {file.path.name}", file.pieces) as done:
        for place in file.parts:
            steps += _add_part(rebuilt, file, place, done)
    ended, in_all = "ending.msgpack" in file.reader, steps[-1] + 1 if steps else 0
    if ended:
        ending = file.record(Ending, "ending.msgpack")
        rebuilt.ending(ending)
        in_all = max(ending.steps, in_all)
    with work(f"checking {file.path.name}"):
        log = rebuilt.finish()
    log.sealed = True
    log.surroundings = file.manifest.surroundings
    log.origin = Origin(str(path), ended, tuple(steps), in_all - len(steps))
    return log


def _add_part(rebuilt: Rebuilt, file: _File, place: str, done: Callable[[], None]) -> Iterable[int]:
    """Put a part of a file into a log; return the numbers of its steps.

    Args:
        rebuilt: The log.
        file: The file.
        place: How the names of the part's entries begin.
        done: What is to be called after each piece of the timeline.
    """
    tables = file.tables(place)
    events: list[Event] = []
    for chunk in file.chunks(place):
        events += chunk
        done()
    if len(events) != tables.events:
        raise TraceFormatError(
            f"{file.path} is damaged: {place} has {len(events)} events, not {tables.events}."
        )
    rebuilt.part(events, tables, Vault(file.reader, f"{place}/tensors", tables.kept.views))
    return range(tables.step, tables.step + min(tables.steps, len(events)))


def read_events(path: str | os.PathLike[str], limit_bytes: int = LIMIT_BYTES) -> Iterator[Event]:
    """Yield the events of a file, of which a few thousand are in memory at a time.

    Args:
        path: The file.
        limit_bytes: How many bytes it may unpack to, apart from kept tensors.

    Raises:
        TraceFormatError: It is no trace, is damaged, beyond the limits, or of a later version.
        FileNotFoundError: There is no such file.
        TypeError: `path` is no path.
    """
    file = _File(path, limit_bytes)
    for place in file.parts:
        for chunk in file.chunks(place):
            yield from chunk


class _File:
    """The records in a file."""

    def __init__(self, path: str | os.PathLike[str], limit_bytes: int) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(
                f"A trace is read from a file: give its path, such as 'run.hooktrace', not "
                f"{path!r:.60} of type {type(path).__name__}."
            )
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"There is no file {self.path}.")
        self.reader = Reader(self.path, limit_bytes)
        self.manifest = read_manifest(self.reader)
        self.pieces = sum(map(_is_piece, self.reader))
        numbers = [one.split("/")[1] for one in self.reader if one.endswith("/tables.msgpack")]
        self.parts = [f"parts/{one}" for one in sorted(filter(str.isdecimal, numbers), key=int)]

    def record(self, kind: type[Made], name: str) -> Made:
        """Return the record in an entry."""
        return decode(kind, self.reader.read(name), f"{self.path} at {name}")

    def facts(self) -> Iterator[Facts]:
        """Yield the facts in order."""
        number = 0
        while f"facts/{number}.msgpack" in self.reader:
            yield self.record(Facts, f"facts/{number}.msgpack")
            number += 1

    def tables(self, place: str) -> PartTables:
        """Return the tables of a part."""
        return self.record(PartTables, f"{place}/tables.msgpack")

    def chunks(self, place: str) -> Iterator[list[Event]]:
        """Yield the events of a part, some at a time."""
        number = 0
        while (name := f"{place}/{number}.msgpack") in self.reader:
            yield decode_events(self.reader.read(name), f"{self.path} at {name}")
            number += 1


def _is_piece(name: str) -> bool:
    """Whether an entry holds some of the timeline."""
    return (
        name.startswith("parts/") and name.rpartition("/")[2].removesuffix(".msgpack").isdecimal()
    )
