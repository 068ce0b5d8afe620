"""The report by keys and by links: where the focus goes, what steps, what the address says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import expect

import hooktrace as ht
from hooktrace.report.words import words


def cursor(page: Any) -> int:
    return int(page.locator(".where").inner_text().split()[0].lstrip("#"))


def tab(page: Any, name: str) -> Any:
    return page.locator(f"[role=tab][data-tab={name}]")


def chosen_tab(page: Any) -> str:
    return str(page.locator("[role=tab][aria-selected=true]").get_attribute("data-tab"))


def test_arrows_step_after_a_click_on_a_tab(open_page: Any, small_report: Path) -> None:
    page = open_page(small_report, "#e=3")
    tab(page, "source").click()
    page.keyboard.press("ArrowRight")
    assert (cursor(page), chosen_tab(page)) == (4, "source")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    assert (cursor(page), chosen_tab(page)) == (4, "inspector")


def test_home_and_end_go_to_the_outermost_tabs(open_page: Any, small_report: Path) -> None:
    page = open_page(small_report)
    names = [one.get_attribute("data-tab") for one in page.locator("[role=tab]").all()]
    tab(page, "inspector").focus()
    page.keyboard.press("End")
    assert chosen_tab(page) == names[-1]
    page.keyboard.press("Home")
    assert chosen_tab(page) == names[0]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_event_that_is_none_is_told(
    open_page: Any, small_trace: Any, tmp_path: Path, language: str
) -> None:
    first = small_trace.of(ht.events.HookFired)[0].seq
    path = small_trace.report(tmp_path / "x.html", lang=language)
    page = open_page(path, "#e=99999")
    told = words(language)["no_such_event"].replace("{seq}", "99999")
    expect(page.get_by_text(told)).to_be_visible()
    assert cursor(page) == first
    assert page.url.endswith(f"#e={first}")
    expect(page.locator("#inspector h3.title")).to_contain_text("double")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text(told)).to_be_hidden()
    page.evaluate("() => { location.hash = '#e=77777'; }")
    told = words(language)["no_such_event"].replace("{seq}", "77777")
    expect(page.get_by_text(told)).to_be_visible()
    assert cursor(page) == first + 1


def test_space_on_a_heading_sorts_and_does_not_play(open_page: Any, small_report: Path) -> None:
    page = open_page(small_report, "#e=0")
    tab(page, "modules").click()
    heading = page.locator("#modules th").first
    heading.focus()
    page.keyboard.press("Space")
    expect(heading).to_have_attribute("aria-sort", "descending")
    expect(page.get_by_role("button", name="Play")).not_to_have_attribute("aria-pressed", "true")


def test_a_link_that_is_followed_takes_the_focus_along(
    open_page: Any, small_report: Path, small_trace: Any
) -> None:
    page = open_page(small_report, "#e=0")
    tab(page, "hooks").click()
    link = page.locator("#hooks a").first
    link.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#inspector h3.title")).to_be_focused()
    first = small_trace.of(ht.events.HookFired)[0].seq
    page.keyboard.press("ArrowRight")
    assert cursor(page) == first + 1


def test_back_returns_to_where_a_link_was_followed(open_page: Any, small_report: Path) -> None:
    page = open_page(small_report, "#e=0")
    page.keyboard.press("ArrowRight")
    tab(page, "hooks").click()
    link = page.locator("#hooks a").last
    there = int(str(link.get_attribute("href")).removeprefix("#e="))
    link.click()
    page.keyboard.press("ArrowRight")
    assert cursor(page) == there + 1
    page.go_back()
    expect(page.locator(".where")).to_contain_text("#1 /")
    page.go_forward()
    expect(page.locator(".where")).to_contain_text(f"#{there + 1} /")


def test_shift_and_buttons_stop_at_firings_alone(open_page: Any, tmp_path: Path) -> None:
    page = open_page(registering_trace().report(tmp_path / "x.html"), "#e=0")
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("#inspector .sentence")).to_contain_text("changed nothing")
    here = cursor(page)
    page.keyboard.press("Shift+ArrowRight")
    assert cursor(page) == here
    page.locator("#controls button").first.click()
    assert cursor(page) == here


def registering_trace() -> Any:
    """Registers and removes a hook during the trace; it fires once in between."""
    net = torch.nn.Linear(2, 1)
    with ht.trace(net) as t:
        handle = net.register_forward_hook(lambda *_: None)
        net(torch.ones(1, 2))
        handle.remove()
    return t


def test_the_list_of_events_has_a_name_and_a_current_event(
    open_page: Any, small_report: Path
) -> None:
    page = open_page(small_report, "#e=5")
    tab(page, "events").click()
    rows = page.get_by_role("listbox", name="events")
    rows.focus()
    for seq in (5, 6):
        current = rows.get_attribute("aria-activedescendant")
        expect(page.locator(f"[id='{current}']")).to_contain_text(f"#{seq}")
        expect(page.locator(f"[id='{current}']")).to_have_attribute("aria-selected", "true")
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Home")
    assert cursor(page) == 0
    page.keyboard.press("ArrowRight")
    assert cursor(page) == 1


def test_a_filter_that_finds_nothing_says_so(open_page: Any, small_report: Path) -> None:
    page = open_page(small_report)
    tab(page, "events").click()
    field = page.get_by_role("searchbox", name=words("en")["filter_events"])
    none = page.get_by_text(words("en")["no_event_matches"])
    expect(none).to_be_hidden()
    field.fill("no event has this")
    expect(none).to_be_visible()
    page.locator("select.language").select_option("zh")
    expect(page.get_by_text(words("zh")["no_event_matches"])).to_be_visible()


def test_a_step_is_announced_with_its_title(open_page: Any, small_report: Path) -> None:
    page = open_page(small_report, "#e=0")
    page.keyboard.press("ArrowRight")
    title = page.locator("#inspector h3.title").inner_text()
    expect(page.locator("#controls [aria-live=polite]")).to_contain_text(title)
    expect(page.locator("#controls [aria-live=polite]")).to_contain_text("#1")
