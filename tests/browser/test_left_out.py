"""A page from which much was left out for its size works with what it has, and says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from long_log import long_log
from playwright.sync_api import expect
from torch import nn

import hooktrace as ht
from hooktrace.report import Extras, Options, eventforms, page
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
    assert len(told) == len(set(told))
    left, count = (int(one.replace(",", "")) for one in events.split()[2:5:2])
    opened.keyboard.press("f")
    canvas = opened.locator("#timeline canvas.time").first
    expect(canvas).to_have_attribute("data-to", str(count - left))
    last = count - left - 1
    opened.evaluate("(seq) => { location.hash = `#e=${seq}`; }", last)
    expect(opened.locator(".where")).to_contain_text(f"#{last} / {last}")
    opened.keyboard.press("ArrowRight")
    expect(opened.locator(".where")).to_contain_text(f"#{last} / {last}")


def test_it_says_so_in_the_language_of_the_reader(open_page: Any, cut: str) -> None:
    opened = open_page(cut, locale="zh-CN")
    opened.locator("[role=tab][data-tab=about]").click()
    lines = opened.locator("#about li")
    chinese = lines.all_inner_texts()
    assert all(re.search(r"[一-鿿]", one) for one in chinese)
    opened.locator("select.language").select_option("en")
    english = lines.all_inner_texts()
    assert not any(re.search(r"[一-鿿]", one) for one in english)
    numbers = [sorted(re.findall(r"[\d,]+\d|\d", one)) for one in english]
    assert [sorted(re.findall(r"[\d,]+\d|\d", one)) for one in chinese] == numbers


class Adds(nn.Module):
    def forward(self, x: Any) -> Any:
        for _ in range(2100):
            x = x + 1
        return x


def test_where_no_view_is_drawn_the_reason_stands_in_its_place(
    open_page: Any, tmp_path: Path
) -> None:
    with ht.trace() as t:
        x = torch.ones(2, requires_grad=True)
        for _ in range(400):
            x = x * 1.01
        x.sum().backward()
    opened = open_page(t.report(tmp_path / "many.html"))
    told = opened.locator("#graph .body p").filter(has_text="Tensors: not drawn")
    expect(told).to_have_count(1)
    opened.locator("select.language").select_option("zh")
    expect(opened.locator("#graph .body p").filter(has_text="没有画出")).to_have_count(
        opened.locator("#graph .body p").count()
    )


def test_a_view_that_is_not_drawn_cannot_be_chosen_and_says_why(
    open_page: Any, tmp_path: Path
) -> None:
    net = Adds()
    with ht.trace(net) as t:
        net(torch.ones(2, 2, requires_grad=True)).sum().backward()
    opened = open_page(t.report(tmp_path / "wide.html"))
    choice = opened.locator("select.graph-view")
    refused = choice.locator("option:disabled")
    expect(refused).to_have_text(re.compile(r"Backward: not drawn, as 2,10. nodes are more than"))
    opened.locator("[role=tab][data-tab=about]").click()
    expect(opened.locator("#about li").filter(has_text=refused.inner_text())).to_have_count(1)
    opened.locator("select.language").select_option("zh")
    expect(refused).to_have_text(re.compile(r"反向传播.共 2,10. 个节点"))
    expect(choice).to_have_value("modules")


SAID = """() => [
  ...[...document.querySelectorAll("#inspector, #timeline .tip, output.heard, #events .rows")]
    .map((one) => one.textContent),
  ...[...document.querySelectorAll("[aria-label], [title]")]
    .flatMap((one) => [one.getAttribute("aria-label"), one.getAttribute("title")]),
]"""


def zero(module: Any, args: Any, output: Any) -> None:
    output.zero_()


def refuse(grad: Any) -> None:
    raise ValueError("no")


def train(net: Any) -> None:
    """Two steps; in the second one a hook raises."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    net[0].register_forward_hook(zero)
    net[2].register_forward_hook(zero).remove()
    for last in (False, True):
        output = net(torch.ones(2, 3, requires_grad=True))
        if last:
            output.register_hook(refuse)
        output.sum().backward()
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_nothing_is_undefined_where_events_have_no_words_of_their_own(
    open_page: Any, tmp_path: Path, monkeypatch: Any, locale: str
) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    trace = ht.trace(net)
    with pytest.raises(ValueError, match="no"), trace:
        train(net)
    monkeypatch.setattr(eventforms, "_MANY", 0)  # the poorest form of whole runs
    opened = open_page(trace.report(tmp_path / "poor.html"), locale=locale)
    canvas = opened.locator("#timeline canvas.time:not(.over)")
    expect(canvas).to_have_attribute("data-ms", re.compile("."))
    opened.locator("[role=tab][data-tab=events]").click()
    kinds = {one.label: one.seq for one in trace.events}
    assert {"write", "gradient", "accumulate", "schedule", "register"} <= kinds.keys()
    for seq in kinds.values():
        opened.evaluate("(seq) => { location.hash = `#e=${seq}`; }", seq)
        expect(opened.locator(".where")).to_contain_text(f"#{seq} ")
        place = canvas.evaluate("(one, seq) => one.placeOf(seq)", seq)
        if place:
            canvas.hover(position={"x": place["x"], "y": place["y"]}, force=True)
        said = opened.evaluate(SAID)
        wrong = [one for one in said if one and re.search(r"undefined|\bnull\b|NaN|\[object", one)]
        assert wrong == []
