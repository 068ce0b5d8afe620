"""Bars on standard error for what takes long.

Whoever does the work says how far it is, by `steps`, and knows of no bar; whoever asked for the
work shows bars, by `bars`, or does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

__all__ = ["bars", "steps"]

T = TypeVar("T")
Watcher = Callable[[str, int | None], AbstractContextManager[Callable[[], None]]]
"""From a label and a number of steps to what is called after each of them."""

_watching: ContextVar[Watcher | None] = ContextVar("watching", default=None)


def steps(parts: Iterable[T], total: int | None, label: str) -> Iterator[T]:
    """Yield the parts of some work, and tell who watches of each that is done.

    Args:
        parts: The parts.
        total: How many there are; None if that is not known.
        label: What is done.
    """
    watcher = _watching.get()
    if watcher is None:
        yield from parts
        return
    with watcher(label, total) as done:
        for part in parts:
            yield part
            done()


@contextmanager
def bars(*, piped: bool = False) -> Iterator[None]:
    """Show a bar for each `steps` inside, on standard error.

    Args:
        piped: Whether to do so where that is no terminal, too; there the bars' ends are printed.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not (piped or console.is_terminal):
        yield
        return
    shown = Progress(
        console=console, transient=not piped, redirect_stdout=False, redirect_stderr=False
    )
    token = _watching.set(partial(_bar, shown))
    try:
        with shown:
            yield
    finally:
        _watching.reset(token)


@contextmanager
def _bar(shown: Any, label: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Show a bar for some work; that of work inside other work goes with it."""
    inner = bool(shown.tasks)
    task = shown.add_task(label, total=total)
    try:
        yield lambda: shown.advance(task)
    finally:
        if inner:
            shown.remove_task(task)
