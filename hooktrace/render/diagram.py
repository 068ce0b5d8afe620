"""Diagrams of a trace: which view is drawn, and how it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hooktrace.errors import RenderError
from hooktrace.events import CallId
from hooktrace.log import EventLog
from hooktrace.render.asked import Asked, Chosen, refuse_unknown, view_of
from hooktrace.render.digraph import Digraph
from hooktrace.render.dot import Scene, write
from hooktrace.render.formats import save
from hooktrace.render.module_diagram import remarked_scene
from hooktrace.views.calls import CallIndex
from hooktrace.views.hookuse import HookUse

__all__ = ["digraph", "draw", "draw_remarked", "mimebundle", "scene"]


def scene(
    log: EventLog,
    calls: CallIndex,
    *,
    view: str | None = None,
    depth: int | None = None,
    expand: Chosen | None = None,
    step: int | None = None,
    budget: int | None = None,
) -> Scene:
    """Compose a picture; `hooktrace.Trace.draw` describes the options.

    Raises:
        UnknownNameError: There is no such view, or `expand` names no module that was called.
        ValueError: An option is out of range, or one that the view does not have.
        IndexError: There is no such step.
        RenderError: There is nothing to draw in this view.
    """
    asked = Asked(depth, expand, step, budget)
    name = view if view is not None else "modules" if calls.roots() else "tensors"
    found = view_of(name)
    found.check(name, asked)
    return found.compose(log, calls, asked)


def digraph(
    log: EventLog, calls: CallIndex, *, engine: str | None = None, **options: Any
) -> Digraph:
    """Return a picture as a `graphviz.Source`; `options` are those of `scene`.

    Raises:
        TypeError: There is no such option.
    """
    refuse_unknown(options)
    return Digraph(write(scene(log, calls, **options)), engine)


def draw(
    log: EventLog,
    calls: CallIndex,
    path: str | Path,
    *,
    engine: str | None = None,
    **options: Any,
) -> Path:
    """Write a picture to a file.

    Args:
        log: The trace.
        calls: Its calls.
        path: The file; its ending names the format.
        engine: Name or path of the layout program; None for graphviz-pure, or else dot.
        **options: Those of `scene`.

    Raises:
        TypeError: There is no such option.
        UnknownFormatError: The ending of `path` names no format.
        RenderError: The engine is missing, or refused the diagram, or warned.
    """
    refuse_unknown(options)
    return save(write(scene(log, calls, **options)), path, engine)


def draw_remarked(
    log: EventLog, calls: CallIndex, path: str | Path, remarks: Mapping[CallId, list[str]]
) -> Path:
    """Write the modules view to a file, with remarks at some calls."""
    return save(
        write(remarked_scene(log, calls, Asked(), HookUse(log, calls, remarks))), path, None
    )


def mimebundle(log: EventLog, calls: CallIndex, text: str) -> dict[str, Any]:
    """Return what a notebook shows: the picture, and `text` where it cannot be drawn."""
    bundle: dict[str, Any] = {"text/plain": text}
    try:
        bundle["image/svg+xml"] = digraph(log, calls).pipe(encoding="utf-8")
    except RenderError:
        return bundle
    return bundle
