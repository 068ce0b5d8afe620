"""File formats of diagrams: one renderer for each ending, DOT text in, the file's bytes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hooktrace._registry import Registry
from hooktrace.errors import UnknownFormatError, nearest
from hooktrace.render.captions import laid_out
from hooktrace.render.engine import write_atomically
from hooktrace.render.scripts import drawing_engine
from hooktrace.render.theme import themed

__all__ = ["RENDERERS", "Renderer", "save"]

Renderer = Callable[[str, str | None], bytes]  # (DOT text, engine or None) -> file

RENDERERS: Registry[Renderer] = Registry("renderers")


@RENDERERS.register("dot")
def render_dot(source: str, engine: str | None) -> bytes:
    """Return the DOT text itself; it needs no engine."""
    return source.encode()


@RENDERERS.register("svg")
def render_svg(source: str, engine: str | None) -> bytes:
    """Return an SVG that is light or dark as the reader's system is."""
    return themed(laid_out(source, "svg", engine).decode()).encode()


@RENDERERS.register("png")
def render_png(source: str, engine: str | None) -> bytes:
    """Return a PNG at 96 dots per inch, if there is an engine that has its letters."""
    return laid_out(source, "png", drawing_engine(source, "png", engine))


@RENDERERS.register("pdf")
def render_pdf(source: str, engine: str | None) -> bytes:
    """Return a PDF; only Graphviz's own ``dot`` writes one."""
    return laid_out(source, "pdf", drawing_engine(source, "pdf", engine))


@RENDERERS.register("json")
def render_json(source: str, engine: str | None) -> bytes:
    """Return the layout as Graphviz's JSON: where all of it is, in points, with y going up."""
    return laid_out(source, "json", engine)


def save(source: str, path: str | Path, engine: str | None = None) -> Path:
    """Write a diagram in the format that the ending of `path` names; whole or not at all.

    Args:
        source: DOT text.
        path: Such as ``"alexnet.svg"``.
        engine: Name or path of the layout engine; None for the usual order.

    Raises:
        UnknownFormatError: No renderer writes files with this ending.
        RenderError: The engine is missing, or refused the diagram, or warned.
    """
    path = Path(path)
    ending = path.suffix.lstrip(".").lower()
    if ending not in RENDERERS:
        raise UnknownFormatError(
            f"{path.name!r} has {'the ending .' + ending if ending else 'no ending'}, which no "
            f"renderer writes.{nearest(ending, RENDERERS)} "
            f"Known endings: {', '.join('.' + name for name in RENDERERS)}; "
            f"t.export() writes others."
        )
    return write_atomically(path, RENDERERS[ending](source, engine))
