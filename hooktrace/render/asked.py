"""What a picture is asked to show, and the registry of what can be shown.

A view is one file, `<name>_diagram.py`, found by its being there.  It registers a function that
takes the log, its calls and the options, and returns a scene.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from hooktrace import render
from hooktrace._registry import Registry
from hooktrace.errors import UnknownNameError, nearest
from hooktrace.log import EventLog
from hooktrace.render.dot import Scene
from hooktrace.views.calls import CallIndex

__all__ = ["Asked", "Chosen", "View", "refuse_unknown", "view", "view_of", "views"]

_BUDGET = 300

Chosen = str | Sequence[str] | Callable[[Any], bool]
"""Names of modules by pattern, or a function of a call."""


@dataclass(frozen=True)
class Asked:
    """The options of a picture; each is None where it was not given.

    Attributes:
        depth: Levels of nested modules to open.
        expand: Modules to open whatever the depth.
        step: Which step of a loop.
        budget: Boxes, and arrows, that a picture may have before it opens less.
    """

    depth: int | None = None
    expand: Chosen | None = None
    step: int | None = None
    budget: int | None = None

    @property
    def most(self) -> int:
        """The budget, as given or as usual."""
        return _BUDGET if self.budget is None else self.budget

    def __post_init__(self) -> None:
        for name, least in (("depth", 0), ("step", None), ("budget", 1)):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name}= is a whole number, but got {value!r}.")
            if least is not None and value < least:
                raise ValueError(f"{name}= is {least} or more, but got {value}.")


def refuse_unknown(options: Iterable[str]) -> None:
    """Refuse options that no diagram has.

    Raises:
        TypeError: One is unknown; the message names the nearest.
    """
    known = ("view", *(one.name for one in fields(Asked)), "engine")
    for name in options:
        if name not in known:
            raise TypeError(f"A diagram has no option {name!r}.{nearest(name, known)}")


@dataclass(frozen=True)
class View:
    """One way to look at a trace.

    Attributes:
        compose: Makes the scene.
        takes: The options that it has.
    """

    compose: Callable[[EventLog, CallIndex, Asked], Scene]
    takes: tuple[str, ...]

    def check(self, name: str, asked: Asked) -> None:
        """Refuse options that this view does not have.

        Raises:
            ValueError: One was given.
        """
        for one in fields(asked):
            if getattr(asked, one.name) is not None and one.name not in self.takes:
                has = ", ".join(f"{each}=" for each in self.takes) or "none"
                raise ValueError(f"view={name!r} has no {one.name}=; its options: {has}.")


_VIEWS: Registry[View] = Registry("views")


def view(name: str, *takes: str) -> Callable[[Any], Any]:
    """Return a decorator that registers a view under `name` with the options that it takes."""

    def decorate(compose: Any) -> Any:
        _VIEWS.register(name)(View(compose, takes))
        return compose

    return decorate


def views() -> Registry[View]:
    """Return the registry of all views."""
    for found in pkgutil.iter_modules(render.__path__):
        if found.name.endswith("_diagram"):
            importlib.import_module(f"{render.__name__}.{found.name}")
    return _VIEWS


def view_of(name: str) -> View:
    """Return the view of this name.

    Raises:
        UnknownNameError: There is none; the message names the nearest.
    """
    known = views()
    if name not in known:
        raise UnknownNameError(
            f"There is no view {name!r}.{nearest(name, list(known))} "
            f"The views are {', '.join(known)}."
        )
    return known[name]
