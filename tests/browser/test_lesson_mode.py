"""Lesson mode: it asks before it shows, by mouse and by keys, and leaves everything as it was."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import expect
from torch import nn

import hooktrace as ht
from hooktrace.report.lessons import lesson_data
from hooktrace.report.words import words
from hooktrace.views.calls import CallIndex

VEILED = re.compile(r"\blesson-veiled\b")
ON = re.compile(r"\blesson-on\b")


def double(module: Any, args: Any, output: Any) -> Any:
    return output * 2


def look(module: Any, args: Any, output: Any) -> None:
    pass


@pytest.fixture(scope="session")
def lesson_trace() -> Any:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 1))
    net[0].register_forward_hook(double)
    net[1].register_forward_hook(look)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    return t


@pytest.fixture(scope="session")
def lesson_stops(lesson_trace: Any) -> list[dict[str, Any]]:
    log = lesson_trace.log
    found: list[dict[str, Any]] = lesson_data(log, CallIndex(log).refresh())["stops"]
    assert len(found) >= 4
    return found


@pytest.fixture(scope="session")
def lesson_report(lesson_trace: Any, tmp_path_factory: Any) -> Path:
    path: Path = lesson_trace.report(tmp_path_factory.mktemp("lesson") / "lesson.html")
    return path


def begin(page: Any) -> None:
    page.locator("[role=tab][data-tab=lesson]").click()
    page.locator("#lesson button.main").click()


def choice(page: Any, place: int) -> Any:
    return page.locator(".lesson-choice").nth(place)


def at(page: Any) -> str:
    return str(page.locator(".where").inner_text()).split()[0]


def veil(page: Any) -> str:
    """What stands on what is hidden."""
    text = page.evaluate("() => document.documentElement.style.getPropertyValue('--veil')")
    return str(json.loads(text))


def answer(page: Any, stop: dict[str, Any], *, wrong_first: bool = False) -> None:
    """Answer by keys."""
    if wrong_first:
        page.keyboard.press(str((stop["right"] + 1) % len(stop["choices"]) + 1))
        page.keyboard.press("Enter")
    page.keyboard.press(str(stop["right"] + 1))
    page.keyboard.press("Enter")


def test_a_stop_veils_what_comes_after(
    open_page: Any, lesson_report: Path, lesson_stops: list[dict[str, Any]]
) -> None:
    page = open_page(lesson_report)
    begin(page)
    stop = lesson_stops[0]
    root = page.locator("html")
    expect(root).to_have_class(VEILED)
    assert at(page) == f"#{stop['cursor']}"
    for name in ("graph", "timeline"):
        expect(page.locator(f"#{name} > h2")).not_to_be_visible()
    for name in ("inspector", "hooks", "findings", "modules"):
        page.locator(f"[role=tab][data-tab={name}]").click()
        expect(page.locator(f"#{name} > :first-child")).to_have_css("visibility", "hidden")
    page.locator("[role=tab][data-tab=events]").click()
    seqs = [int(one.lstrip("#")) for one in page.locator("#events .row .seq").all_inner_texts()]
    assert max(seqs) == stop["cursor"]


def test_the_cursor_does_not_pass_a_stop(
    open_page: Any, lesson_report: Path, lesson_stops: list[dict[str, Any]]
) -> None:
    page = open_page(lesson_report)
    begin(page)
    here = f"#{lesson_stops[0]['cursor']}"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.evaluate("() => { location.hash = '#e=20'; }")
    page.keyboard.press("Space")
    page.wait_for_timeout(350)
    assert at(page) == here
    page.keyboard.press("ArrowLeft")
    assert at(page) != here


def test_a_right_answer_unveils_and_goes_to_the_proof(
    open_page: Any, lesson_report: Path, lesson_stops: list[dict[str, Any]]
) -> None:
    page = open_page(lesson_report)
    begin(page)
    stop = lesson_stops[0]
    choice(page, stop["right"]).click()
    page.locator("#lesson button.main").click()
    status = page.locator("#lesson [role=status]")
    expect(status).to_have_text(f"✓ {words('en')['lesson_right']}")
    expect(status).to_have_attribute("aria-live", "polite")
    expect(page.locator("html")).not_to_have_class(VEILED)
    expect(choice(page, stop["right"])).to_contain_text(words("en")["lesson_mark_right"])
    assert at(page) == f"#{stop['proof']}"
    expect(page.locator(".lesson-why")).not_to_be_empty()
    page.locator(f"#lesson a[href='#e={stop['proof']}']").click()
    expect(page.locator("#inspector")).to_have_class(re.compile("shown"))


def test_a_wrong_answer_is_marked_and_one_may_think_again(
    open_page: Any, lesson_report: Path, lesson_stops: list[dict[str, Any]]
) -> None:
    page = open_page(lesson_report)
    begin(page)
    stop = lesson_stops[0]
    wrong = (stop["right"] + 1) % len(stop["choices"])
    page.keyboard.press("Enter")
    expect(page.locator("#lesson [role=status]")).to_have_text(words("en")["lesson_choose"])
    page.keyboard.press(str(wrong + 1))
    page.keyboard.press("Enter")
    expect(page.locator("#lesson [role=status]")).to_have_text(f"✗ {words('en')['lesson_wrong']}")
    expect(choice(page, wrong)).to_contain_text("✗")
    expect(choice(page, wrong).locator("input")).to_be_disabled()
    expect(page.locator("html")).to_have_class(VEILED)
    expect(choice(page, stop["right"])).not_to_contain_text("✓")
    assert at(page) == f"#{stop['cursor']}"


def test_by_keys_alone_to_the_score(
    open_page: Any, lesson_report: Path, lesson_stops: list[dict[str, Any]]
) -> None:
    page = open_page(lesson_report)
    begin(page)
    for number, stop in enumerate(lesson_stops):
        answer(page, stop, wrong_first=number == 1)
        page.keyboard.press("Enter")
    count = len(lesson_stops)
    expect(page.locator(".lesson-score")).to_have_text(
        f"{count - 1} of {count} right at the first try"
    )
    page.locator("#lesson button", has_text=words("en")["lesson_again"]).click()
    expect(page.locator(".lesson-question")).to_contain_text(f"Question 1 of {count}")


def test_showing_the_answer_does_not_count(
    open_page: Any, lesson_report: Path, lesson_stops: list[dict[str, Any]]
) -> None:
    page = open_page(lesson_report)
    begin(page)
    page.locator("#lesson button", has_text=words("en")["lesson_show"]).click()
    expect(choice(page, lesson_stops[0]["right"])).to_contain_text("✓")
    expect(page.locator("#lesson [role=status]")).to_have_text(words("en")["lesson_shown"])
    page.locator("#lesson button", has_text=words("en")["lesson_exit"]).click()
    expect(page.locator(".lesson-score")).to_have_text(
        f"0 of {len(lesson_stops)} right at the first try"
    )


def test_one_may_start_again_in_the_middle(
    open_page: Any, lesson_report: Path, lesson_stops: list[dict[str, Any]]
) -> None:
    page = open_page(lesson_report)
    begin(page)
    answer(page, lesson_stops[0])
    page.locator("#lesson button", has_text=words("en")["lesson_exit"]).click()
    page.locator("#lesson button", has_text=words("en")["lesson_again"]).click()
    expect(page.locator(".lesson-question")).to_contain_text("Question 1")


def test_leaving_puts_everything_back(open_page: Any, lesson_report: Path) -> None:
    page = open_page(lesson_report, "#e=7")
    page.locator("[role=tab][data-tab=lesson]").click()
    before = page.evaluate("() => document.documentElement.className")
    page.locator("#lesson button.main").click()
    expect(page.locator("html")).to_have_class(ON)
    page.locator("#lesson button", has_text=words("en")["lesson_exit"]).click()
    assert page.evaluate("() => document.documentElement.className") == before
    assert at(page) == "#7"
    expect(page.locator("#graph > h2")).to_be_visible()
    page.keyboard.press("ArrowRight")
    assert at(page) == "#8"
    page.locator("[role=tab][data-tab=events]").click()
    page.locator("#events .rows").evaluate("(one) => { one.scrollTop = one.scrollHeight; }")
    expect(page.locator("#events .row").last).to_contain_text("backward done")


def test_the_score_is_kept_for_the_next_time(
    open_page: Any, lesson_report: Path, lesson_stops: list[dict[str, Any]]
) -> None:
    page = open_page(lesson_report)
    begin(page)
    answer(page, lesson_stops[0])
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    page.locator("[role=tab][data-tab=lesson]").click()
    expect(page.locator(".lesson-score")).to_have_text(
        f"1 of {len(lesson_stops)} right at the first try"
    )
    page.locator("#lesson button", has_text=words("en")["lesson_continue"]).click()
    expect(page.locator(".lesson-question")).to_contain_text("Question 2")


def test_without_storage_the_lesson_works_all_the_same(
    open_page: Any, lesson_report: Path, lesson_stops: list[dict[str, Any]], tmp_path: Path
) -> None:
    outer = tmp_path / "frame.html"
    inner = lesson_report.read_text("utf-8").replace("&", "&amp;").replace('"', "&quot;")
    outer.write_text(
        f'<html data-ready><iframe sandbox="allow-scripts" width="1200" height="800" '
        f'srcdoc="{inner}"></iframe></html>',
        "utf-8",
    )
    page = open_page(outer)
    frame = page.frame_locator("iframe")
    frame.locator("[role=tab][data-tab=lesson]").click()
    frame.locator("#lesson button.main").click()
    frame.locator(".lesson-choice").nth(lesson_stops[0]["right"]).click()
    frame.locator("#lesson button.main").click()
    expect(frame.locator("#lesson [role=status]")).to_contain_text("✓")


@pytest.mark.parametrize("kept", ["nonsense", '{"a": 1}', "[]", "null"])
def test_what_is_stored_wrongly_is_ignored(
    open_page: Any, lesson_report: Path, lesson_trace: Any, kept: str
) -> None:
    log = lesson_trace.log
    key = f"hooktrace-lesson-{lesson_data(log, CallIndex(log).refresh())['id']}"
    page = open_page(lesson_report)
    page.evaluate("([key, kept]) => localStorage.setItem(key, kept)", [key, kept])
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    begin(page)
    expect(page.locator(".lesson-question")).to_contain_text("Question 1")


def test_the_lesson_speaks_chinese_and_changes_its_language_on_the_way(
    open_page: Any, lesson_report: Path, lesson_stops: list[dict[str, Any]]
) -> None:
    page = open_page(lesson_report, locale="zh-CN")
    begin(page)
    count = len(lesson_stops)
    number = words("zh")["lesson_place"].format(number=1, count=count)
    expect(page.locator(".lesson-question")).to_contain_text(number)
    assert veil(page) == words("zh")["lesson_veiled"]
    page.keyboard.press("1")
    page.locator("select.language").select_option("en")
    expect(page.locator(".lesson-question")).to_contain_text(f"Question 1 of {count}")
    expect(choice(page, 0).locator("input")).to_be_checked()
    expect(page.locator("html")).to_have_class(VEILED)
    assert veil(page) == words("en")["lesson_veiled"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_just_happened_is_told_as_the_inspector_tells_it(
    open_page: Any, lesson_trace: Any, tmp_path: Path, language: str
) -> None:
    page = open_page(lesson_trace.report(tmp_path / "x.html", lang=language))
    begin(page)
    sentence = page.locator("#inspector .sentence").text_content()
    expect(page.locator(".lesson-question .lesson-now")).to_contain_text(sentence)
    page.locator("#lesson button", has_text=words(language)["lesson_show"]).click()
    sentence = page.locator("#inspector .sentence").text_content()
    expect(page.locator("#lesson .lesson-now").last).to_contain_text(sentence)


def test_the_code_of_the_hook_is_shown_where_reading_it_tells(
    open_page: Any, lesson_report: Path, lesson_stops: list[dict[str, Any]]
) -> None:
    page = open_page(lesson_report)
    begin(page)
    for stop in lesson_stops:
        code = page.locator("#lesson pre.code")
        assert code.count() == (1 if "hook" in stop else 0)
        if "hook" in stop:
            expect(code).to_contain_text("def ")
        answer(page, stop)
        page.keyboard.press("Enter")
    assert any("hook" in one for one in lesson_stops)


def test_keys_of_the_lesson_work_after_a_look_at_another_tab(
    open_page: Any, lesson_report: Path, lesson_stops: list[dict[str, Any]]
) -> None:
    page = open_page(lesson_report)
    begin(page)
    page.locator("[role=tab][data-tab=source]").click()
    page.locator("[role=tab][data-tab=lesson]").click()
    expect(page.locator("#lesson-question")).to_be_focused()
    answer(page, lesson_stops[0])
    expect(page.locator("#lesson [role=status]")).to_have_text(f"✓ {words('en')['lesson_right']}")
    page.keyboard.press("Enter")
    page.locator("#lesson button", has_text=words("en")["lesson_show"]).focus()
    page.keyboard.press("1")
    expect(choice(page, 0).locator("input")).to_be_checked()
    page.locator("#lesson button", has_text=words("en")["lesson_show"]).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#lesson [role=status]")).to_have_text(words("en")["lesson_shown"])


def test_keys_of_the_lesson_do_nothing_in_a_field(open_page: Any, lesson_report: Path) -> None:
    page = open_page(lesson_report)
    begin(page)
    page.evaluate("() => document.querySelector('header').append(document.createElement('input'))")
    page.locator("header input").focus()
    page.keyboard.type("1")
    assert page.locator(".lesson-choice input:checked").count() == 0
    page.locator("#lesson-question").focus()
    page.keyboard.type("1")
    assert page.locator(".lesson-choice input:checked").count() == 1


def test_a_trace_without_questions_says_so(open_page: Any, tmp_path: Path) -> None:
    net = nn.Linear(1, 1)
    with ht.trace(net) as t, torch.no_grad():
        net(torch.ones(1, 1))
    page = open_page(t.report(tmp_path / "none.html"))
    page.locator("[role=tab][data-tab=lesson]").click()
    expect(page.locator("#lesson .body")).to_contain_text(words("en")["lesson_none"])
