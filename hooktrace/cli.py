"""The command line: each command is one public call.  Nothing heavy is imported before it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hooktrace import __version__, commands
from hooktrace.commands.flags import Group
from hooktrace.errors import HooktraceError

__all__ = ["app", "main"]

app = typer.Typer(
    name="hooktrace",
    help="Make PyTorch's hooks visible: which fired, in what order, what each saw and changed.",
    no_args_is_help=True,
    cls=Group,
    rich_markup_mode=None,  # rich takes longer to import than all of this
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hooktrace {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Options of every command."""


@app.command()
def demo(
    output: Annotated[
        Path,
        typer.Option(
            help="Folder for the page and its pictures. It is made if need be; an earlier demo "
            "in it is written over."
        ),
    ] = Path("demo-output"),
    photo: Annotated[
        Path | None, typer.Option(help="Picture of your own, instead of the cat that comes along.")
    ] = None,
    download: Annotated[
        bool,
        typer.Option(
            "--download",
            help="Fetch AlexNet's trained weights (233 MB) if they are not on this machine. "
            "Without it nothing is fetched, and random weights do where there are no others.",
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Write into the folder even if it holds something other than an earlier demo. "
            "Files of the same names are replaced; nothing else is touched.",
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only where the page is.")
    ] = False,
) -> None:
    """Watch hooks of every kind at work in AlexNet, on a real photograph.

    Prints what happened and writes a folder: index.html, in which the run can be stepped through,
    story.html, which tells it from beginning to end, diagrams and feature maps.
    """
    from hooktrace.demo import run

    page = run(
        output,
        photo=photo,
        download=download,
        force=force,
        say=_silent if quiet else typer.echo,
    )
    if quiet:
        typer.echo(page)


@app.command()
def cam(
    photos: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Photographs to explain.")
    ],
    model: Annotated[
        str,
        typer.Option(
            help="efficientnet-lite0, whose trained weights need no download; a classification "
            "model of torchvision, such as resnet50; or timm:NAME."
        ),
    ] = "efficientnet-lite0",
    weights: Annotated[
        str,
        typer.Option(
            help="DEFAULT for the trained ones (torchvision and timm fetch them once), none for "
            "random ones, or a checkpoint that holds a state_dict. No code in it is run."
        ),
    ] = "DEFAULT",
    method: Annotated[
        list[str] | None,
        typer.Option(help="Method, such as gradcam (the default), hirescam; may be repeated."),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(help="Module to look at. One is chosen otherwise, and the reasons are told."),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help="Class to explain, by number or name; may be repeated. Otherwise the predicted.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the pictures, NAME-cam.png.")
    ] = Path("cam-output"),
    force: Annotated[
        bool, typer.Option("--force", help="Replace pictures of the same names.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only where the pictures are.")
    ] = False,
) -> None:
    """Show where a classifier looks: heat maps over photographs.

    Writes one picture for each photograph: what the model sees, and the map of every method and
    class on it.
    """
    from hooktrace.photographs import explain_photographs

    pictures = explain_photographs(
        photos,
        model=model,
        weights=weights,
        methods=method or ["gradcam"],
        layer=layer,
        classes=classes or [],
        folder=output,
        force=force,
        say=_silent if quiet else typer.echo,
        progress=not quiet,
    )
    if quiet:
        for picture in pictures:
            typer.echo(picture)


commands.register(app)


def _silent(_text: str) -> None:
    """Print nothing."""


def main() -> None:
    """Run the command line; what hooktrace itself complains about is shown without a traceback."""
    try:
        app()
    except (HooktraceError, OSError) as error:
        typer.echo(f"hooktrace: {error}", err=True)
        sys.exit(1)
