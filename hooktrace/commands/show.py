"""``hooktrace show``: a trace as text."""

from __future__ import annotations

from typing import Annotated

import typer

from hooktrace.commands.places import TraceFile
from hooktrace.commands.waiting import waiting

__all__ = ["show"]


def show(
    file: TraceFile,
    events: Annotated[
        bool, typer.Option("--events", help="List the timeline, one event on each line.")
    ] = False,
    tree: Annotated[
        bool, typer.Option("--tree", help="List the calls of modules, nested, with times.")
    ] = False,
    edits: Annotated[
        bool, typer.Option("--edits", help="List what hooks changed, and what wrote in place.")
    ] = False,
    module: Annotated[
        str, typer.Option(help="Only modules of this name, such as layer1 or 'layer1*'.")
    ] = "*",
    kind: Annotated[
        str,
        typer.Option(help="Only hooks of this kind, such as forward, or events, such as gradient."),
    ] = "",
    hook: Annotated[str, typer.Option(help="Only the hook with this function name.")] = "",
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Leave out where the trace comes from.")
    ] = False,
) -> None:
    """Show a trace: the table of its calls, hooks and changes, or a list of what you choose.

    The file may come from anybody: nothing in it is run.  Without --events, --tree or --edits a
    filter lists events.
    """
    from hooktrace.loading import load
    from hooktrace.render.listing import Chosen, lines, provenance

    chosen = Chosen(module, kind, hook)
    wanted = [one for one, on in (("events", events), ("tree", tree), ("edits", edits)) if on]
    if not wanted and not chosen.everything:
        wanted = ["events"]
    with waiting(quiet):
        t = load(file)
        table = "" if wanted else str(t)
    if not quiet:
        typer.echo(provenance(t.log))
    if not wanted:
        typer.echo(table)
    for one in wanted:
        for line in lines(t.log, t.index, one, chosen):
            typer.echo(line)
