"""`no_leaked_hooks()`: an assertion for tests that no hook stays behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from hooktrace.errors import LeakedHookError
from hooktrace.events import TracedHook
from hooktrace.inventory import Inventory

__all__ = ["Watch", "complain", "no_leaked_hooks"]


@contextlib.contextmanager
def no_leaked_hooks(*things: Any) -> Iterator[None]:
    """Assert that after the block no hook is registered that was not before it.

    Hooks for every module or optimizer are watched as well, also if nothing is given.  A hook that
    is gone after the block is not missed, nor is the one of ``retain_grad()``.  An exception of
    the block passes unchanged.

    Args:
        *things: What `hooktrace.hooks` takes: modules, tensors, optimizers.

    Raises:
        LeakedHookError: There are such hooks; it is an ``AssertionError``.  The message names each,
            with the line of its function and, inside of a trace, that of its registration.
        TypeError: One of the things is none of these.

    Example:
        >>> from torch import nn
        >>> net = nn.Linear(2, 2)
        >>> with no_leaked_hooks(net):
        ...     with net.register_forward_hook(print):
        ...         pass
    """
    watch = Watch(things)
    yield
    complain(watch.leaked())


class Watch:
    """Remembers which hooks are registered, and tells which are new.

    Args:
        things: What to watch, besides the hooks for every module and optimizer.
        anew: Whether there was no hook before, because PyTorch had not been imported.

    Raises:
        TypeError: One of the things is no module, tensor or optimizer.
    """

    def __init__(self, things: Sequence[Any], *, anew: bool = False) -> None:
        for thing in things:
            if not isinstance(thing, (nn.Module, torch.Tensor, torch.optim.Optimizer)):
                raise TypeError(
                    f"no_leaked_hooks() takes modules, tensors and optimizers, but got "
                    f"{type(thing).__name__}."
                )
        self.things = tuple(things)
        self._before = set() if anew else set(self._registered())

    def leaked(self) -> list[TracedHook]:
        """Return the hooks that are registered now and were not, in the order of firing."""
        return [row for key, row in self._registered().items() if key not in self._before]

    def _registered(self) -> dict[Any, TracedHook]:
        """Return the hooks by what is the same the next time."""
        models = [one for one in self.things if isinstance(one, nn.Module)]
        inventory = Inventory(models, everywhere=True)
        found = {}
        for row in inventory.take(self.things):
            if row.id in inventory.places:  # of retain_grad() there is only a flag
                number = inventory.places[row.id][0][1]
                on = row.owner if row.tensor is None else ""
                found[row.kind, on, number, row.name, row.defined_at] = row
        return found


def complain(found: Sequence[TracedHook]) -> None:
    """Raise `LeakedHookError` if there are hooks."""
    if found:
        are, were = ("hook is", "was") if len(found) == 1 else ("hooks are", "were")
        lines = "\n".join(f"  {_described(row)}" for row in found)
        raise LeakedHookError(
            f"{len(found)} {are} registered that {were} not before:\n{lines}\nKeep the handle that "
            f"a registration returns, and call its remove(), or use it in a `with` statement."
        )


def _described(row: TracedHook) -> str:
    text = f"{row.kind} hook {row.name} on {row.owner}"
    text += f", defined at {row.defined_at}" if row.defined_at else ""
    return text + (f", registered at {row.registered_at}" if row.registered_at else "")
