"""The page as a whole: it opens, steps, keeps its address, and speaks two languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import expect
from torch import nn

import hooktrace as ht


def double(module: Any, inputs: Any, output: Any) -> Any:
    return output * 2


def observe(module: Any, inputs: Any, output: Any) -> None:
    pass


@pytest.fixture(scope="session")
def small_trace() -> Any:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    net[0].register_forward_hook(double)
    net[2].register_forward_hook(observe)
    with ht.trace(net, keep=["0", "2"]) as t:
        net(torch.ones(2, 3)).sum().backward()
    return t


@pytest.fixture(scope="session")
def small_report(small_trace: Any, tmp_path_factory: Any) -> Path:
    return small_trace.report(tmp_path_factory.mktemp("report") / "small.html")


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
