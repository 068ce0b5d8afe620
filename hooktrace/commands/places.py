"""Arguments that several commands have: the trace to read, the file to write."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["Force", "Quiet", "TraceFile", "check_free", "default_place", "trace_argument"]


def trace_argument(metavar: str) -> Any:
    """Return what typer is to know of the argument that is a trace to read."""
    return typer.Argument(
        metavar=metavar,
        help="What t.save or hooktrace run wrote.",
        exists=True,
        dir_okay=False,
        readable=True,
    )


TraceFile = Annotated[Path, trace_argument("FILE")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")]


def check_free(path: Path, force: bool) -> Path:
    """Check, before any work is done, that a file can be written.

    Raises:
        typer.BadParameter: It is there already, or its folder is not.
    """
    if path.exists() and not force:
        raise typer.BadParameter(f"{path} exists already. Give another name, or --force.")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"There is no folder {path.parent}.")
    return path


def default_place(source: Path, ending: str, force: bool) -> Path:
    """Return a file in the current folder: RUN.ending, else RUN-2.ending ... unless by force."""
    stem = source.name.removesuffix(".hooktrace")
    if force:
        return Path(f"{stem}{ending}")
    numbers = ("", *(f"-{number}" for number in range(2, 10_000)))
    return next(path for one in numbers if not (path := Path(f"{stem}{one}{ending}")).exists())
