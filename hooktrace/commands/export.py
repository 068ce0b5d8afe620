"""``hooktrace export``: a trace in the format of another program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hooktrace.commands.flags import flagged, given
from hooktrace.commands.places import Force, Quiet, TraceFile, check_free, default_place
from hooktrace.commands.waiting import waiting
from hooktrace.errors import HooktraceError
from hooktrace.progress import work

if TYPE_CHECKING:
    from hooktrace.recording import Recording
    from hooktrace.signatures import Option

__all__ = ["export"]


def _every() -> dict[str, list[Option]]:
    """Return the options of every format by its name."""
    from hooktrace.export import EXPORTERS

    return {name: EXPORTERS[name].options for name in EXPORTERS}


def _options() -> Iterable[Option]:
    """Return the options of all formats, and say of which they are."""
    found: dict[str, Option] = {}
    owners: dict[str, list[str]] = {}
    for name, options in _every().items():
        for option in options:
            found.setdefault(option.name, option)
            owners.setdefault(option.name, []).append(name)
    return [
        replace(one, help=f"({', '.join(owners[name])}) {one.help}") for name, one in found.items()
    ]


@flagged(_options)
def export(
    file: TraceFile,
    output: Annotated[
        Path | None,
        typer.Argument(
            metavar="OUT",
            help="Where to; its ending names the format. - is standard output, for formats that "
            "are text. Without it a name is made from FILE.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            help="The format: chrome (Perfetto, chrome://tracing), json, csv, parquet, graphml, "
            "networkx, mermaid or tensorboard (an event file)."
        ),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    **flags: Any,
) -> None:
    """Write a trace for Perfetto, TensorBoard, data frames, graph tools or a README."""
    from hooktrace.export.exporter import exporter_for
    from hooktrace.loading import load

    text = output == Path("-")
    if to is None and (output is None or text):
        raise typer.BadParameter("Name a file with an ending, or a format: --to chrome.")
    found = exporter_for(output or Path(), to)
    place = output or default_place(file, found.endings[0], force)
    if not text:
        check_free(place, force)
    options = _fitting(found.name, flags)
    with waiting(quiet):
        t = load(file)
        with work("exporting"):
            content = _leave(t, found.name, None if text else place, options)
    if text:
        typer.echo(content, nl=False)
    elif not quiet:
        typer.echo(f"Wrote {place}")


def _fitting(to: str, flags: dict[str, Any]) -> dict[str, Any]:
    """Return the flags that were given, which have to be those of the format."""
    known = [one.name for one in _every()[to]]
    options = given(flags)
    for name in options:
        if name not in known:
            raise typer.BadParameter(f"The format {to} has no option --{name}.")
    return options


def _leave(t: Recording, to: str, place: Path | None, options: dict[str, Any]) -> str:
    """Write the file, or return what would be in it."""
    try:
        if place is None:
            return t.exported(to, **options)
        t.export(place, to, **options)
        return ""
    except HooktraceError:
        raise
    except (ValueError, IndexError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from None
