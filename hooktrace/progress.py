"""Bars on standard error for what takes long.

Whoever does the work says how far it is, by `steps` or `work`, and knows of no bar; whoever asked
for the work shows bars, by `bars`, or does not.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

__all__ = ["bars", "steps", "work"]

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
    with work(label, total) as done:
        for part in parts:
            yield part
            done()


@contextmanager
def work(label: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """Tell who watches of some work; yield what is to be called when a part of it is done.

    Args:
        label: What is done.
        total: How many parts it has; None if that is not known.
    """
    watcher = _watching.get()
    if watcher is None:
        yield _unwatched
    else:
        with watcher(label, total) as done:
            yield done


def _unwatched() -> None:
    """Tell nobody."""


@contextmanager
def bars(*, piped: bool = False, after: float = 0.0) -> Iterator[None]:
    """Show a bar for all `work` inside, on standard error.

    Args:
        piped: Whether to do so where that is no terminal, too; there the bars' ends are printed.
        after: Seconds that the work may take without any.
    """
    if not (piped or (sys.stderr is not None and sys.stderr.isatty())):
        yield
        return
    board = _Board(piped)
    waiting = threading.Timer(after, board.show)
    waiting.daemon = True
    token = _watching.set(board.watch)
    try:
        if after:
            waiting.start()
        else:
            board.show()
        yield
    finally:
        _watching.reset(token)
        waiting.cancel()
        board.close()


class _Task:
    """Some work: what is done, and how far it is."""

    def __init__(self, label: str, total: int | None) -> None:
        self.label = label
        self.total = total
        self.done = 0
        self.row: Any = None  # of the bars, once they are shown


class _Board:
    """The bars, which are shown from some moment on, perhaps by another thread."""

    def __init__(self, piped: bool) -> None:
        self._piped = piped
        self._lock = threading.RLock()
        self._tasks: list[_Task] = []
        self._shown: Any = None
        self._closed = False

    def show(self) -> None:
        """Show the bars from now on."""
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        with self._lock:
            if self._closed or not (self._piped or console.is_terminal):
                return
            self._shown = Progress(
                console=console,
                transient=not self._piped,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            for task in self._tasks:
                self._enter(task)
            self._shown.start()

    def close(self) -> None:
        """Show no bars any more."""
        with self._lock:
            self._closed = True
            if self._shown is not None:
                self._shown.stop()

    @contextmanager
    def watch(self, label: str, total: int | None) -> Iterator[Callable[[], None]]:
        """Show a bar for some work; that of work inside other work goes with it."""
        task = _Task(label, total)
        with self._lock:
            inner = bool(self._tasks)
            self._tasks.append(task)
            if self._shown is not None:
                self._enter(task)

        def done() -> None:
            with self._lock:
                task.done += 1
                if self._shown is not None:
                    self._shown.advance(task.row)

        try:
            yield done
        finally:
            if inner:
                self._leave(task)

    def _enter(self, task: _Task) -> None:
        task.row = self._shown.add_task(task.label, total=task.total, completed=task.done)

    def _leave(self, task: _Task) -> None:
        with self._lock:
            self._tasks.remove(task)
            if self._shown is not None:
                self._shown.remove_task(task.row)
