"""``hooktrace report``: the page in which graph, timeline, values and source move together."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hooktrace.commands.flags import flagged, given
from hooktrace.commands.places import Force, Quiet, TraceFile, check_free, default_place
from hooktrace.commands.waiting import waiting
from hooktrace.errors import HooktraceError
from hooktrace.progress import work

if TYPE_CHECKING:
    from hooktrace.signatures import Option

__all__ = ["report"]


def _options() -> Iterable[Option]:
    from hooktrace.leaving import Leaving
    from hooktrace.signatures import options_of

    return [one for one in options_of(Leaving.report) if one.type is not Any]


@flagged(_options)
def report(
    file: TraceFile,
    page: Annotated[
        Path | None,
        typer.Argument(
            metavar="PAGE", help="Where to. [default: FILE.html in this folder, or FILE-2.html...]"
        ),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    **flags: Any,
) -> None:
    """Write a trace as one offline page: graph, timeline, values, source, findings."""
    from hooktrace.loading import load

    path = check_free(page or default_place(file, ".html", force), force)
    try:
        with waiting(quiet):
            t = load(file)
            with work("writing the page"):
                t.report(path, **given(flags))
    except HooktraceError:
        raise
    except (ValueError, IndexError) as error:
        raise typer.BadParameter(str(error)) from None
    if not quiet:
        typer.echo(f"Wrote {path}")
