"""``hooktrace hooks``: what a script leaves registered."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hooktrace.commands.scripts import AsModule, ScriptName, check

__all__ = ["hooks"]


def hooks(
    context: typer.Context,
    script: ScriptName,
    module: AsModule = False,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Only hooks of this kind, such as forward; may be repeated."),
    ] = None,
) -> None:
    """Run a script, and list which hooks are registered on what when it ends.

    In the order in which they would fire: on modules, parameters and optimizers, and those for all
    modules. What the script itself prints goes to standard error.
    """
    from hooktrace.running import Script
    from hooktrace.standing import hooks_at_end

    wanted = Script(script, tuple(context.args), module)
    check(wanted)
    output, sys.stdout = sys.stdout, sys.stderr
    try:
        ended, found = hooks_at_end(wanted)
    finally:
        sys.stdout = output
    chosen = found.of(*kind) if kind else found
    typer.echo(str(chosen) if len(chosen) else "No hook is registered.")
    ended.leave()
