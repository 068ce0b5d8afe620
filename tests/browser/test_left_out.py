"""A page from which much was left out for its size works with what it has, and says so."""

from __future__ import annotations

from typing import Any

import pytest
from long_log import long_log
from playwright.sync_api import expect

from hooktrace.report import Extras, Options, page
from hooktrace.views.calls import CallIndex

LIMIT = 400_000


@pytest.fixture(scope="module")
def cut() -> str:
    log = long_log(60_000)
    return page(log, CallIndex(log).refresh(), Extras(), Options(limit_bytes=LIMIT))


def test_it_keeps_the_limit(cut: str) -> None:
    assert len(cut.encode()) <= LIMIT


def test_it_can_be_stepped_through_to_its_last_event(open_page: Any, cut: str) -> None:
    opened = open_page(cut)
    opened.locator("[role=tab][data-tab=about]").click()
    told = opened.locator("#about li").all_inner_texts()
    (events,) = [one for one in told if "events, and what was seen" in one]
    left, count = (int(one.replace(",", "")) for one in events.split()[2:5:2])
    opened.keyboard.press("f")
    canvas = opened.locator("#timeline canvas.time").first
    expect(canvas).to_have_attribute("data-to", str(count - left))
    last = count - left - 1
    opened.evaluate("(seq) => { location.hash = `#e=${seq}`; }", last)
    expect(opened.locator(".where")).to_contain_text(f"#{last} / {last}")
    opened.keyboard.press("ArrowRight")
    expect(opened.locator(".where")).to_contain_text(f"#{last} / {last}")
