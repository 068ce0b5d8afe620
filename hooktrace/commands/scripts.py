"""What the commands that run a script have in common."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hooktrace.running import Script

__all__ = ["SCRIPTS_OWN", "AsModule", "ScriptName", "check"]

ScriptName = Annotated[
    str,
    typer.Argument(metavar="SCRIPT [ARGS]...", help="Python file to run; after -m, a module."),
]
AsModule = Annotated[
    bool, typer.Option("-m", help="SCRIPT is the name of a module, as after python -m.")
]
SCRIPTS_OWN = {
    "allow_interspersed_args": False,  # options after the script are the script's
    "ignore_unknown_options": False,
    "allow_extra_args": True,
}


def check(script: Script) -> None:
    """Check that there is something to run, before any file is made.

    Raises:
        ScriptError: There is not.
    """
    try:
        script.load()
    except SyntaxError as error:  # shown as Python shows it
        sys.excepthook(type(error), error.with_traceback(None), None)
        raise typer.Exit(1) from None
