"""What a function can reach: its closure, arguments, globals, and what it is bound to.

None of the user's code runs: containers are read as `dict`, `list` and the like read them, objects
by their ``__dict__``; no attribute is asked for that a class could compute.
"""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Iterator
from types import (
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
)
from typing import Any, NamedTuple

import torch
from torch import nn

from hooktrace.spies import user_hook

__all__ = ["Place", "Reach", "is_tensor"]

_DEEPEST = 5  # containers and objects inside one another
_OWN = frozenset(vars(nn.Module()))  # what every module has
_FOREIGN = frozenset({"torch", "hooktrace"}) | sys.stdlib_module_names - {"types", "argparse"}


class Place(NamedTuple):
    """Where a tensor was found.

    Attributes:
        container: The ``id()`` of the container, object, cell or function.
        key: Where in it.
        tensor: What is there.
        link: The way to it: pairs of the way before and a step; `path` writes it.
    """

    container: int
    key: Any
    tensor: torch.Tensor
    link: Any

    @property
    def path(self) -> str:
        """The way to it, as one would write it."""
        steps: list[str] = []
        link = self.link
        while link is not None:
            link, form, key = link
            steps.append(form.format(_key(key) if form.endswith("]") else key))
        return "".join(reversed(steps))


def _key(key: Any) -> str:
    """Write a key without asking it, unless its class is one of Python's own."""
    if type(key) is tuple:
        return ", ".join(map(_key, key))
    plain = type(key) in (str, int, bool, float, type(None), torch.dtype, torch.device)
    return repr(key) if plain else f"<{type(key).__name__}>"


class Reach:
    """Looks for tensors.

    Args:
        last: How many entries of one container are looked at, the latest first.
        most: How many things are looked at in all.
    """

    def __init__(self, last: int, most: int) -> None:
        self.last = last
        self.most = most
        self._kinds: dict[type, str] = {}
        self._names: dict[CodeType, tuple[str, ...]] = {}
        self._paths: dict[tuple[int, ...], dict[int, list[str]]] = {}

    def places(self, function: Any, owner: Any = None) -> list[Place]:
        """Return where tensors are that `function` can reach, and those on its module `owner`."""
        return list(self.walk(function, owner, self.inside))

    def walk(self, function: Any, owner: Any, inside: Any) -> Iterator[Place]:
        """Yield where tensors are; `inside` returns where to go on, as the method does."""
        seen: set[int] = set()
        queue = [(*one, 0) for one in self._roots(user_hook(function))]
        if owner is not None:
            queue.append((id(owner), None, owner, (None, "{}", "module"), 0))
        kinds = self._kinds
        for container, key, thing, link, depth in queue:
            kind = kinds.get(type(thing)) or self.kind(type(thing))
            if kind == "nothing":
                continue
            if kind == "tensor":
                yield Place(container, key, thing, link)
            elif depth < _DEEPEST and id(thing) not in seen and len(queue) < self.most:
                seen.add(id(thing))
                if kind == "function":
                    within: Any = () if _is_foreign(thing) else self._roots(thing)
                else:
                    within = inside(thing, kind, link)
                below = depth + 1
                for inner, name, value, way in within:
                    queue.append((inner, name, value, way, below))

    def inside(self, thing: Any, kind: str, link: Any) -> Iterator[tuple[int, Any, Any, Any]]:
        """Yield what is in a container or object, with where it is and the way to it."""
        yield from _READERS[kind](thing, link, self.last)

    def paths(self, function: Any, owner: Any = None) -> dict[int, list[str]]:
        """Return where each tensor is, by its ``id()``: the same as at the first time it is asked.

        For looking up many tensors while nothing changes.
        """
        bound = type(function) is MethodType  # which is made anew each time
        parts = (function.__self__, function.__func__) if bound else (function, None)
        key = (id(parts[0]), id(parts[1]), id(owner))
        known = self._paths.get(key)
        if known is None:
            known = self._paths[key] = {}
            for one in self.places(function, owner):
                known.setdefault(id(one.tensor), []).append(one.path)
        return known

    def forget(self) -> None:
        """Drop what refers to the user's classes and functions."""
        self._kinds.clear()
        self._names.clear()

    def kind(self, one: type) -> str:
        """Return how objects of a class are looked at: as ``tensor``, ``mapping``, ``nothing``."""
        kind = self._kinds[one] = _kind_of(one)
        return kind

    # -------------------------------------------------------------- where to begin

    def _roots(self, function: Any) -> Iterator[tuple[int, Any, Any, Any]]:
        kind = type(function)
        if kind is FunctionType:
            yield from self._of_function(function)
        elif kind is MethodType:
            yield id(function.__self__), None, function.__self__, (None, "{}", "self")
            if type(function.__func__) is FunctionType:
                yield from self._of_function(function.__func__)
        elif kind is functools.partial:
            arguments = (*enumerate(function.args), *function.keywords.items())
            for name, argument in arguments:
                yield id(function), name, argument, (None, "partial[{}]", name)
            yield from self._roots(function.func)
        else:
            yield id(function), None, function, (None, "{}", "self")
            call = next((vars(one)["__call__"] for one in kind.__mro__ if _has_call(one)), None)
            if type(call) is FunctionType:
                yield from self._of_function(call)

    def _of_function(self, function: FunctionType) -> Iterator[tuple[int, Any, Any, Any]]:
        code = function.__code__
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                yield id(cell), None, cell.cell_contents, (None, "{}", name)
            except ValueError:  # not filled yet
                continue
        defaults = function.__defaults__
        if defaults:
            first = code.co_argcount - len(defaults)
            for name, value in zip(code.co_varnames[first:], defaults, strict=False):
                yield id(function), name, value, (None, "{}", name)
        for name, value in (function.__kwdefaults__ or {}).items():
            yield id(function), name, value, (None, "{}", name)
        known = function.__globals__
        for name in self._names.get(code) or self._names_in(code):
            if name in known:
                yield id(known), name, known[name], (None, "{}", name)
        for name, value in function.__dict__.items():
            yield id(function), name, value, ((None, "{}", function.__name__), ".{}", name)

    def _names_in(self, code: CodeType) -> tuple[str, ...]:
        names = dict.fromkeys(code.co_names)
        for one in code.co_consts:
            if type(one) is CodeType:
                names.update(dict.fromkeys(self._names_in(one)))
        found = self._names[code] = tuple(names)
        return found


def _has_call(one: type) -> bool:
    return "__call__" in vars(one)


# ------------------------------------------------------------------ what is inside of what


def is_tensor(thing: Any) -> bool:
    """Whether something is a tensor; what it says of itself is not asked."""
    return issubclass(type(thing), torch.Tensor)


def _kind_of(one: type) -> str:
    if issubclass(one, torch.Tensor):
        return "tensor"
    for kind, classes in _CLASSES.items():
        if issubclass(one, classes):
            return kind
    if issubclass(one, (type, torch.optim.Optimizer)) or _is_foreign(one):
        return "nothing"
    return "object"


def _is_foreign(thing: Any) -> bool:
    """Whether a class or function is PyTorch's, Python's or ours."""
    module = thing.__module__ if type(thing) is not functools.partial else None
    return isinstance(module, str) and module.partition(".")[0] in _FOREIGN


_CLASSES: dict[str, Any] = {
    "mapping": dict,
    "list": list,
    "tuple": tuple,
    "deque": deque,
    "set": (set, frozenset),
    "module": nn.Module,
    "function": (FunctionType, MethodType, functools.partial),
}


def _in_mapping(thing: dict[Any, Any], link: Any, last: int) -> Iterator[tuple[Any, ...]]:
    pairs = list(dict.items(thing))
    for key, value in pairs[-last:]:
        yield id(thing), key if type(key) in (str, int) else id(key), value, (link, "[{}]", key)


def _in_list(thing: list[Any], link: Any, last: int) -> Iterator[tuple[Any, ...]]:
    length = list.__len__(thing)
    for place in range(max(0, length - last), length):
        yield id(thing), place, list.__getitem__(thing, place), (link, "[{}]", place)


def _in_tuple(thing: tuple[Any, ...], link: Any, last: int) -> Iterator[tuple[Any, ...]]:
    for place, value in enumerate(tuple.__getitem__(thing, slice(0, last))):
        yield id(thing), place, value, (link, "[{}]", place)


def _in_deque(thing: deque[Any], link: Any, last: int) -> Iterator[tuple[Any, ...]]:
    values = list(deque.__iter__(thing))
    for place in range(max(0, len(values) - last), len(values)):
        yield id(thing), id(values[place]), values[place], (link, "[{}]", place)


def _in_set(thing: Any, link: Any, last: int) -> Iterator[tuple[Any, ...]]:
    reader = set if issubclass(type(thing), set) else frozenset
    for value in list(reader.__iter__(thing))[:last]:
        yield id(thing), id(value), value, (link, "[{}]", value)


def _in_module(thing: nn.Module, link: Any, last: int) -> Iterator[tuple[Any, ...]]:
    for name, value in _dictionary(thing).items():
        if name not in _OWN:
            yield id(thing), name, value, (link, ".{}", name)


def _in_object(thing: Any, link: Any, last: int) -> Iterator[tuple[Any, ...]]:
    for name, value in list(_dictionary(thing).items())[:last]:
        yield id(thing), name, value, (link, ".{}", name)


_READERS: dict[str, Any] = {
    "mapping": _in_mapping,
    "list": _in_list,
    "tuple": _in_tuple,
    "deque": _in_deque,
    "set": _in_set,
    "module": _in_module,
    "object": _in_object,
}


def _dictionary(thing: Any) -> dict[str, Any]:
    """Return the ``__dict__`` of an object, unless its class has a property of that name."""
    for one in type(thing).__mro__:
        getter = vars(one).get("__dict__")
        if getter is not None:
            if type(getter) in (GetSetDescriptorType, MemberDescriptorType):
                found = getter.__get__(thing)
                return found if type(found) is dict else {}
            return {}
    return {}
