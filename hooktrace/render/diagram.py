"""Diagrams of a trace: which view is drawn, of which step, and how it leaves."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hooktrace.errors import RenderError, UnknownNameError, nearest
from hooktrace.events import BackwardFinished
from hooktrace.log import EventLog
from hooktrace.render.digraph import Digraph
from hooktrace.render.dot import Scene, write
from hooktrace.render.formats import save
from hooktrace.render.module_diagram import module_scene
from hooktrace.render.tensor_diagram import tensor_scene
from hooktrace.signatures import options_of
from hooktrace.views.calls import Call, CallIndex

__all__ = ["OPTIONS", "VIEWS", "digraph", "draw", "mimebundle", "rounds", "scene", "step_of"]

VIEWS = ("modules", "tensors")


def scene(
    log: EventLog,
    calls: CallIndex,
    *,
    view: str | None = None,
    depth: int | None = None,
    step: int = 0,
) -> Scene:
    """Compose a picture.

    Args:
        log: The trace.
        calls: Its calls.
        view: ``"modules"`` for what flows between module calls, ``"tensors"`` for named tensors
            and operations; None for modules if any was called, else tensors.
        depth: Levels of nested modules to open, 0 or more; None for as many as can be read on
            one screen.  Only the modules view has a depth.
        step: Which step of a loop the modules view shows, from 0; -1 for the last.

    Raises:
        UnknownNameError: There is no such view.
        ValueError: `depth` is negative.
        IndexError: There is no such step.
    """
    if view not in (None, *VIEWS):
        raise UnknownNameError(f"There is no view {view!r}.{nearest(str(view), VIEWS)}")
    if depth is not None and depth < 0:
        raise ValueError(f"depth= is the number of levels to open, 0 or more, but got {depth}.")
    if view == "tensors" or (view is None and not calls.roots()):
        return tensor_scene(log, calls)
    roots, words = step_of(log, calls, step)
    return module_scene(log, calls, roots, depth, words)


def step_of(log: EventLog, calls: CallIndex, step: int) -> tuple[list[Call], str]:
    """Return the outermost calls of a step, and which of how many it is, in words.

    Raises:
        RenderError: No module was called.
        IndexError: There is no such step.
    """
    steps = rounds(log, calls)
    if not steps:
        raise RenderError("No module was called, so there is no modules view. Try view='tensors'.")
    if not -len(steps) <= step < len(steps):
        raise IndexError(f"There are {len(steps)} steps, so step={step} is none of them.")
    number = step % len(steps)
    return steps[number], f"step {number + 1} of {len(steps)}" if len(steps) > 1 else ""


def rounds(log: EventLog, calls: CallIndex) -> list[list[Call]]:
    """Group the outermost calls into the steps of a loop.

    A step ends with a backward run, or where a module is called again that did not take
    anything from this step's calls.
    """
    ends = [event.seq for event in log.of(BackwardFinished)]
    steps: list[list[Call]] = []
    for call in calls.roots():
        last = steps[-1] if steps else []
        after = any(last[-1].called.seq < end < call.called.seq for end in ends) if last else True
        again = any(one.module.id == call.module.id for one in last)
        if after or (again and not _fed(call, last)):
            steps.append([])
        steps[-1].append(call)
    return steps


def _fed(call: Call, earlier: Iterable[Call]) -> bool:
    """Whether a call takes a value that one of the earlier calls returned."""
    made = {seen.value for one in earlier for seen in one.seen_outputs if seen.value is not None}
    return any(seen.value in made for seen in call.seen_inputs)


def digraph(
    log: EventLog, calls: CallIndex, *, engine: str | None = None, **options: Any
) -> Digraph:
    """Return a picture as a `graphviz.Source`; `options` are those of `scene`."""
    _check(options)
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
        UnknownFormatError: The ending of `path` names no format.
        RenderError: The engine is missing, or refused the diagram, or warned.
    """
    _check(options)
    return save(write(scene(log, calls, **options)), path, engine)


def mimebundle(log: EventLog, calls: CallIndex, text: str) -> dict[str, Any]:
    """Return what a notebook shows: the picture, and `text` where it cannot be drawn."""
    bundle: dict[str, Any] = {"text/plain": text}
    try:
        bundle["image/svg+xml"] = digraph(log, calls).pipe(encoding="utf-8")
    except RenderError:
        return bundle
    return bundle


def _check(options: dict[str, Any]) -> None:
    """Refuse options that a diagram does not have.

    Raises:
        TypeError: An option is unknown, or ``depth`` or ``step`` is no whole number.
    """
    known = [one.name for one in OPTIONS]
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"A diagram has no option {name!r}.{nearest(name, known)}")
        if name in ("depth", "step") and value is not None and not isinstance(value, int):
            raise TypeError(f"{name}= is a whole number, but got {value!r}.")


OPTIONS = (*options_of(scene), *options_of(draw))
"""What a picture can be told."""
