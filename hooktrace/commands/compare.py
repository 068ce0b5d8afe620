"""``hooktrace compare``: two traces side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hooktrace.commands.places import Force, Quiet, check_free, trace_argument

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

    found = compare_traces(load(first), load(second))
    if not quiet:
        typer.echo(str(found))
    if picture is not None:
        found.draw(picture)
        if not quiet:
            typer.echo(f"Wrote {picture}")
