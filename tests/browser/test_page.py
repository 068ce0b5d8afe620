"""The page as a whole: it opens, steps, keeps its address, and speaks two languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

import hooktrace as ht


def cursor(page: Any) -> int:
    return int(page.locator(".where").inner_text().split()[0].lstrip("#"))


def test_the_page_begins_at_the_first_hook(open_page: Any, small_report: Path) -> None:
    page = open_page(small_report)
    page.locator("[role=tab][data-tab=events]").click()
    expect(page.locator(".row[aria-selected=true]")).to_contain_text("double")


def test_arrows_step_and_shift_steps_from_hook_to_hook(
    open_page: Any, small_report: Path, small_trace: Any
) -> None:
    fired = [one.seq for one in small_trace.of(ht.events.HookFired)]
    page = open_page(small_report, "#e=0")
    page.keyboard.press("ArrowRight")
    assert cursor(page) == 1
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert cursor(page) == fired[1]
    page.keyboard.press("Shift+ArrowLeft")
    assert cursor(page) == fired[0]


def test_a_link_opens_at_its_event_and_follows_the_cursor(
    open_page: Any, small_report: Path
) -> None:
    page = open_page(small_report, "#e=5")
    assert cursor(page) == 5
    page.keyboard.press("ArrowLeft")
    assert page.url.endswith("#e=4")


def test_play_goes_on_to_the_end(open_page: Any, small_report: Path, small_trace: Any) -> None:
    last = small_trace.events[-1].seq
    page = open_page(small_report, f"#e={last - 3}")
    page.locator(".pace").select_option("30")
    page.keyboard.press("Space")
    expect(page.locator(".where")).to_have_text(f"#{last} / {last}")


@pytest.mark.parametrize(("locale", "word"), [("en-US", "Findings"), ("zh-CN", "诊断")])
def test_the_page_speaks_the_language_of_the_browser(
    open_page: Any, small_report: Path, locale: str, word: str
) -> None:
    page = open_page(small_report, locale=locale)
    assert page.locator("[role=tab][data-tab=findings]").inner_text().startswith(word)


def test_the_report_lives_in_the_frame_of_a_notebook(open_page: Any, small_trace: Any) -> None:
    bundle = small_trace._repr_mimebundle_()
    page = open_page(f"<!doctype html><body>{bundle['text/html']}</body>", framed=True)
    frame = page.frame_locator("iframe")
    frame.locator("[role=tab][data-tab=hooks]").click()
    expect(frame.locator("#hooks")).to_contain_text("double")
    (first, *_) = [one.seq for one in small_trace.of(ht.events.HookFired)]
    where = frame.locator(".where")
    frame.get_by_role("button", name="Next event (→)").click()
    expect(where).to_contain_text(f"#{first + 1} /")
    frame.locator("#hooks a").first.click()
    expect(where).to_contain_text(f"#{first} /")


def test_without_scripts_everything_is_there_to_read(open_page: Any, small_report: Path) -> None:
    page = open_page(small_report, java_script_enabled=False)
    text = page.locator("main").inner_text()
    assert (
        "#1 forward hook double changed output x2" in page.locator("#overview svg").text_content()
    )
    assert "forward hook double on 0: output returned, x2" in text
    assert "Linear" in page.locator("#modules").inner_text()
    page.locator("#events summary").first.click()
    assert "ForwardStarted" not in text
    assert page.locator("#events li").count() > 20
    assert page.locator(".needs-script:visible").count() == 0


def test_all_headings_begin_large(open_page: Any, small_report: Path) -> None:
    page = open_page(small_report, java_script_enabled=False)
    headings = page.locator("h2:visible").all_inner_texts()
    assert "Events" in headings
    assert [one for one in headings if one[0].islower()] == []


def test_tables_are_sorted_by_their_headings(open_page: Any, small_report: Path) -> None:
    page = open_page(small_report)
    page.locator("[role=tab][data-tab=modules]").click()
    heading = page.locator("#modules th", has_text="params")
    cells = page.locator("#modules tbody td:nth-child(2)")

    def numbers() -> list[int]:
        return [int(cell.inner_text().replace("\u2013", "0")) for cell in cells.all()]

    given = numbers()
    assert given == [26, 16, 0, 10]
    heading.click()
    assert numbers() == sorted(given, reverse=True)
    heading.press("Enter")
    assert numbers() == sorted(given)
    heading.click()
    assert numbers() == given


@pytest.mark.parametrize(
    ("options", "theme"),
    [({"color_scheme": "dark"}, "dark"), ({"color_scheme": "light"}, "light")],
)
def test_light_or_dark_as_the_reader_wants(
    open_page: Any, small_report: Path, options: Any, theme: str
) -> None:
    page = open_page(small_report, **options)

    def brightness() -> int:
        colour = page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))

    before = brightness()
    assert (before < 200) == (theme == "dark")
    page.get_by_role("button", name="Light or dark").click()
    assert (brightness() < 200) != (theme == "dark")


def test_the_language_can_be_chosen(open_page: Any, small_trace: Any, tmp_path: Path) -> None:
    page = open_page(small_trace.report(tmp_path / "zh.html", lang="zh"), locale="en-US")
    assert page.locator("html").get_attribute("lang") == "zh"
    page.locator("select.language").select_option("en")
    assert page.locator("[role=tab][data-tab=hooks]").inner_text() == "Hooks"


def test_tabs_are_worked_by_keys(open_page: Any, small_report: Path) -> None:
    page = open_page(small_report, "#e=3")
    page.locator("[role=tab]").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("[role=tab][aria-selected=true]").get_attribute("data-tab") == "source"
    assert cursor(page) == 3
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "source"


def test_everything_that_can_be_read_is_printed(open_page: Any, small_report: Path) -> None:
    page = open_page(small_report, color_scheme="dark")
    expect(page.locator("#modules")).to_be_hidden()
    page.evaluate("() => document.querySelectorAll('details').forEach((one) => (one.open = false))")
    page.emulate_media(media="print")
    for name in ("overview", "findings", "hooks", "modules", "events", "about"):
        expect(page.locator(f"#{name}")).to_be_visible()
    for name in ("controls", "tabs", "graph", "timeline"):
        expect(page.locator(f"#{name}")).to_be_hidden()
    expect(page.locator("#events .body")).to_be_hidden()
    expect(page.locator("#events li").first).to_be_visible()


def test_without_scripts_links_lead_to_their_events(open_page: Any, small_report: Path) -> None:
    page = open_page(small_report, java_script_enabled=False)
    link = page.locator("#hooks a").first
    seq = str(link.get_attribute("href")).removeprefix("#e=")
    link.click()
    expect(page.locator("#events li:target")).to_be_in_viewport()
    expect(page.locator("#events li:target a")).to_have_text(f"#{seq}")


def test_the_table_of_modules_is_whole_at_a_common_width(
    open_page: Any, small_report: Path
) -> None:
    for locale in ("en-US", "zh-CN"):
        page = open_page(small_report, locale=locale)
        page.locator("[role=tab][data-tab=modules]").click()
        scroller = page.locator("#modules .scroll")
        wide, room = scroller.evaluate("(one) => [one.scrollWidth, one.clientWidth]")
        assert wide <= room
        page.set_viewport_size({"width": 420, "height": 900})
        moved, name, left = scroller.evaluate(
            """(one) => {
                one.scrollLeft = 50;
                const left = (it) => it.getBoundingClientRect().left;
                return [one.scrollLeft, left(one.querySelector("td")), left(one)];
            }"""
        )
        assert moved > 0
        assert name == left
