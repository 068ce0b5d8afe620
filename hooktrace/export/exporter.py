"""What an exporter is, the registry of all, and how a trace leaves by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hooktrace._registry import Registry
from hooktrace.errors import UnknownFormatError, UnknownNameError, nearest
from hooktrace.log import EventLog
from hooktrace.render.engine import write_atomically
from hooktrace.signatures import Option, options_of, summary_of
from hooktrace.views.calls import CallIndex

__all__ = ["EXPORTERS", "Exporter", "export", "exported", "exporter", "exporter_for"]

Content = str | bytes


@dataclass(frozen=True)
class Exporter:
    """One format of other programs.

    Attributes:
        name: As in ``t.export(path, to=name)``.
        endings: Of its files, such as ``.csv``; the first is the usual one.
        make: From the log, the index of its calls and options to the content of the file.
    """

    name: str
    endings: tuple[str, ...]
    make: Callable[..., Content]

    @property
    def summary(self) -> str:
        """What it writes, in a line."""
        return summary_of(self.make)

    @property
    def options(self) -> list[Option]:
        """What it can be told."""
        return options_of(self.make)

    def content(self, log: EventLog, calls: CallIndex, options: dict[str, Any]) -> Content:
        """Return what is to be in the file.

        Raises:
            TypeError: It has no option of one of the names.
        """
        known = [one.name for one in self.options]
        for name in options:
            if name not in known:
                there = nearest(name, known) or " It has none."
                raise TypeError(f"The exporter {self.name!r} has no option {name!r}.{there}")
        return self.make(log, calls, **options)


EXPORTERS: Registry[Exporter] = Registry("exporters")
"""Every exporter by name; a package adds its own by an entry point in ``hooktrace.exporters``."""


def exporter(
    name: str, *endings: str
) -> Callable[[Callable[..., Content]], Callable[..., Content]]:
    """Return a decorator that enters a function as an exporter.

    The function takes the log and the index of its calls, and its options as keyword arguments
    with defaults.  The first line of its docstring says what it writes, its ``Args:`` what the
    options mean: the command line shows both.
    """

    def enter(make: Callable[..., Content]) -> Callable[..., Content]:
        EXPORTERS.register(name)(Exporter(name, endings, make))
        return make

    return enter


def exporter_for(path: Path, to: str | None = None) -> Exporter:
    """Return the exporter of this name, or that which writes files with the ending of `path`.

    Raises:
        UnknownNameError: There is no exporter `to`; the message names the nearest.
        UnknownFormatError: No exporter writes files with such an ending.
    """
    if to is not None:
        return _named(to)
    known = _endings(EXPORTERS[name] for name in EXPORTERS)
    fitting = [ending for ending in known if path.name.lower().endswith(ending)]
    if not fitting:
        raise UnknownFormatError(
            f"{path.name!r} has an ending that no exporter writes. Known endings: "
            f"{', '.join(known)}. Or name the format: to= one of {', '.join(EXPORTERS)}."
        )
    return known[max(fitting, key=len)]


def _named(to: str) -> Exporter:
    if to not in EXPORTERS:
        raise UnknownNameError(f"There is no exporter {to!r}.{nearest(to, EXPORTERS)}")
    return EXPORTERS[to]


def _endings(exporters: Iterable[Exporter]) -> dict[str, Exporter]:
    return {ending: one for one in exporters for ending in one.endings}


def export(
    log: EventLog, calls: CallIndex, path: str | Path, to: str | None = None, **options: Any
) -> Path:
    """Write a trace to a file in the format of another program, whole or not at all.

    Args:
        log: The trace; its edits should be measured already.
        calls: The index of its calls, up to date.
        path: The file; its ending names the format, unless `to` does.
        to: Name of an exporter.
        **options: Those of the exporter.

    Raises:
        UnknownNameError, UnknownFormatError: See `exporter_for`.
        TypeError: The exporter has no option of one of the names.
        MissingExtraError: The exporter needs a package that is not installed.
    """
    path = Path(path)
    content = exporter_for(path, to).content(log, calls, options)
    return write_atomically(
        path, content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    )


def exported(log: EventLog, calls: CallIndex, to: str, **options: Any) -> str:
    """Return the text that a file of this format would hold; the arguments are those of `export`.

    Raises:
        UnknownFormatError: The format is no text.
    """
    found = _named(to)
    content = found.content(log, calls, options)
    if isinstance(content, bytes):
        raise UnknownFormatError(f"The format {to!r} is no text: write it with t.export(path).")
    return content
