"""``hooktrace run``: a script under a trace."""

from __future__ import annotations

import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hooktrace.commands.scripts import AsModule, ScriptName, check
from hooktrace.errors import HooktraceError

if TYPE_CHECKING:
    from hooktrace.recording import Recording
    from hooktrace.running import Ended, Script

__all__ = ["run", "steps_of"]


class FailOn(StrEnum):
    """From which severity of a finding on the command fails."""

    never = "never"
    note = "note"
    warning = "warning"
    error = "error"


def run(
    context: typer.Context,
    script: ScriptName,
    module: AsModule = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The file to write. [default: SCRIPT.hooktrace, or SCRIPT-2...]"
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--module",
            help="Record only models of this class, such as ResNet or 'Res*', with all in them.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Record so many steps and stop. A step goes from one call of the model to the "
            "next. Without it the first 3 and the last 3 are kept.",
        ),
    ] = None,
    skip: Annotated[int, typer.Option(min=0, help="Leave out so many steps first.")] = 0,
    every: Annotated[int, typer.Option(min=1, help="Keep one step of so many.")] = 1,
    all_steps: Annotated[bool, typer.Option("--all", help="Keep every step.")] = False,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Keep the values of modules of this name; may be repeated."),
    ] = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="Take statistics of all values: mean, norm, NaN ...")
    ] = False,
    table: Annotated[
        bool, typer.Option("--table", help="Print the table of the trace in the end.")
    ] = False,
    report: Annotated[
        bool,
        typer.Option(
            "--report", help="Write a page to look at, too, beside the file: SCRIPT.html."
        ),
    ] = False,
    fail_on: Annotated[
        FailOn,
        typer.Option(help="Exit with 1 if the doctor finds this or worse, and print it."),
    ] = FailOn.never,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it is there.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Run a script, unmodified, under a trace of every module it calls, and write a file.

    Options for hooktrace come before SCRIPT; what follows is for the script, whose output, exit
    code and exceptions stay its own. hooktrace prints to standard error. The file is written while
    the script runs, so that an interrupted or killed one leaves a trace, too.
    """
    from hooktrace.running import Script, free_name

    wanted = Script(script, tuple(context.args), module)
    if all_steps and steps is not None:
        raise typer.BadParameter("--steps and --all exclude each other.")
    check(wanted)
    endings = (".hooktrace", ".html") if report else (".hooktrace",)
    usual = Path(f"{wanted.name}{endings[0]}") if force else None
    path = output or usual or free_name(Path(), wanted.name, endings)
    page = path.with_suffix(".html") if report else None
    for one in filter(None, (path, page)):
        if one.exists() and not force:
            raise typer.BadParameter(f"{one} exists already. Give another -o, or --force.")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"There is no folder {path.parent}.")
    if page == path:
        raise typer.BadParameter(f"{path} is to hold the trace; the page would replace it.")
    options = {
        "keep": keep or False,
        "stats": stats,
        "to": path,
        "steps": steps_of(steps, skip, every, everything=all_steps),
        "only": only,
        "program": True,
    }
    ended, t = _traced(wanted, options, quiet=quiet)
    failed = _tell(t, path, table=table, fail_on=fail_on.value, quiet=quiet)
    if page is not None:
        _write_page(t, page, quiet=quiet)
    if failed and not ended.status:
        raise typer.Exit(1)
    ended.leave()


def steps_of(steps: int | None, skip: int, every: int, *, everything: bool) -> Any:
    """Return the steps that the options ask for."""
    from hooktrace.streaming import Steps

    if everything:
        return Steps(every, None, 0, skip)
    return Steps(every, steps, 0, skip) if steps is not None else Steps(every, 3, 3, skip)


def _traced(script: Script, options: dict[str, Any], *, quiet: bool) -> tuple[Ended, Recording]:
    from hooktrace.running import run as run_script
    from hooktrace.session import Trace

    t = Trace(**options)

    def closed(error: BaseException | None) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            t.close(error)
        for one in caught if not quiet else ():
            typer.echo(f"hooktrace: {one.message}", err=True)

    return run_script(script, t.open, closed), t


def _write_page(t: Recording, page: Path, *, quiet: bool) -> None:
    """Write the report; what keeps it from being written is told and changes nothing else."""
    try:
        t.report(page)
    except (HooktraceError, OSError) as error:
        typer.echo(f"hooktrace: {page} was not written: {error}", err=True)
    else:
        if not quiet:
            typer.echo(f"hooktrace: {page}", err=True)


def _tell(t: Recording, path: Path, *, table: bool, fail_on: str, quiet: bool) -> bool:
    """Print what was recorded to standard error; return whether something is found to fail on."""
    from hooktrace.findings import SEVERITIES

    if table:
        typer.echo(str(t), err=True)
    found = [] if fail_on == "never" else list(t.findings())
    worst = SEVERITIES[: SEVERITIES.index(fail_on) + 1] if found else ()
    fatal = [one for one in found if one.severity in worst]
    if not quiet:
        for one in fatal:
            typer.echo(str(one), err=True)
        origin = t.log.origin
        held = 0 if origin is None else len(origin.steps)
        left_out = 0 if origin is None else origin.left_out
        of = f" of {held + left_out}" if left_out else ""
        what = f"{held}{of} step{'s' if held + left_out != 1 else ''}"
        typer.echo(f"hooktrace: {path}: {what}, {len(t.log.events)} events", err=True)
    return bool(fatal)
