"""The inspector in a narrow window: numbers scroll, and the arrow points to what comes after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import expect
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


# ------------------------------------------------------------------ a phone

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
TARGETS = "button, select, summary, a, th[tabindex], .lesson-choice, .row"
TOO_SMALL = """(targets) => [...document.querySelectorAll(targets)].filter((one) => {
  const { width, height } = one.getBoundingClientRect();
  return one.checkVisibility({ visibilityProperty: true }) && (width < 24 || height < 24);
}).map((one) => `${one.tagName} ${one.textContent.trim()}`)"""
WIDER = """() => [document.documentElement, ...document.querySelectorAll(".panel")]
  .filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.id || "page")"""
BROKEN = """(names) => names.flatMap((one) => {
  const range = document.createRange();
  const lines = (text) => (range.selectNodeContents(text), range.getClientRects().length);
  return [...one.childNodes].filter((part) => part.nodeType === 3 && lines(part) > 1)
    .map((part) => part.data);
})"""
OUT_OF_REACH = """(targets) => [...document.querySelectorAll(targets)].filter((one) => {
  if (!one.checkVisibility({ visibilityProperty: true })) return false;
  one.scrollIntoView({ block: "center", inline: "center" });
  const { x, y, width, height } = one.getBoundingClientRect();
  const hit = document.elementFromPoint(x + width / 2, y + height / 2);
  return !hit || !(one.contains(hit) || hit.contains(one));
}).map((one) => `${one.tagName} ${one.textContent.trim()}`)"""


def names_of_tabs(page: Any) -> list[str]:
    return [one.get_attribute("data-tab") for one in page.locator("[role=tab]").all()]


@pytest.fixture(scope="module")
def busy_report(tmp_path_factory: Any) -> Path:
    """A report with something in every panel: hooks of long names, edits, writes, a finding."""

    def a_hook_with_quite_a_long_name(module: Any, inputs: Any, output: Any) -> Any:
        return output * 2

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(inplace=True))
            self.unused = nn.Linear(2, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.features(images)

    torch.manual_seed(0)
    net = Whole()
    net.features[0].register_forward_hook(a_hook_with_quite_a_long_name)
    net.features[0].weight.register_hook(lambda grad: grad * 1.0001)
    net.unused.register_full_backward_hook(lambda *_: None)
    with ht.trace(net, keep=["features.*"], stats=True) as t:
        net(torch.randn(2, 1, 9, 9)).sum().backward()
    maps = t.cam("features.1", target="backward")
    path: Path = t.report(tmp_path_factory.mktemp("phone") / "x.html", cam=maps)
    return path


@pytest.fixture
def on_phone(open_page: Any, busy_report: Path) -> Any:
    return open_page(busy_report, "#e=5", **PHONE)


def test_a_finger_finds_every_target(on_phone: Any) -> None:
    for name in names_of_tabs(on_phone):
        on_phone.locator(f"#tab-{name}").click()
        assert on_phone.evaluate(TOO_SMALL, TARGETS) == [], name
        assert on_phone.evaluate(OUT_OF_REACH, TARGETS) == [], name


@pytest.mark.parametrize("width", [390, 1024, 1400])
def test_nothing_but_tables_and_code_scrolls_sideways(
    open_page: Any, busy_report: Path, width: int
) -> None:
    page = open_page(busy_report, viewport={"width": width, "height": 800})
    last = int(page.locator("#controls .where").inner_text().split(" / ")[1])
    for name in names_of_tabs(page):
        page.locator(f"#tab-{name}").click()
        assert page.evaluate(WIDER) == [], name
    page.locator("#tab-inspector").click()
    for seq in range(last + 1):
        page.evaluate("(hash) => { location.hash = hash; }", f"#e={seq}")
        expect(page.locator("#controls .where")).to_have_text(f"#{seq} / {last}")
        assert page.evaluate(WIDER) == [], seq


def test_the_steps_stay_in_sight_on_a_phone(on_phone: Any) -> None:
    on_phone.locator("#inspector").evaluate("(one) => one.scrollIntoView({ block: 'end' })")
    assert on_phone.evaluate("() => scrollY") > 300
    on_phone.get_by_role("button", name="Next event (→)").tap()
    expect(on_phone.locator("#controls .where")).to_contain_text("#6 /")
    assert on_phone.evaluate("() => scrollY") > 300


def test_names_break_at_their_joints_only(on_phone: Any) -> None:
    on_phone.locator("#tab-hooks").click()
    broken = on_phone.locator("#hooks tbody code").evaluate_all(BROKEN)
    assert broken == []


def test_a_link_opens_where_the_event_is_told(open_page: Any, busy_report: Path) -> None:
    for seq in (0, 5, 20):
        page = open_page(busy_report, f"#e={seq}", **PHONE)
        title = page.locator("#inspector h3.title").bounding_box()
        steps = page.locator(".steps").bounding_box()
        assert steps["y"] + steps["height"] <= title["y"] < 400
    assert open_page(busy_report, **PHONE).evaluate("() => scrollY") == 0
