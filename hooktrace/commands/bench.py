"""``hooktrace bench``: what tracing a model costs here."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["bench"]


def bench(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Classification model of torchvision, or module:callable, which returns a model "
            "or a pair of a model and a batch.",
        ),
    ] = "resnet18",
    batch: Annotated[int, typer.Option(min=1, help="Items in a batch.")] = 1,
    size: Annotated[int, typer.Option(min=1, help="Height and width of the images.")] = 224,
    rounds: Annotated[int, typer.Option(min=1, help="How often; the figures are medians.")] = 9,
    threads: Annotated[int, typer.Option(min=1, help="Threads that PyTorch uses.")] = 1,
    forward_only: Annotated[
        bool, typer.Option("--forward-only", help="Leave the backward out.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the table alone.")] = False,
) -> None:
    """Measure what a trace costs on this machine, as ratios to the same without a trace.

    Times are CPU time of this process. Opening and closing the trace is part of each traced step.
    """
    import torch

    from hooktrace.costs import costs, model_of

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net, make = model_of(model)
    if not quiet:
        what = f"{model}, batch of {batch}, {rounds} rounds on {threads} thread"
        typer.echo(f"PyTorch {torch.__version__}, {what}{'s' * (threads != 1)}", err=True)
    typer.echo(f"{'':<28}{'plain':>12}{'traced':>12}{'ratio':>9}")
    for cost in costs(net, make(batch, size), rounds, backward=not forward_only):
        plain, traced = (f"{one * 1e3:.2f} ms" for one in (cost.plain, cost.traced))
        typer.echo(f"{cost.work:<28}{plain:>12}{traced:>12}{cost.ratio:>8.2f}x")
