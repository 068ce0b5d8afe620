"""The inspector in a narrow window: numbers scroll, and the arrow points to what comes after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht

HIDDEN = """() => [...document.querySelectorAll("#inspector .matrix td")].filter((cell) => {
  const room = cell.closest(".sides figure, .scroll");
  room.scrollLeft = 1e6;
  const [inner, outer] = [cell, room].map((one) => one.getBoundingClientRect());
  return inner.width && cell === cell.parentNode.lastElementChild && inner.right > outer.right + 1;
}).length"""
PANEL = "(one) => [one.scrollWidth, one.clientWidth]"
TURNED = "(one) => getComputedStyle(one).transform !== 'none'"


def double(module: Any, inputs: Any, output: Any) -> Any:
    return output * 2


@pytest.fixture(scope="module")
def wide_numbers(tmp_path_factory: Any) -> tuple[Path, int]:
    """The report of an edit of two rows of eight numbers, and the event in which it happened."""
    net = nn.Linear(3, 8)
    net.register_forward_hook(double)
    with ht.trace(net) as t:
        net(torch.ones(2, 3))
    path: Path = t.report(tmp_path_factory.mktemp("narrow") / "x.html")
    return path, t.of(ht.events.HookFired)[0].seq


@pytest.mark.parametrize("width", [420, 700, 1400])
def test_all_numbers_can_be_scrolled_to(
    open_page: Any, wide_numbers: tuple[Path, int], width: int
) -> None:
    path, seq = wide_numbers
    page = open_page(path, f"#e={seq}", viewport={"width": width, "height": 900})
    assert page.locator("#inspector .matrix").count() >= 3
    assert page.evaluate(HIDDEN) == 0
    wide, room = page.locator("#inspector").evaluate(PANEL)
    assert wide <= room


def test_the_arrow_points_to_what_comes_after(
    open_page: Any, wide_numbers: tuple[Path, int]
) -> None:
    path, seq = wide_numbers
    page = open_page(path, f"#e={seq}", viewport={"width": 500, "height": 900})

    def turned() -> bool:
        return bool(page.locator(".sides .arrow").evaluate(TURNED))

    def below() -> bool:
        tops = [one.bounding_box()["y"] for one in page.locator(".sides figure").all()]
        return bool(tops[1] > tops[0] + 20)

    assert below()
    assert turned()
    page.set_viewport_size({"width": 3000, "height": 900})
    page.wait_for_function("() => !document.querySelector('.sides.wrapped')")
    assert not below()
    assert not turned()
