"""How a recording leaves: as a graph, a picture, a file of another program, rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hooktrace.drawing import Drawing
from hooktrace.log import EventLog
from hooktrace.views.calls import CallIndex

if TYPE_CHECKING:
    import networkx


__all__ = ["Leaving"]


class Leaving(Drawing):
    """The part of a recording that turns it into what others read."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._calls = CallIndex(log)

    @property
    def log(self) -> EventLog:
        """The event log with its tables."""
        return self._log

    @property
    def index(self) -> CallIndex:
        """The index of the calls, up to date, as the functions of `hooktrace.render` take it."""
        if self._calls.log is not self.log:
            self._calls = CallIndex(self.log)
        return self._calls.refresh()

    def export(self, path: str | Path, to: str | None = None, **options: Any) -> Path:
        """Write a file in the format of another program, whole or not at all.

        Args:
            path: The file; its ending names the format: ``.trace.json`` (Perfetto and
                chrome://tracing), ``.json``, ``.csv``, ``.parquet``, ``.graphml``,
                ``.graph.json`` (networkx), ``.mmd`` (Mermaid).
            to: The format by name, whatever the ending: ``"chrome"``, ``"json"``, ``"csv"``,
                ``"parquet"``, ``"graphml"``, ``"networkx"``, ``"mermaid"``.
            **options: Those of the format, which docs/exports.md lists, such as
                ``table="calls"`` or ``merge="profile.json"``.

        Raises:
            UnknownNameError: There is no such format.
            UnknownFormatError: No format has this ending.
            TypeError: The format has no option of one of the names.
            MissingExtraError: The format needs a package that is not installed.
        """
        from hooktrace.export import export

        self._settle()
        return export(self.log, self.index, path, to, **options)

    def exported(self, to: str, **options: Any) -> str:
        """Return the text of a format, such as ``t.exported("mermaid")``.

        Args:
            to: The format by name, as in `export`.
            **options: Those of the format.

        Raises:
            UnknownNameError: There is no such format.
            UnknownFormatError: The format is no text.
            TypeError: The format has no option of one of the names.
        """
        from hooktrace.export import exported

        self._settle()
        return exported(self.log, self.index, to, **options)

    def report(
        self,
        path: str | Path,
        *,
        lang: str | None = None,
        step: int = 0,
        limit: int | None = None,
        title: str = "",
        cam: Any = None,
    ) -> Path:
        """Write the trace as one offline page: graph, timeline, values, source, findings.

        It is opened from a file, needs no server, and fetches nothing.

        Args:
            path: The file, such as ``"alexnet.html"``.
            lang: The language of the page, ``"en"`` or ``"zh"``; None for that of the reader.
            step: Which step of a loop its graph shows, from 0; -1 for the last.
            limit: Bytes that the page may have, by default 2,000,000; what does not fit is left
                out, and listed in the page.
            title: Its heading; by default the class of the model.
            cam: Heat maps to show, as `cam` or `hooktrace.explain` return them, or a pair of them
                and their photographs, over which they then lie.

        Raises:
            UnknownNameError: There is no such language.
            IndexError: There is no such step.
            TypeError, ValueError: An option is of the wrong type or out of range.
            MissingExtraError: Heat maps need Pillow, which is not installed.
            OSError: The folder does not exist or cannot be written to.
        """
        from hooktrace.reporting import write_report

        self._settle()
        return write_report(
            self.log, self.index, path, lang=lang, step=step, limit=limit, title=title, cam=cam
        )

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return a table as flat dicts with the same keys, such as ``pandas.DataFrame`` takes.

        Args:
            table: ``"events"``, ``"calls"``, ``"hooks"``, ``"edits"``, ``"writes"``,
                ``"gradients"``, ``"statistics"``, ``"modules"``, ``"tensors"``, ``"nodes"``,
                ``"backwards"`` or ``"steps"``.

        Raises:
            UnknownNameError: There is no such table; the message names the nearest.
        """
        from hooktrace.export import rows

        self._settle()
        return rows(self.log, self.index, table)

    def graph(self, view: str = "all") -> networkx.MultiDiGraph:
        """Return the trace as a graph, or one of its sub-views.

        Args:
            view: ``"all"``, ``"timeline"``, ``"dataflow"``, ``"gradients"`` or ``"hooks"``.

        Raises:
            UnknownNameError: There is no such view; the message names the nearest.
        """
        from hooktrace.views.graph import graph

        self._settle()
        return graph(self.log, self.index, view)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        from hooktrace.reporting import mimebundle

        self._settle()
        return mimebundle(self.log, self.index, str(self))
