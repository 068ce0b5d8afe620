"""Spies: objects that stand for a user's hook and pass everything on."""

from __future__ import annotations

import copy
from typing import Any

__all__ = ["Spy", "user_hook"]


class Spy:
    """Stands for a hook of the user's.

    Its attributes are those of the hook, as they are at that moment: PyTorch quotes
    a hook's ``__name__`` in error messages, and marks hooks of its own by attributes that come
    and go.  A copy of a spy, and what is unpickled of it, is one of the hook.

    Args:
        hook: The user's hook.
        kind: PyTorch's word for it.
    """

    __slots__ = ("__weakref__", "hook", "kind")

    hook: Any
    kind: str

    def __init__(self, hook: Any, kind: str) -> None:
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

    def __repr__(self) -> str:
        """Say what the hook says: PyTorch quotes it when a tensor with hooks is pickled."""
        return repr(self.hook)

    def called(self, arguments: tuple[Any, ...]) -> list[Any]:
        """Begin a firing for every trace that listens."""
        raise TypeError(f"{type(self).__name__} does not say what to do when it is called")

    def returned(self, firings: list[Any], result: Any, arguments: tuple[Any, ...]) -> None:
        """End the firings."""
        raise TypeError(f"{type(self).__name__} does not say what to do when it has returned")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.hook, name)

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return vars(self.hook) if hasattr(self.hook, "__dict__") else {}

    @property
    def __wrapped__(self) -> Any:
        return self.hook

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self.hook, memo)

    def __reduce__(self) -> Any:
        return user_hook, (self.hook,)


def user_hook(hook: Any) -> Any:
    """Return the user's own hook where a spy stands for it."""
    return hook.hook if isinstance(hook, Spy) else hook
