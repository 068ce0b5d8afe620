"""Plug-ins are found by name; names are taken once; unknown ones are met with the nearest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hooktrace import _registry
from hooktrace._registry import Registry
from hooktrace.errors import UnknownNameError


@pytest.fixture
def shapes() -> Registry[Callable[[], str]]:
    registry: Registry[Callable[[], str]] = Registry("shapes")

    @registry.register("circle", "disc")
    def _circle() -> str:
        return "round"

    @registry.register("square")
    def _square() -> str:
        return "angular"

    return registry


def test_a_plug_in_is_found_by_each_of_its_names(shapes: Registry[Any]) -> None:
    assert shapes["circle"] is shapes["disc"]
    assert shapes["circle"]() == "round"
    assert "disc" in shapes
    assert "cube" not in shapes


def test_the_names_come_sorted(shapes: Registry[Any]) -> None:
    assert list(shapes) == ["circle", "disc", "square"]


def test_registering_returns_the_plug_in_itself() -> None:
    def plugin() -> None:
        """Do nothing."""

    registry: Registry[Any] = Registry("things")
    assert registry.register("thing")(plugin) is plugin


def test_a_name_that_is_taken_is_refused_and_the_first_one_stays(shapes: Registry[Any]) -> None:
    first = shapes["square"]
    with pytest.raises(ValueError, match="shapes: the name 'square' is taken already"):
        shapes.register("square")(lambda: "another")
    assert shapes["square"] is first


def test_an_unknown_name_is_met_with_the_nearest(shapes: Registry[Any]) -> None:
    with pytest.raises(UnknownNameError, match=r"there is no 'sqare'\. Did you mean 'square'"):
        shapes["sqare"]


def test_a_name_like_no_other_is_met_with_all_there_are(shapes: Registry[Any]) -> None:
    with pytest.raises(UnknownNameError, match="There are: 'circle', 'disc', 'square'"):
        shapes["zzz"]


def test_an_empty_registry_only_says_that_there_is_none() -> None:
    with pytest.raises(UnknownNameError) as caught:
        Registry[Any]("things")["thing"]
    assert str(caught.value) == "things: there is no 'thing'."


class Point:
    """Stands for an installed entry point."""

    def __init__(self, name: str, plugin: Any) -> None:
        self.name = name
        self.loaded = 0
        self._plugin = plugin

    def load(self) -> Any:
        self.loaded += 1
        return self._plugin


def test_a_third_party_plug_in_is_loaded_when_its_name_is_unknown(
    shapes: Registry[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    point = Point("star", "pointed")

    def entry_points(group: str) -> list[Point]:
        asked.append(group)
        return [point]

    monkeypatch.setattr(_registry, "entry_points", entry_points)
    assert shapes["circle"]() == "round"
    assert (asked, point.loaded) == ([], 0)
    assert shapes["star"] == "pointed"
    assert "star" in shapes
    assert list(shapes) == ["circle", "disc", "square", "star"]
    assert (asked, point.loaded) == (["hooktrace.shapes"], 1)


def test_a_third_party_cannot_take_a_name_of_ours(
    shapes: Registry[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_registry, "entry_points", lambda group: [Point("circle", "theirs")])
    assert "nothing" not in shapes
    assert shapes["circle"]() == "round"
