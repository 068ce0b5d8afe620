"""``hooktrace draw``: the diagram of a trace."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hooktrace.commands.flags import flagged, given
from hooktrace.commands.places import Force, Quiet, TraceFile, check_free
from hooktrace.commands.waiting import waiting
from hooktrace.errors import HooktraceError
from hooktrace.progress import work

if TYPE_CHECKING:
    from hooktrace.signatures import Option

__all__ = ["draw"]


def _options() -> Iterable[Option]:
    from hooktrace.drawing import Drawing
    from hooktrace.signatures import options_of

    return options_of(Drawing.draw)


@flagged(_options)
def draw(
    file: TraceFile,
    picture: Annotated[
        Path,
        typer.Argument(
            metavar="PICTURE", help="Where to, ending in .svg, .png, .pdf, .dot or .json."
        ),
    ],
    force: Force = False,
    quiet: Quiet = False,
    **flags: Any,
) -> None:
    """Draw the diagram of a trace: modules, what flows between them, what hooks did to it."""
    from hooktrace.loading import load

    check_free(picture, force)
    try:
        with waiting(quiet):
            t = load(file)
            with work("drawing"):
                t.draw(picture, **given(flags))
    except HooktraceError:
        raise
    except (ValueError, IndexError) as error:
        raise typer.BadParameter(str(error)) from None
    if not quiet:
        typer.echo(f"Wrote {picture}")
