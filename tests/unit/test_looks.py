"""What is new between two looks, however large the containers are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch

from hooktrace.looks import Looks

T = torch.ones(2)


def new_after(thing: Any, change: Callable[[Any], None]) -> list[str]:
    """Return the ways to what a change puts into a thing that a function can reach."""
    looks = Looks(64, 200)
    before = looks.look(lambda: thing)
    before.things = [], []
    change(thing)
    after = looks.look(lambda: thing, None, before)
    new, _ = after.changes(before, set())
    return [one.path for one in new]


def many(count: int = 1000) -> list[Any]:
    return [torch.zeros(1) for _ in range(count)]


def put(key: Any, value: Any = T) -> Callable[[Any], None]:
    return lambda thing: thing.__setitem__(key, value)


@pytest.mark.parametrize(
    ("thing", "change", "expected"),
    [
        (dict(enumerate(many())), put(3), ["thing[3]"]),
        (dict(enumerate(many())), put("new"), ["thing['new']"]),
        (dict(enumerate(many())), put(3, (T, T.clone())), ["thing[3][0]", "thing[3][1]"]),
        (dict(enumerate(many())), lambda thing: thing.pop(3), []),
        (dict(enumerate(many(5000))), put(4000), ["thing[4000]"]),
        (dict(enumerate(many(5000))), put(5001), ["thing[5001]"]),
        (many(), put(3), ["thing[3]"]),
        (many(5000), put(4000), ["thing[4000]"]),
        (many(5000), lambda thing: thing.append(T), ["thing[5000]"]),
        (many(), lambda thing: thing.append(T), ["thing[1000]"]),
        (deque(many(), 1000), lambda thing: thing.append(T), ["thing[999]"]),
        ([{3: [torch.zeros(1)]}], lambda thing: thing[0][3].append(T), ["thing[0][3][1]"]),
        ([[number] for number in range(90)], put(2, [T]), ["thing[2][0]"]),
        (dict[str, Any](), lambda thing: thing.update(a={"b": T}), ["thing['a']['b']"]),
        (many(), lambda thing: None, []),
    ],
)
def test_only_what_changed_is_new(
    thing: Any, change: Callable[[Any], None], expected: list[str]
) -> None:
    assert new_after(thing, change) == expected


def test_what_was_there_already_and_was_given_is_told_apart() -> None:
    thing: dict[str, Any] = {"a": T, "b": torch.zeros(1)}
    looks = Looks(64, 200)
    before = looks.look(lambda: thing)
    thing["c"] = T
    new, old = looks.look(lambda: thing, None, before).changes(before, {id(T)})
    assert [one.path for one in new] == ["thing['c']"]
    assert [one.path for one in old] == ["thing['a']"]


def test_the_ways_to_one_tensor_are_found_in_a_large_container() -> None:
    thing = {**dict(enumerate(many())), "last": 0}
    thing[2] = T
    assert Looks(64, 200).paths_of(T, lambda: thing) == ["thing[2]"]
