"""Dictionaries of hooks that PyTorch reads by a global name, with spies for whoever loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

__all__ = ["SpiedHooks", "stored"]


class SpiedHooks(MutableMapping[int, Any]):
    """Stands in the place of a global dictionary of hooks; only its `values` are spies.

    Args:
        hooks: The dictionary, which all else goes through to.
        values: Returns what a loop over the values gets.
    """

    def __init__(self, hooks: dict[int, Any], values: Callable[[], Iterator[Any]]) -> None:
        self.hooks = hooks
        self._values = values

    def values(self) -> Any:
        """Return what stands for the hooks."""
        return self._values()

    def __getitem__(self, number: int) -> Any:
        return self.hooks[number]

    def __setitem__(self, number: int, hook: Any) -> None:
        self.hooks[number] = hook

    def __delitem__(self, number: int) -> None:
        del self.hooks[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self.hooks)

    def __len__(self) -> int:
        return len(self.hooks)


def stored(hooks: Any) -> Any:
    """Return the dictionary itself: handles refer to it, also after the trace."""
    return hooks.hooks if isinstance(hooks, SpiedHooks) else hooks
