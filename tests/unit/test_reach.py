"""What a function can reach is found without running any of the user's code."""

from __future__ import annotations

import functools
from collections import OrderedDict, defaultdict, deque
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from hooktrace.hold import may_store
from hooktrace.looks import Look, Looks
from hooktrace.reach import Reach

T = torch.ones(2)
SHARED = {"here": T}


def paths(function: Any, owner: Any = None) -> list[str]:
    return [one.path for one in Reach(64, 200).places(function, owner)]


def seen(function: Any, owner: Any = None) -> list[str]:
    """Return the same as two looks tell it, of which the first saw nothing."""
    new, old = Looks(64, 200).look(function, owner).changes(Look(), set())
    assert old == []
    return [one.path for one in new]


def holding(thing: Any) -> Any:
    return lambda: thing


class Slotted:
    __slots__ = ("kept",)


WAYS: dict[str, tuple[Any, list[str]]] = {
    "a cell": (T, ["thing"]),
    "a dict": ({"a": T, 3: T}, ["thing['a']", "thing[3]"]),
    "a default dict": (defaultdict(list, {"a": [T]}), ["thing['a'][0]"]),
    "an ordered dict": (OrderedDict(a=T), ["thing['a']"]),
    "keys of other kinds": ({("a", 1): T, object(): T}, ["thing['a', 1]", "thing[<object>]"]),
    "a list": ([None, T], ["thing[1]"]),
    "a tuple in a list": ([(1, T)], ["thing[0][1]"]),
    "a deque": (deque([T]), ["thing[0]"]),
    "a namespace": (SimpleNamespace(a=SimpleNamespace(b=T)), ["thing.a.b"]),
    "a function": (holding({"x": T}), ["thing['x']"]),
    "nothing": (3, []),
    "an optimizer": (torch.optim.SGD([nn.Parameter(T)]), []),
}


@pytest.mark.parametrize("name", WAYS)
def test_the_way_is_written_as_one_would_write_it(name: str) -> None:
    thing, expected = WAYS[name]
    assert paths(holding(thing)) == expected
    assert seen(holding(thing)) == expected


def test_globals_are_reached_by_their_names_alone() -> None:
    assert paths(lambda: SHARED) == ["SHARED['here']"]
    assert paths(lambda: None) == []
    assert paths(lambda: [SHARED for _ in range(3)]) == ["SHARED['here']"]


def test_of_a_module_its_own_attributes_are_looked_at_not_its_parameters() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    net.register_buffer("running", T.clone())
    net.kept = [T]
    assert paths(holding(net)) == ["thing.kept[0]"]
    assert paths(lambda: None, net) == ["module.kept[0]"]


def test_methods_partials_and_objects_that_are_called() -> None:
    class Keeper:
        def __init__(self) -> None:
            self.kept = T

        def keep(self, scale: int = 1) -> None: ...

        def __call__(self) -> Any:
            return SHARED

    keeper = Keeper()
    assert paths(keeper.keep) == ["self.kept"]
    assert sorted(paths(keeper)) == ["SHARED['here']", "self.kept"]
    assert paths(functools.partial(print, [T], end=T)) == ["partial['end']", "partial[0][0]"]


def test_cycles_end_and_depth_is_limited() -> None:
    ring: list[Any] = [T]
    ring.append(ring)
    assert paths(holding(ring)) == ["thing[0]"]
    deep: Any = T
    for _ in range(9):
        deep = [deep]
    assert paths(holding(deep)) == []


def test_of_a_long_list_the_latest_are_looked_at() -> None:
    many = [T] * 1000
    found = paths(holding(many))
    assert len(found) == 64
    assert found[-1] == "thing[999]"


def test_none_of_the_users_code_runs() -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the user's code ran")

    class Dict(dict[str, Any]):
        items = values = keys = __iter__ = __getitem__ = __len__ = __contains__ = refuse

    class List(list[Any]):
        __iter__ = __getitem__ = __len__ = refuse

    class Thing:
        __getattr__ = __getattribute__ = __eq__ = __hash__ = __repr__ = __bool__ = refuse

        @property
        def computed(self) -> Any:
            return refuse()

    class Hiding:
        @property
        def __dict__(self) -> Any:  # type: ignore[override]
            return refuse()

    class Tensor(torch.Tensor):
        @classmethod
        def __torch_function__(cls, *args: Any, **kwargs: Any) -> Any:
            return refuse()

    thing = Thing()
    object.__setattr__(thing, "kept", T)
    own = torch.Tensor._make_subclass(Tensor, T)
    state = (Dict(a=T), List([T]), thing, Hiding(), Slotted(), own)
    found = Reach(64, 200).places(holding(state))
    expected = ["thing[5]", "thing[0]['a']", "thing[1][0]", "thing[2].kept"]
    assert [one.path for one in found] == expected
    assert sorted(seen(holding(state))) == sorted(expected)


@pytest.mark.parametrize(
    ("source", "may"),
    [
        ("lambda g: None", False),
        ("lambda g: g * 2 + 1", False),
        ("lambda g: -g if g is not None else g", False),
        ("lambda g: keep.append(g)", True),
        ("lambda g: keep.__setitem__(0, g)", True),
        ("lambda g: print(g)", True),
        ("lambda g: (yield g)", True),
        ("print", True),
        ("functools.partial(lambda g: None)", True),
    ],
)
def test_only_functions_that_call_or_assign_may_store(source: str, may: bool) -> None:
    assert may_store(eval(source, {"functools": functools, "keep": []})) is may


def test_a_function_that_assigns_to_a_place_may_store() -> None:
    place: list[Any] = [0]
    held = None

    def by_item(g: Any) -> None:
        place[0] = g

    def by_attribute(g: Any) -> None:
        by_attribute.last = g  # type: ignore[attr-defined]

    def by_closure(g: Any) -> None:
        nonlocal held
        held = g

    def by_growing(g: Any) -> None:
        local = place
        local += [g]

    assert all(map(may_store, (by_item, by_attribute, by_closure, by_growing)))
