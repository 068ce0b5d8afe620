"""Spies: objects that stand for a user's hook and pass everything on."""

from __future__ import annotations

import functools
from typing import Any

__all__ = ["Spy", "user_hook"]


class Spy:
    """Stands for a hook of the user's.

    It has the attributes of what it stands for, such as the ``__name__`` that PyTorch quotes in
    error messages.  Its own are slots: whoever wraps a hook by ``functools.update_wrapper``
    copies its ``__dict__``, which must be the user's, and not lead around this spy.

    Args:
        hook: The user's hook.
        kind: PyTorch's word for it.
    """

    __slots__ = ("__dict__", "hook", "kind")

    def __init__(self, hook: Any, kind: str) -> None:
        functools.update_wrapper(self, hook)
        self.hook = hook
        self.kind = kind

    def __call__(self, *arguments: Any) -> Any:
        """Call the hook, as PyTorch would have, and record the firing."""
        firings = self.called(arguments)
        try:
            result = self.hook(*arguments)
        except BaseException as error:
            for firing in reversed(firings):
                firing.raised(error)
            raise
        self.returned(firings, result, arguments)
        return result

    def called(self, arguments: tuple[Any, ...]) -> list[Any]:
        """Begin a firing for every trace that listens."""
        raise TypeError(f"{type(self).__name__} does not say what to do when it is called")

    def returned(self, firings: list[Any], result: Any, arguments: tuple[Any, ...]) -> None:
        """End the firings."""
        raise TypeError(f"{type(self).__name__} does not say what to do when it has returned")


def user_hook(hook: Any) -> Any:
    """Return the user's own hook where a spy stands for it."""
    return hook.hook if isinstance(hook, Spy) else hook
