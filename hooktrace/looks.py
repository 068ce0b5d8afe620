"""Two looks at what a function can reach, before and after it is called, and what is new then.

A container is looked at as a whole: the ``id()`` of all that is in it are taken and compared at
the speed of C, and only entries that changed are looked at one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any, NamedTuple

from hooktrace.reach import Place, Reach, is_tensor

__all__ = ["Look", "Looks", "Shelf"]

_LONGEST = 1024  # entries of one container that are compared: the latest


class Shelf(NamedTuple):
    """One container at one look.

    Attributes:
        keys: What tells its entries apart: the ``id()`` of keys, or places.
        values: The ``id()`` of what is there.
    """

    keys: Sequence[int]
    values: list[int]

    def changed(self, before: Shelf | None) -> Iterator[int]:
        """Yield the places of the entries that were not there before, or were others."""
        if before is None:
            yield from range(len(self.values))
        elif before.values != self.values:
            known = set(zip(before.keys, before.values, strict=True))
            for place, pair in enumerate(zip(self.keys, self.values, strict=True)):
                if pair not in known:
                    yield place


class Look:
    """What was seen at one look; nothing of it is held but numbers, if `things` are dropped.

    Attributes:
        single: The ``id()`` of each tensor that is in no container, by where it is.
        shelves: The containers, by their ``id()``.
        things: The places of those tensors, and the containers with the way to each.
    """

    __slots__ = ("shelves", "single", "things")

    def __init__(self) -> None:
        self.single: dict[tuple[int, Any], int] = {}
        self.shelves: dict[int, Shelf] = {}
        self.things: tuple[list[Place], list[Content]] = [], []

    def changes(self, before: Look, given: AbstractSet[int]) -> tuple[list[Place], list[Place]]:
        """Return where tensors are that were not there before, and where those that were given."""
        new: list[Place] = []
        old: list[Place] = []
        singles, containers = self.things
        for one in singles:
            known = before.single.get((one.container, one.key)) == id(one.tensor)
            (old if known else new).append(one)
        for content in containers:
            shelf = self.shelves[id(content.thing)]
            changed = [*shelf.changed(before.shelves.get(id(content.thing)))]
            new += content.tensors(changed)
            if not given.isdisjoint(shelf.values):
                same = set(range(len(shelf.values))).difference(changed)
                there = [place for place in sorted(same) if shelf.values[place] in given]
                old += content.tensors(there)
        return new, old

    def paths(self, number: int) -> list[str]:
        """Return the ways to the tensor with this ``id()``."""
        singles, containers = self.things
        found = [one.path for one in singles if id(one.tensor) == number]
        for content in containers:
            numbers = self.shelves[id(content.thing)].values
            if number in numbers:
                places = [place for place, one in enumerate(numbers) if one == number]
                found += [one.path for one in content.tensors(places)]
        return found


class Looks(Reach):
    """Looks at containers as a whole; `last` counts only what is no tensor."""

    def __init__(self, last: int, most: int) -> None:
        super().__init__(last, most)
        self._flat: set[type] = set()  # types of tensors, and of what holds none

    def look(self, function: Any, owner: Any = None, before: Look | None = None) -> Look:
        """Look at what a function can reach.

        Args:
            function: The function.
            owner: Its module, whose own attributes are looked at too.
            before: An earlier look, to look into what has changed since wherever it is.
        """
        look = Look()
        singles, containers = look.things
        known = {} if before is None else before.shelves

        def inside(thing: Any, kind: str, link: Any) -> Any:
            if kind != "mapping" and kind not in _TAKE:
                return self.inside(thing, kind, link)
            content = Content.of(thing, kind, link)
            containers.append(content)
            look.shelves[id(thing)] = shelf = content.shelf()
            return self._deeper(content, shelf, known.get(id(thing)))

        for one in self.walk(function, owner, inside):
            singles.append(one)
            look.single[one.container, one.key] = id(one.tensor)
        return look

    def paths_of(self, tensor: Any, function: Any, owner: Any = None) -> list[str]:
        """Return the ways on which a function can reach a tensor."""
        return self.look(function, owner).paths(id(tensor))

    def _deeper(
        self, content: Content, shelf: Shelf, old: Shelf | None
    ) -> Sequence[tuple[int, Any, Any, Any]]:
        """Return the entries of a container that are no tensors, but may hold some."""
        types = set(map(type, content.values))
        if not types <= self._flat:
            kinds = {one: self._kinds.get(one) or self.kind(one) for one in types}
            self._flat.update(one for one in types if kinds[one] in ("nothing", "tensor"))
        flat = self._flat
        if types <= flat:
            return ()
        deep = [place for place, value in enumerate(content.values) if type(value) not in flat]
        if len(deep) > self.last:
            changed = set() if old is None else set(shelf.changed(old)).intersection(deep)
            deep = sorted(changed.union(deep[-self.last :]))
        return list(map(content.entry, deep))

    def forget(self) -> None:
        """Drop what refers to the user's classes and functions."""
        super().forget()
        self._flat.clear()


# ------------------------------------------------------------------ what is in a container


class Content(NamedTuple):
    """The entries of one container, as far as they are compared.

    Attributes:
        thing: The container.
        kind: Which kind of container it is.
        names: What a path calls the entries: keys, or places.
        values: What is there.
        link: The way to the container.
    """

    thing: Any
    kind: str
    names: Sequence[Any]
    values: list[Any]
    link: Any

    @classmethod
    def of(cls, thing: Any, kind: str, link: Any) -> Content:
        """Take the latest entries out of a container, without asking it."""
        if kind == "mapping":
            keys, values = _latest(dict.keys(thing)), _latest(dict.values(thing))
            if len(keys) != len(values):  # another thread came between
                del keys[len(values) :], values[len(keys) :]
            return cls(thing, kind, keys, values, link)
        values = _TAKE[kind](thing)
        end = len(values)
        if end > _LONGEST:
            del values[:-_LONGEST]
        names = values if kind == "set" else range(end - len(values), end)
        return cls(thing, kind, names, values, link)

    def shelf(self) -> Shelf:
        """Return it in numbers."""
        numbers = list(map(id, self.values))
        if self.kind == "mapping":
            return Shelf(list(map(id, self.names)), numbers)
        moving = self.kind == "deque" or self.kind == "set"
        return Shelf(numbers if moving else self.names, numbers)

    def entry(self, place: int) -> tuple[int, Any, Any, Any]:
        """Return the container, what tells an entry apart, what it is, and the way to it."""
        name, value = self.names[place], self.values[place]
        key = name
        if self.kind in ("deque", "set"):
            key = id(value)
        elif type(name) not in (str, int):
            key = id(name)
        return id(self.thing), key, value, (self.link, "[{}]", name)

    def tensors(self, places: Iterable[int]) -> list[Place]:
        """Return the tensors among the entries at these places."""
        return [Place(*self.entry(place)) for place in places if is_tensor(self.values[place])]


def _latest(view: Any) -> list[Any]:
    if len(view) <= _LONGEST:
        return list(view)
    return [*islice(reversed(view), _LONGEST)][::-1]


_TAKE: dict[str, Callable[[Any], list[Any]]] = {
    "list": lambda thing: list.__getitem__(thing, slice(None)),
    "tuple": lambda thing: list(tuple.__iter__(thing)),
    "deque": lambda thing: list(deque.__iter__(thing)),
    "set": lambda thing: list((set if issubclass(type(thing), set) else frozenset).__iter__(thing)),
}
