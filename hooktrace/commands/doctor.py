"""``hooktrace doctor``: what is wrong in a trace, or in a script."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from hooktrace.commands.places import Quiet
from hooktrace.commands.waiting import waiting

if TYPE_CHECKING:
    from hooktrace.doctor import Findings
    from hooktrace.recording import Recording
    from hooktrace.running import Ended

__all__ = ["Doctor", "doctor"]

_COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}


class Doctor(TyperCommand):
    """The command: what follows a script is the script's, what follows a trace is not."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments."""
        script = not any(map(_is_trace, args))
        ctx.allow_interspersed_args = not script
        ctx.allow_extra_args = script
        return super().parse_args(ctx, args)


class Format(StrEnum):
    """How findings are printed."""

    text = "text"
    json = "json"
    sarif = "sarif"
    github = "github"


def doctor(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|SCRIPT [ARGS]...",
            help="A trace, or a Python script, which is run with the arguments behind it.",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ],
    form: Annotated[
        Format,
        typer.Option("--format", help="sarif is for code hosts, github for GitHub Actions."),
    ] = Format.text,
    select: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this rule, those whose names begin so, or those of a severity, such as "
            "error; may be repeated."
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Not these, named in the same way; may be repeated.")
    ] = None,
    stats: Annotated[
        bool,
        typer.Option("--stats", help="For a script: take statistics, which some rules need."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Say what is wrong, where, and what to do instead; exit with 1 if there are errors.

    A script is run under a trace of its first and last 3 steps; what it prints goes to standard
    error, so that standard output holds the findings alone.
    """
    if _is_trace(file):
        from hooktrace.loading import load

        ended = None
        with waiting(quiet):
            found = load(file).findings(select, ignore or ())
    else:
        with tempfile.TemporaryDirectory() as folder:
            t, ended = _run(file, context.args, Path(folder) / "script.hooktrace", stats)
            with waiting(quiet):
                found = t.findings(select, ignore or ())
            if not quiet:
                _tell(found, form)
    if ended is None and not quiet:
        _tell(found, form)
    if found.errors:
        raise typer.Exit(1)
    if ended is not None:
        ended.leave()


def _is_trace(name: str | Path) -> bool:
    try:
        with open(name, "rb") as opened:
            return opened.read(2) == b"PK"  # as every zip begins, and no Python
    except OSError:
        return False


def _run(file: Path, arguments: list[str], to: Path, stats: bool) -> tuple[Recording, Ended]:
    from hooktrace.running import Script, run
    from hooktrace.session import Trace
    from hooktrace.streaming import Steps

    t = Trace(to=to, steps=Steps(1, 3, 3), stats=stats, program=True)
    with contextlib.redirect_stdout(sys.stderr):
        return t, run(Script(str(file), tuple(arguments)), t.open, t.close)


def _tell(found: Findings, form: Format) -> None:
    if form is Format.text:
        for line in str(found).splitlines():
            severity, colon, rest = line.partition(":")
            colour = _COLOURS.get(severity)
            head = typer.style(severity, fg=colour, bold=True) if colour and colon else severity
            typer.echo(f"{head}{colon}{rest}")
    else:
        text = {"json": found.json, "sarif": found.sarif, "github": found.github}[form.value]()
        typer.echo(text, nl=False)
