"""``hooktrace describe``: the page on a hook kind, a rule or a heat map method."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

__all__ = ["describe"]


def describe(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Kind of hook, such as full_backward; rule of the doctor, such as never-fired; "
            "method, such as gradcam. Without it all names are listed.",
        ),
    ] = None,
) -> None:
    """Explain a kind of hook, a rule of the doctor or a heat map method."""
    from hooktrace.pages import names, page_of

    if name is None:
        for heading, its in names():
            typer.echo(f"{heading}:\n  {', '.join(its)}\n")
        return
    page = page_of(name)
    if not sys.stdout.isatty():
        typer.echo(page, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(page))
