"""Source code of hooks and of the lines that events name, read where the report is written."""

from __future__ import annotations

import inspect
import linecache
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hooktrace.events import Event, HookFired, ProbeFailed
from hooktrace.log import EventLog
from hooktrace.render.listing import told
from hooktrace.views.calls import Call

__all__ = ["shown_frames", "shown_path", "shown_place", "shown_places", "sources_data", "told_of"]

_PLACE = re.compile(r"(?<![\w./~-])(?:/|[A-Za-z]:[\\/])[^\s:'\"]+:\d+")
_FRAME = re.compile(r'(?<=File ")[^"\n]+(?=", line \d)')
_AROUND = 3  # lines before and after a line that is named
_LONGEST = 120  # lines of one function


def sources_data(log: EventLog) -> dict[str, Any]:
    """Return excerpts of the files that hooks and events name.

    Returns:
        ``files``: by name as it is shown, the lines that are there, by number; ``hooks``: for each
        hook where its function and its registration are; ``missing``: files that cannot be read
        here, or were changed after the run.
    """
    shelf = _Shelf(log)
    hooks = [
        {
            "defined": shelf.function(row.defined_at),
            "registered": shelf.line(row.registered_at or ""),
        }
        for row in log.hooks
    ]
    lines = {
        str(event.seq): place
        for event in log.events
        if not isinstance(event, HookFired)
        and (place := shelf.line(getattr(event, "line", None) or "")) is not None
    }
    return {
        "files": shelf.files,
        "hooks": hooks,
        "lines": lines,
        "missing": sorted(shelf.missing),
    }


class _Shelf:
    """The lines of files that a report shows."""

    def __init__(self, log: EventLog) -> None:
        self.files: dict[str, dict[str, str]] = {}
        self.missing: set[str] = set()
        offset = log.surroundings.epoch_ns
        events = log.events
        self._started_ns = events[0].time_ns + offset if events and offset is not None else 0
        self._lines: dict[str, list[str]] = {}

    def function(self, place: str) -> dict[str, Any] | None:
        """Take in the function that begins at ``file:line``, and return where it is."""
        path, _, number = place.rpartition(":")
        if not path or not number.isdigit():
            return None
        lines = self._read(path)
        first = int(number)
        if not 0 < first <= len(lines):
            return self._place(path, first, first)
        block = _block(lines[first - 1 :])[:_LONGEST]
        return self._take(path, range(first, first + len(block)))

    def line(self, place: str) -> dict[str, Any] | None:
        """Take in ``file:line`` and what is around it, and return where it is."""
        path, _, number = place.rpartition(":")
        if not path or not number.isdigit():
            return None
        at = int(number)
        count = len(self._read(path))
        self._take(path, range(max(1, at - _AROUND), min(count, at + _AROUND) + 1))
        return self._place(path, at, at)

    def _take(self, path: str, numbers: Iterable[int]) -> dict[str, Any]:
        numbers = list(numbers)
        lines = self._read(path)
        shown = self.files.setdefault(shown_path(path), {})
        shown.update((str(number), lines[number - 1]) for number in numbers)
        return self._place(path, numbers[0], numbers[-1]) if numbers else self._place(path, 0, 0)

    def _place(self, path: str, first: int, last: int) -> dict[str, Any]:
        return {"file": shown_path(path), "first": first, "last": last}

    def _read(self, path: str) -> list[str]:
        if path not in self._lines:
            linecache.checkcache(path)
            lines = [line.rstrip("\n") for line in linecache.getlines(path)]
            if not lines or self._changed(path):
                self.missing.add(shown_path(path))
            self._lines[path] = lines
        return self._lines[path]

    def _changed(self, path: str) -> bool:
        """Whether a file was written to after the run began, so that its lines may be others."""
        try:
            return bool(self._started_ns) and Path(path).stat().st_mtime_ns > self._started_ns
        except OSError:  # a cell of a notebook
            return False


def _block(lines: list[str]) -> list[str]:
    try:
        return inspect.getblock([f"{line}\n" for line in lines]) or lines[:1]
    except (SyntaxError, IndentationError):
        return lines[:1]


def shown_place(source: str) -> str:
    """Return ``file:line`` as it is shown."""
    path, _, line = source.rpartition(":")
    return f"{shown_path(path)}:{line}" if path else source


def shown_places(text: str) -> str:
    """Return text with every ``/folder/file.py:line`` in it as it is shown."""
    return _PLACE.sub(lambda one: shown_place(one[0]), text)


def told_of(log: EventLog, event: Event, call: Call | None) -> str:
    """Say of what an event is and what else it tells, with its place in the code as it is shown."""
    text = told(log, event, call)
    line = getattr(event, "line", None)
    text = text.replace(line, shown_place(line)) if line else text
    return shown_frames(text) if isinstance(event, ProbeFailed) else text


def shown_frames(traceback: str) -> str:
    """Return a traceback with its files as they are shown."""
    return _FRAME.sub(lambda one: shown_path(one[0]), traceback)


def shown_path(path: str) -> str:
    """Return a path as it is shown: from the current folder or the home folder, or its end.

    Nothing of the name of a user or of the folders above a project is in a page.
    """
    here = Path(path)
    for base, before in ((Path.cwd(), ""), (Path.home(), "~/")):
        if here.is_relative_to(base):
            return before + str(here.relative_to(base))
    parts = here.parts
    for marker in ("site-packages", "dist-packages"):
        if marker in parts:
            return "/".join(parts[parts.index(marker) + 1 :])
    return "/".join(parts[-2:])
