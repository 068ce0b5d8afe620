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


def show(page: Any, tab: str) -> None:
    page.locator(f"[role=tab][data-tab={tab}]").click()


def begin(page: Any) -> None:
    show(page, "lesson")
    page.locator("#lesson button.main").click()


@pytest.fixture
def begun(open_page: Any, lesson_report: Path) -> Any:
    """The page, at the first question of the lesson."""
    page = open_page(lesson_report)
    begin(page)
    return page


def button(page: Any, what: str, language: str = "en") -> Any:
    return page.locator("#lesson button", has_text=words(language)[f"lesson_{what}"])


def status(page: Any) -> Any:
    return page.locator("#lesson [role=status]")


def reload(page: Any) -> None:
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")


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


def test_a_stop_veils_what_comes_after(begun: Any, lesson_stops: list[dict[str, Any]]) -> None:
    stop = lesson_stops[0]
    root = begun.locator("html")
    expect(root).to_have_class(VEILED)
    assert at(begun) == f"#{stop['cursor']}"
    for name in ("graph", "timeline"):
        expect(begun.locator(f"#{name} > h2")).not_to_be_visible()
    for name in ("inspector", "hooks", "findings", "modules"):
        show(begun, name)
        expect(begun.locator(f"#{name} > :first-child")).to_have_css("visibility", "hidden")
    show(begun, "events")
    seqs = [int(one.lstrip("#")) for one in begun.locator("#events .row .seq").all_inner_texts()]
    assert max(seqs) == stop["cursor"]


def test_the_cursor_does_not_pass_a_stop(begun: Any, lesson_stops: list[dict[str, Any]]) -> None:
    here = f"#{lesson_stops[0]['cursor']}"
    begun.keyboard.press("ArrowRight")
    begun.keyboard.press("Shift+ArrowRight")
    begun.evaluate("() => { location.hash = '#e=20'; }")
    begun.keyboard.press("Space")
    begun.wait_for_timeout(350)
    assert at(begun) == here
    begun.keyboard.press("ArrowLeft")
    assert at(begun) != here


def test_a_right_answer_unveils_and_goes_to_the_proof(
    begun: Any, lesson_stops: list[dict[str, Any]]
) -> None:
    stop = lesson_stops[0]
    choice(begun, stop["right"]).click()
    begun.locator("#lesson button.main").click()
    told = status(begun)
    expect(told).to_have_text(f"✓ {words('en')['lesson_right']}")
    expect(told).to_have_attribute("aria-live", "polite")
    expect(begun.locator("html")).not_to_have_class(VEILED)
    expect(choice(begun, stop["right"])).to_contain_text(words("en")["lesson_mark_right"])
    assert at(begun) == f"#{stop['proof']}"
    expect(begun.locator(".lesson-why")).not_to_be_empty()
    begun.locator(f"#lesson a[href='#e={stop['proof']}']").click()
    expect(begun.locator("#inspector")).to_have_class(re.compile("shown"))


def test_a_wrong_answer_is_marked_and_one_may_think_again(
    begun: Any, lesson_stops: list[dict[str, Any]]
) -> None:
    stop = lesson_stops[0]
    wrong = (stop["right"] + 1) % len(stop["choices"])
    begun.keyboard.press("Enter")
    expect(status(begun)).to_have_text(words("en")["lesson_choose"])
    begun.keyboard.press(str(wrong + 1))
    begun.keyboard.press("Enter")
    expect(status(begun)).to_have_text(f"✗ {words('en')['lesson_wrong']}")
    expect(choice(begun, wrong)).to_contain_text("✗")
    expect(choice(begun, wrong).locator("input")).to_be_disabled()
    expect(begun.locator("html")).to_have_class(VEILED)
    expect(choice(begun, stop["right"])).not_to_contain_text("✓")
    assert at(begun) == f"#{stop['cursor']}"


def test_by_keys_alone_to_the_score(begun: Any, lesson_stops: list[dict[str, Any]]) -> None:
    for number, stop in enumerate(lesson_stops):
        answer(begun, stop, wrong_first=number == 1)
        begun.keyboard.press("Enter")
    count = len(lesson_stops)
    expect(begun.locator(".lesson-score")).to_have_text(
        f"{count - 1} of {count} right at the first try"
    )
    button(begun, "again").click()
    expect(begun.locator(".lesson-question")).to_contain_text(f"Question 1 of {count}")


def test_showing_the_answer_does_not_count(begun: Any, lesson_stops: list[dict[str, Any]]) -> None:
    button(begun, "show").click()
    expect(choice(begun, lesson_stops[0]["right"])).to_contain_text("✓")
    expect(status(begun)).to_have_text(words("en")["lesson_shown"])
    button(begun, "exit").click()
    expect(begun.locator(".lesson-score")).to_have_text(
        f"0 of {len(lesson_stops)} right at the first try"
    )


def test_one_may_start_again_in_the_middle(begun: Any, lesson_stops: list[dict[str, Any]]) -> None:
    answer(begun, lesson_stops[0])
    button(begun, "exit").click()
    button(begun, "again").click()
    expect(begun.locator(".lesson-question")).to_contain_text("Question 1")


def test_leaving_puts_everything_back(open_page: Any, lesson_report: Path) -> None:
    page = open_page(lesson_report, "#e=7")
    show(page, "lesson")
    before = page.evaluate("() => document.documentElement.className")
    page.locator("#lesson button.main").click()
    expect(page.locator("html")).to_have_class(ON)
    button(page, "exit").click()
    assert page.evaluate("() => document.documentElement.className") == before
    assert at(page) == "#7"
    expect(page.locator("#graph > h2")).to_be_visible()
    page.keyboard.press("ArrowRight")
    assert at(page) == "#8"
    show(page, "events")
    page.locator("#events .rows").evaluate("(one) => { one.scrollTop = one.scrollHeight; }")
    expect(page.locator("#events .row").last).to_contain_text("backward done")


def test_the_score_is_kept_for_the_next_time(
    begun: Any, lesson_stops: list[dict[str, Any]]
) -> None:
    answer(begun, lesson_stops[0])
    reload(begun)
    show(begun, "lesson")
    expect(begun.locator(".lesson-score")).to_have_text(
        f"1 of {len(lesson_stops)} right at the first try"
    )
    button(begun, "continue").click()
    expect(begun.locator(".lesson-question")).to_contain_text("Question 2")


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
    show(frame, "lesson")
    frame.locator("#lesson button.main").click()
    frame.locator(".lesson-choice").nth(lesson_stops[0]["right"]).click()
    frame.locator("#lesson button.main").click()
    expect(status(frame)).to_contain_text("✓")


@pytest.mark.parametrize("kept", ["nonsense", '{"a": 1}', "[]", "null"])
def test_what_is_stored_wrongly_is_ignored(
    open_page: Any, lesson_report: Path, lesson_trace: Any, kept: str
) -> None:
    log = lesson_trace.log
    key = f"hooktrace-lesson-{lesson_data(log, CallIndex(log).refresh())['id']}"
    page = open_page(lesson_report)
    page.evaluate("([key, kept]) => localStorage.setItem(key, kept)", [key, kept])
    reload(page)
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
    button(page, "show", language).click()
    sentence = page.locator("#inspector .sentence").text_content()
    expect(page.locator("#lesson .lesson-now").last).to_contain_text(sentence)


def test_the_code_of_the_hook_is_shown_where_reading_it_tells(
    begun: Any, lesson_stops: list[dict[str, Any]]
) -> None:
    for stop in lesson_stops:
        code = begun.locator("#lesson pre.code")
        assert code.count() == (1 if "hook" in stop else 0)
        if "hook" in stop:
            expect(code).to_contain_text("def ")
        answer(begun, stop)
        begun.keyboard.press("Enter")
    assert any("hook" in one for one in lesson_stops)


def test_keys_of_the_lesson_work_after_a_look_at_another_tab(
    begun: Any, lesson_stops: list[dict[str, Any]]
) -> None:
    show(begun, "source")
    show(begun, "lesson")
    expect(begun.locator("#lesson-question")).to_be_focused()
    answer(begun, lesson_stops[0])
    expect(status(begun)).to_have_text(f"✓ {words('en')['lesson_right']}")
    begun.keyboard.press("Enter")
    button(begun, "show").focus()
    begun.keyboard.press("1")
    expect(choice(begun, 0).locator("input")).to_be_checked()
    button(begun, "show").focus()
    begun.keyboard.press("Enter")
    expect(status(begun)).to_have_text(words("en")["lesson_shown"])


def test_keys_of_the_lesson_do_nothing_in_a_field(begun: Any) -> None:
    begun.evaluate("() => document.querySelector('header').append(document.createElement('input'))")
    begun.locator("header input").focus()
    begun.keyboard.type("1")
    assert begun.locator(".lesson-choice input:checked").count() == 0
    begun.locator("#lesson-question").focus()
    begun.keyboard.type("1")
    assert begun.locator(".lesson-choice input:checked").count() == 1


def test_a_trace_without_questions_says_so(open_page: Any, tmp_path: Path) -> None:
    net = nn.Linear(1, 1)
    with ht.trace(net) as t, torch.no_grad():
        net(torch.ones(1, 1))
    page = open_page(t.report(tmp_path / "none.html"))
    show(page, "lesson")
    expect(page.locator("#lesson .body")).to_contain_text(words("en")["lesson_none"])
