"""The commands, one in each file: options, and one public call.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add all commands to the command line, in the order in which the help lists them."""
    from hooktrace.commands import (
        bench,
        compare,
        describe,
        doctor,
        draw,
        export,
        hooks,
        report,
        run,
        show,
    )
    from hooktrace.commands.scripts import SCRIPTS_OWN

    app.command(context_settings=SCRIPTS_OWN)(run.run)
    app.command()(show.show)
    app.command()(draw.draw)
    app.command()(report.report)
    app.command(cls=doctor.Doctor)(doctor.doctor)
    app.command(context_settings=SCRIPTS_OWN)(hooks.hooks)
    app.command()(compare.compare)
    app.command()(export.export)
    app.command()(describe.describe)
    app.command()(bench.bench)
