"""``hooktrace compare``: two traces side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hooktrace.commands.places import Force, Quiet, check_free, trace_argument
from hooktrace.commands.waiting import waiting
from hooktrace.progress import work

__all__ = ["compare"]


def compare(
    first: Annotated[Path, trace_argument("A")],
    second: Annotated[Path, trace_argument("B")],
    picture: Annotated[
        Path | None,
        typer.Option(
            "--draw",
            help="Draw the kept values that in-place code overwrote, side by side, into this .png.",
        ),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Tell how two traces differ: modules, hooks and their order, edits, values, times.

    Values are compared of what both traces kept, by keep=.
    """
    if picture is not None:
        check_free(picture, force)
    from hooktrace.comparison import compare as compare_traces
    from hooktrace.loading import load

    with waiting(quiet):
        traces = load(first), load(second)
        with work("comparing"):
            found = compare_traces(*traces)
            text = str(found)
    if not quiet:
        typer.echo(text)
    if picture is not None:
        with waiting(quiet), work("drawing"):
            found.draw(picture)
        if not quiet:
            typer.echo(f"Wrote {picture}")
