"""Writing a log to a file: all of it at once, or part by part."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from hooktrace.events import CallId, Event, ModuleCalled, ModuleExited, TensorSummary
from hooktrace.log import EventLog
from hooktrace.origins import Surroundings
from hooktrace.storage.archive import Reader, Writer, replacing
from hooktrace.storage.dump import (
    FactsSent,
    count_steps,
    described,
    ending,
    part_tables,
    step_calls,
)
from hooktrace.storage.manifest import NAME, ListedModule, listed, written
from hooktrace.storage.tensors import Pack
from hooktrace.storage.wire import Kept, encode

__all__ = ["Parts", "save"]

_CHUNK = 20_000  # events


def save(log: EventLog, path: Path) -> Path:
    """Write a log to a file, whole or not at all.

    Args:
        log: Its edits should be measured already.
        path: The file; an earlier one is replaced once the new one is whole.

    Raises:
        OSError: The folder does not exist or cannot be written to.
    """
    events = log.events
    with replacing(path) as writer:
        parts = Parts(writer)
        parts.begin(log.surroundings, devices(events), listed(log.members, log.modules))
        parts.facts(log)
        steps = count_steps(events)
        parts.part(log, events, steps)
        parts.end(log, steps)
    return path


class Parts:
    """Writes the parts of one file in order.

    Attributes:
        writer: Of the file.
        step: Number of the first step of the next part.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self._sent = FactsSent()
        self._facts = 0
        self._parts = 0
        self.step = 0

    def begin(
        self,
        surroundings: Surroundings,
        devices: tuple[str, ...],
        modules: Sequence[ListedModule],
    ) -> None:
        """Write in what the program ran, and which modules are known."""
        here = msgspec.structs.replace(surroundings, devices=devices)
        self.writer.add(NAME, written(here, modules))

    def facts(self, log: EventLog) -> None:
        """Write what is new of the whole run."""
        fresh = self._sent.fresh(log)
        if fresh is not None:
            self.writer.add(f"facts/{self._facts}.msgpack", encode(fresh))
            self._facts += 1

    def part(self, log: EventLog, events: Sequence[Event], steps: int) -> str:
        """Write a stretch of the timeline and what the log holds; return how its entries begin.

        Args:
            log: What it holds now is taken to belong to the stretch.
            events: The stretch.
            steps: How many steps it is.
        """
        place = f"parts/{self._parts}"
        self._parts += 1
        for number, start in enumerate(range(0, len(events), _CHUNK)):
            self.writer.add(
                f"{place}/{number}.msgpack", encode(list(events[start : start + _CHUNK]))
            )
        pack = Pack()
        kept = _kept(log, pack)
        if len(pack):
            self.writer.add(f"{place}/tensors", pack.bytes(), stored=True)
        tables = part_tables(log, len(events), range(self.step, self.step + steps), kept)
        self.writer.add(f"{place}/tables.msgpack", encode(tables))
        return place

    def end(self, log: EventLog, steps: int) -> None:
        """Write what is known at the end only.

        Args:
            log: As it is now.
            steps: How many steps there were.
        """
        self.facts(log)
        self.writer.add("ending.msgpack", encode(ending(log, steps)))

    def leave_out(self, parts: set[str]) -> None:
        """Write the file anew without some of its parts; it is whole at any moment."""
        old = self.writer
        old.flush()
        entries = Reader(old.path, sys.maxsize)
        handle, name = tempfile.mkstemp(dir=old.path.parent, prefix=f".{old.path.name}.")
        os.close(handle)
        os.unlink(name)
        self.writer = Writer(Path(name))
        for entry in entries:
            if entry.rpartition("/")[0] not in parts:
                self.writer.add(entry, entries.read(entry), stored=entry.endswith("/tensors"))
        self.writer.flush()
        old.abandon()
        os.replace(name, old.path)
        self.writer.path = old.path


def _kept(log: EventLog, pack: Pack) -> Kept:
    """Put the kept tensors of a log into a pack."""
    values = [(value, pack.add(one)) for value, one in tuple(log.snapshots.items())]
    later = [(*place, pack.add(one)) for place, one in tuple(log.overwritten.items())]
    return Kept(
        [(value, name) for value, name in values if name is not None],
        [(call, role, name) for call, role, name in later if name is not None],
        [(call, described(tree)) for call, tree in log.results.items()],
        pack.views,
    )


def devices(events: Sequence[Event]) -> tuple[str, ...]:
    """Return the devices of what went into and came out of the outermost calls."""
    roots = set(step_calls(events))
    return tuple(dict.fromkeys(_devices(events, roots)))


def _devices(events: Sequence[Event], roots: set[CallId]) -> Iterator[str]:
    for event in events:
        if isinstance(event, (ModuleCalled, ModuleExited)) and event.call in roots:
            for seen in event.inputs if isinstance(event, ModuleCalled) else event.outputs:
                if isinstance(seen.summary, TensorSummary):
                    yield seen.summary.device
