"""What a trace tells in English is told in the reader's language; names of the program stay."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect
from traced_zoo import LIGHT, trace_of

from hooktrace.report.levels import Graph
from hooktrace.report.script import script
from hooktrace.report.sources import told_of
from hooktrace.report.words import all_words, words
from hooktrace.views.effects import edits, writes

PAGE = """<!doctype html><html data-ready><script type="module">{code}
const report = {{ language: "zh", words: {words} }};
window.line = (text) => _retold.retold(report, text);
window.part = (text) => _retold.retold(report, text, true);
window.inside = (text) => _retold.retoldPart(report, text);
window.event = (text) => _retold.retoldEvent(report, text);
</script></html>"""

FIGURES = "count times again total number version shown deepest step steps depth limit"
INNER = {
    "hook": ("#1 forward hook f", "#1 forward 钩子 f"),
    "badge": ("forward hook f never fired", "forward 钩子 f\uff1a从未触发"),
    "state": ("observed", "只观察"),
    "how": ("in place", "原地"),
    "extent": ("Net: 7 module calls", "Net\uff1a7 次模块调用"),
    "boxes": ("3 boxes", "3 个方框"),
    "list": ("1 observed, 2 never fired", "1 个只观察、2 个从未触发"),
    "change": ("zeroed", "清零"),
    "changes": ("grad x2; a zeroed", "grad \xd72\uff1ba\uff08清零\uff09"),
    "whose": ("output of a@0", "a@0 的 output"),
    "reason": ("shape or dtype changed", "形状或 dtype 变了"),
    "old": ("[1]", "[1]"),
    "by": ("a step of SGD", "SGD 的 step()"),
}
OURS = re.compile(
    r"\b(hooks? inside|observed|changed|never fired|overwritten|inside|recomputed|in place|"
    r"no gradient|more like|times in a row|fills|made by|version \d|defined at|registered at|"
    r"(inputs|outputs|roots): |certain|was |before t\d|after t\d|elements|returned|given to|"
    r"clamped|zeroed|module calls?|every module)\b"
)


def sample(name: str, place: int) -> tuple[str, str]:
    """A value for a name in a sentence: in English, and as it is retold."""
    if name in INNER:
        return INNER[name]
    if name in FIGURES.split():
        return (str(place + 3),) * 2
    return ("1.5",) * 2 if name == "factor" else (f"{name}{place}",) * 2


def filled(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda one: values[one[1]], text)


@pytest.fixture(scope="module")
def retelling(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    code = script("retold.js").replace("</", "<\\/")
    texts = json.dumps(all_words()).replace("</", "<\\/")
    path = tmp_path_factory.mktemp("retelling") / "page.html"
    path.write_text(PAGE.format(code=code, words=texts), "utf-8")
    with browser.new_page() as page:
        page.goto(path.as_uri())
        yield page


def told(retelling: Any, how: str, lines: list[str]) -> list[str]:
    found: list[str] = retelling.evaluate(f"(lines) => lines.map(window.{how})", lines)
    return found


@pytest.mark.parametrize(("group", "how"), [("told_", "line"), ("part_", "inside")])
def test_each_sentence_is_recognised_with_all_that_is_in_it(
    retelling: Any, group: str, how: str
) -> None:
    english, wanted = [], []
    for key, text in words("en").items():
        if key.startswith(group):
            names = re.findall(r"\{(\w+)\}", text)
            values = {name: sample(name, place) for place, name in enumerate(names)}
            english.append(filled(text, {name: one for name, (one, _) in values.items()}))
            other = words("zh")[key]
            wanted.append(filled(other, {name: one for name, (_, one) in values.items()}))
    found = told(retelling, how, english)
    differing = [row for row in zip(english, found, wanted, strict=True) if row[1] != row[2]]
    assert differing == []


def drawn(log: Any, calls: Any) -> list[tuple[str, bool]]:
    """Each line in the pictures of a trace, and whether it may be part of a sentence."""
    graph = Graph(log, calls)
    found = []
    for picture in (*graph.levels.values(), *graph.views.values()):
        for box in (*picture["boxes"], *picture["frames"]):
            ours = box["c"].startswith(("terminal", "sign"))
            found += [(one[2], ours or one[3] == 9) for one in texts(box["d"])]
        found += [(one[2], False) for one in texts(picture["title"])]
        for arrow in picture["arrows"]:
            found += [(one[2], True) for one in texts(arrow.get("l", {}).get("d", ()))]
    return list(dict.fromkeys(found))


def texts(shapes: Any) -> list[Any]:
    return [one for one in shapes if isinstance(one[2], str) and one[3] != 11]


@pytest.mark.parametrize("name", LIGHT[::4])
def test_nothing_of_ours_stays_english_in_pictures(retelling: Any, name: str) -> None:
    trace = trace_of(name)
    assert trace.edits is not None  # measures them
    lines = drawn(trace.log, trace.index)
    found = [
        *told(retelling, "line", [text for text, parts in lines if not parts]),
        *told(retelling, "part", [text for text, parts in lines if parts]),
    ]
    assert english(found) == []


@pytest.mark.parametrize("name", LIGHT)
def test_nothing_of_ours_stays_english_in_lists(retelling: Any, name: str) -> None:
    trace = trace_of(name)
    assert trace.edits is not None  # measures them
    log, calls = trace.log, trace.index
    listed = [str(one) for one in (*edits(log), *writes(log, calls))]
    events = [
        told_of(log, one, calls.calls.get(getattr(one, "call", None)))  # type: ignore[arg-type]
        for one in log.events
    ]
    assert english([*told(retelling, "part", listed), *told(retelling, "event", events)]) == []


def english(lines: list[str]) -> list[str]:
    """Those of some lines in which words of ours are left, but for cut ones and exceptions."""
    whole = (one.split("异常 ")[0] for one in lines if not one.endswith("..."))
    return [one for one in whole if OURS.search(one)]


def test_the_page_tells_pictures_lists_and_slices_in_the_language_that_is_chosen(
    open_page: Any, small_report: Any
) -> None:
    page = open_page(small_report)
    boxes, lists = page.locator("#graph .boxes"), page.locator("#hooks ol")
    expect(boxes).to_contain_text("#1 forward hook double changed output x2")
    expect(boxes).to_contain_text("input")
    page.locator("[role=tab][data-tab=hooks]").click()
    expect(lists.first).to_contain_text("forward hook double on 0: output returned, x2")
    page.locator("select.language").select_option("zh")
    expect(boxes).to_contain_text("#1 forward 钩子 double")
    expect(boxes).to_contain_text("输入")
    expect(boxes).not_to_contain_text("hook")
    expect(lists.first).to_contain_text("0 上的 forward 钩子 double")
    expect(lists.first.locator("[data-retold]").first).to_have_attribute("lang", "zh")
    page.locator("[role=tab][data-tab=events]").click()
    row = page.locator("#events .row").first
    expect(row).to_contain_text(words("zh")["title_call"])
    page.locator("select.language").select_option("en")
    expect(boxes).to_contain_text("#1 forward hook double changed output x2")
    expect(row).to_contain_text("call")


def test_the_tooltip_of_a_slice_is_in_the_language_that_is_chosen(
    open_page: Any, small_trace: Any, small_report: Any
) -> None:
    page = open_page(small_report, locale="zh-CN")
    canvas = page.locator("#timeline canvas.time:not(.over)")
    expect(canvas).to_have_attribute("data-ms", re.compile("."))
    run = next(one for one in small_trace.events if one.label == "backward")
    place = canvas.evaluate("(one, seq) => one.placeOf(seq)", run.seq)
    canvas.hover(position={"x": place["x"], "y": place["y"]})
    expect(page.locator("#timeline .tip b")).to_have_text(words("zh")["slice_run"])
