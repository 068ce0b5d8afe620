"""A diagram as the object that the package `graphviz` would make."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from graphviz import Source

from hooktrace.render.captions import laid_out
from hooktrace.render.engine import write_atomically
from hooktrace.render.theme import themed

__all__ = ["Digraph"]


class Digraph(Source):  # type: ignore[misc]
    """A diagram as `graphviz.Source`, laid out by the engine that hooktrace finds.

    `pipe`, `render`, `view` and the display in a notebook work as in the package
    `graphviz`, but need no ``dot`` on the PATH.

    Args:
        source: DOT text.
        program: Name or path of the engine; None for the usual order.
        **options: Further options of `graphviz.Source`, such as ``filename`` and ``format``.
    """

    def __init__(self, source: str, program: str | None = None, **options: Any) -> None:
        options.setdefault("format", "svg")
        super().__init__(source, **options)
        self.program = program

    def pipe(
        self,
        format: str | None = None,  # noqa: A002 - the name that graphviz gave it
        renderer: str | None = None,
        formatter: str | None = None,
        *,
        engine: str | None = None,
        encoding: str | None = None,
    ) -> bytes | str:
        """Return the diagram in `format` (by default ``svg``), as text if `encoding` is given.

        Args:
            format: Output format of Graphviz.
            renderer: Plug-in of ``dot`` that draws, such as ``cairo``.
            formatter: Plug-in of ``dot`` that writes the file.
            engine: Kind of layout, such as ``dot`` or ``neato``.
            encoding: How to decode the result.

        Raises:
            RenderError: There is no engine, or it refused the diagram, or it warned.
        """
        plugins = (renderer or self.renderer, formatter or self.formatter)
        kind = ":".join(part for part in (format or self.format, *plugins) if part)
        data = laid_out(self.source, kind, self.program, engine or self.engine)
        if kind == "svg":
            data = themed(data.decode()).encode()
        return data if encoding is None else data.decode(encoding)

    def render(
        self,
        filename: str | os.PathLike[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        view: bool = False,
        cleanup: bool = False,
        format: str | None = None,  # noqa: A002 - the name that graphviz gave it
        *,
        outfile: str | os.PathLike[str] | None = None,
        engine: str | None = None,
        quiet_view: bool = False,
    ) -> str:
        """Save the DOT text, lay it out into a file beside it, and return that file's name.

        The arguments are those of `graphviz.Source.render`.

        Raises:
            RenderError: There is no engine, or it refused the diagram, or it warned.
        """
        if outfile is not None:
            target = Path(directory or self.directory, outfile)
            kind = format or target.suffix.lstrip(".") or self.format
            filename = filename or target.with_suffix(".gv").name
            directory = directory or target.parent
        else:
            kind = format or self.format
            target = Path(f"{self._filepath(filename, directory)}.{kind}")
        data = self.pipe(kind, engine=engine)
        saved = self.save(filename, directory=directory)
        write_atomically(target, data if isinstance(data, bytes) else data.encode())
        if cleanup:
            os.remove(saved)
        if view or quiet_view:
            self._view(str(target), format=kind, quiet=quiet_view)
        return str(target)

    def view(
        self,
        filename: str | os.PathLike[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        cleanup: bool = False,
        *,
        quiet_view: bool = False,
    ) -> str:
        """Save and lay out the diagram, open it in a viewer, and return the file's name."""
        return self.render(filename, directory, True, cleanup, quiet_view=quiet_view)

    def _filepath(
        self,
        filename: str | os.PathLike[str] | None,
        directory: str | os.PathLike[str] | None,
    ) -> Path:
        return Path(directory or self.directory, filename or self.filename)

    def _copy_kwargs(self, **options: Any) -> Any:
        return super()._copy_kwargs(program=self.program, **options)
