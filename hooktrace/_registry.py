"""Named plug-ins: renderers now; exporters, doctor rules and CAM methods on the same pattern."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from hooktrace.errors import UnknownNameError, nearest

__all__ = ["Registry"]

Plugin = TypeVar("Plugin")


class Registry(Generic[Plugin]):
    """Maps names to plug-ins of one family.

    Third parties add theirs by an entry point in the group ``hooktrace.<family>``, which is
    looked up when a name is unknown.

    Args:
        family: What the plug-ins are, in the plural, such as ``"renderers"``.
    """

    def __init__(self, family: str) -> None:
        self.family = family
        self._plugins: dict[str, Plugin] = {}
        self._searched = False

    def register(self, *names: str) -> Callable[[Plugin], Plugin]:
        """Return a decorator that registers a plug-in under `names`.

        Raises:
            ValueError: One of the names is taken.
        """

        def decorate(plugin: Plugin) -> Plugin:
            for name in names:
                if name in self._plugins:
                    raise ValueError(f"{self.family}: the name {name!r} is taken already")
                self._plugins[name] = plugin
            return plugin

        return decorate

    def __getitem__(self, name: str) -> Plugin:
        """Return the plug-in of this name.

        Raises:
            UnknownNameError: There is none; the message names the nearest.
        """
        if name not in self._plugins:
            self._search()
        if name not in self._plugins:
            raise UnknownNameError(
                f"{self.family}: there is no {name!r}.{nearest(name, self._plugins)}"
            )
        return self._plugins[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._plugins:
            self._search()
        return name in self._plugins

    def __iter__(self) -> Iterator[str]:
        self._search()
        return iter(sorted(self._plugins))

    def _search(self) -> None:
        if not self._searched:
            self._searched = True
            for point in entry_points(group=f"hooktrace.{self.family}"):
                self._plugins.setdefault(point.name, point.load())
