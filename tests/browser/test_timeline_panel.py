"""The timeline panel: a click moves the cursor, which is shown; one can zoom; it is fast."""

from __future__ import annotations

import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from long_log import long_log
from playwright.sync_api import expect
from torch import nn

import hooktrace as ht
from hooktrace.events import (
    BackwardFinished,
    BackwardStarted,
    HookFired,
    StepFinished,
    StepStarted,
)
from hooktrace.report import Extras, Options, page
from hooktrace.report.words import words
from hooktrace.views.calls import CallIndex

CANVAS = "#timeline canvas.time:not(.over)"
PIXELS = """(one, box) => {
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [one.width, one.height];
  const pen = copy.getContext("2d", { willReadFrequently: true });
  pen.drawImage(one, 0, 0);
  return [...pen.getImageData(...box.map((side) => (side * one.width) / one.clientWidth)).data];
}"""


def double(module: Any, inputs: Any, output: Any) -> Any:
    return output * 2


def look(module: Any, inputs: Any, output: Any) -> None:
    pass


@pytest.fixture(scope="module")
def traced() -> Any:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    net[0].register_forward_hook(double)
    net[2].register_forward_hook(look)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with ht.trace(net) as t:
        for _ in range(2):
            net(torch.ones(2, 3)).sum().backward()
            optimizer.step()
    return t


@pytest.fixture(scope="module")
def report(traced: Any, tmp_path_factory: Any) -> Path:
    return Path(traced.report(tmp_path_factory.mktemp("timeline") / "small.html"))


@pytest.fixture(scope="module")
def long_report(tmp_path_factory: Any) -> Path:
    log = long_log(100_000)
    path = tmp_path_factory.mktemp("timeline") / "long.html"
    text = page(log, CallIndex(log).refresh(), Extras(), Options(limit_bytes=20_000_000))
    path.write_text(text, "utf-8")
    return path


class Panel:
    """The panel as a test uses it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.canvas = page.locator(CANVAS)
        expect(self.canvas).to_have_attribute("data-ms", re.compile("."))

    @property
    def cursor(self) -> int:
        return int(self.page.locator(".where").inner_text().split()[0].lstrip("#"))

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def place(self, seq: int) -> dict[str, float]:
        self.settle()
        found: dict[str, float] = self.canvas.evaluate("(one, seq) => one.placeOf(seq)", seq)
        return found

    def at(self, seq: int) -> dict[str, Any]:
        place = self.place(seq)
        return {"position": {"x": place["x"], "y": place["y"]}}

    @property
    def shown(self) -> tuple[float, float]:
        """From where to where the axis is shown."""
        self.settle()
        return tuple(float(self.canvas.get_attribute(f"data-{end}")) for end in ("from", "to"))  # type: ignore[return-value]

    def pixels(self, where: str, box: list[float]) -> list[tuple[int, ...]]:
        """Return the pixels of a canvas in a box: left, top, width, height."""
        self.settle()
        flat = self.page.locator(where).evaluate(PIXELS, box)
        return [tuple(flat[at : at + 4]) for at in range(0, len(flat), 4)]

    def colour(self, x: float, y: float) -> tuple[int, ...]:
        return self.pixels(CANVAS, [x, y, 1, 1])[0][:3]


def seqs(traced: Any, kind: Any) -> list[int]:
    return [one.seq for one in traced.of(kind)]


def test_a_click_on_a_slice_moves_the_cursor_to_its_event(
    open_page: Any, report: Path, traced: Any
) -> None:
    panel = Panel(open_page(report))
    for seq in (*seqs(traced, HookFired)[1:], seqs(traced, StepStarted)[0]):
        panel.canvas.click(**panel.at(seq))
        assert panel.cursor == seq
    inner = traced.calls("2")[1]
    panel.canvas.click(**panel.at(inner.called.seq))
    assert panel.cursor == inner.called.seq


def test_by_time_a_click_finds_the_same_slices(open_page: Any, report: Path, traced: Any) -> None:
    panel = Panel(open_page(report))
    panel.page.get_by_role("button", name="By time").click()
    seq = traced.calls("Sequential")[1].called.seq
    panel.canvas.click(**panel.at(seq))
    assert panel.cursor == seq
    expect(panel.canvas).to_have_attribute("data-mode", "time")
    assert panel.shown[1] > len(traced.events)


def test_by_time_places_and_widths_are_those_of_the_clock(
    open_page: Any, report: Path, traced: Any
) -> None:
    panel = Panel(open_page(report))
    panel.page.get_by_role("button", name="By time").click()
    calls = traced.calls()
    first, *others = calls
    begin = panel.place(first.called.seq)
    scale = begin["width"] / first.duration_ns
    for one in others:
        place = panel.place(one.called.seq)
        assert place["width"] == pytest.approx(one.duration_ns * scale)
        later = one.called.time_ns - first.called.time_ns
        away = (place["x"] - place["width"] / 2) - (begin["x"] - begin["width"] / 2)
        assert away == pytest.approx(later * scale, abs=0.01)


def test_by_order_every_event_is_as_wide_as_any_other(
    open_page: Any, report: Path, traced: Any
) -> None:
    panel = Panel(open_page(report))
    assert panel.shown == (0, len(traced.events))
    fired = seqs(traced, HookFired)
    widths = [panel.place(seq)["width"] for seq in fired]
    assert max(widths) - min(widths) < 1e-6
    xs = [panel.place(seq)["x"] for seq in fired]
    for (seq, x), (later, further) in pairwise(zip(fired, xs, strict=True)):
        assert further - x == pytest.approx((later - seq) * widths[0])


def test_the_wheel_zooms_at_the_pointer_and_f_shows_everything(
    open_page: Any, report: Path, traced: Any
) -> None:
    panel = Panel(open_page(report))
    seq = seqs(traced, HookFired)[1]
    before, whole = panel.place(seq), panel.shown
    panel.canvas.hover(**panel.at(seq))
    panel.page.mouse.wheel(0, -400)
    after = panel.place(seq)
    assert after["width"] > 1.5 * before["width"]
    assert after["x"] == pytest.approx(before["x"], abs=1)
    panel.page.keyboard.press("f")
    assert panel.shown == whole


def test_two_fingers_zoom_and_one_pans(open_page: Any, report: Path) -> None:
    panel = Panel(open_page(report, has_touch=True))
    box = panel.canvas.bounding_box()
    fingers = panel.page.context.new_cdp_session(panel.page)

    def touch(kind: str, *xs: int) -> None:
        points = [{"x": box["x"] + x, "y": box["y"] + 60, "id": at} for at, x in enumerate(xs)]
        fingers.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

    whole = panel.shown
    touch("Start", 500, 700)
    for by in range(0, 201, 20):
        touch("Move", 500 - by, 700 + by)
    touch("End")
    near = panel.shown
    assert near[1] - near[0] == pytest.approx((whole[1] - whole[0]) / 3, rel=0.05)
    touch("Start", 600)
    touch("Move", 500)
    touch("Move", 400)
    touch("End")
    assert panel.shown[0] > near[0]


def test_a_drag_pans_and_is_no_click(open_page: Any, report: Path, traced: Any) -> None:
    root = traced.calls("Sequential")[1].called.seq
    panel = Panel(open_page(report, f"#e={root + 5}"))
    for _ in range(3):
        panel.page.get_by_role("button", name="Zoom in (W)").click()
    place, before = panel.place(root), panel.shown
    box = panel.canvas.bounding_box()
    x, y = box["x"] + place["x"], box["y"] + place["y"]
    panel.page.mouse.move(x + 60, y)
    panel.page.mouse.down()
    panel.page.mouse.move(x, y, steps=4)
    panel.page.mouse.up()
    after = panel.shown
    assert after[0] > before[0]
    assert after[1] - after[0] == pytest.approx(before[1] - before[0])
    assert panel.cursor == root + 5
    panel.page.mouse.click(x, y)
    assert panel.cursor == root


def test_keys_on_the_panel_zoom_and_pan_while_arrows_still_step(
    open_page: Any, report: Path
) -> None:
    panel = Panel(open_page(report, "#e=20"))
    whole = panel.shown
    panel.canvas.focus()
    panel.page.keyboard.press("w")
    panel.page.keyboard.press("w")
    near = panel.shown
    assert near[1] - near[0] < 0.5 * (whole[1] - whole[0])
    panel.page.keyboard.press("d")
    assert panel.shown[0] > near[0]
    panel.page.keyboard.press("a")
    assert panel.shown == pytest.approx(near)
    panel.page.keyboard.press("ArrowRight")
    assert panel.cursor == 21
    panel.page.keyboard.press("0")
    assert panel.shown == whole


def test_a_double_click_zooms_to_a_slice(open_page: Any, report: Path, traced: Any) -> None:
    panel = Panel(open_page(report))
    call = traced.calls("0")[1]
    panel.canvas.dblclick(**panel.at(call.called.seq))
    low, high = panel.shown
    assert low <= call.called.seq < call.exited.seq + 1 <= high
    assert high - low < 1.3 * (call.exited.seq + 1 - call.called.seq)


def test_lanes_below_are_reached_by_stepping_and_by_scrolling(
    open_page: Any, report: Path, traced: Any
) -> None:
    step = seqs(traced, StepStarted)[0]
    panel = Panel(open_page(report, "#e=0", viewport={"width": 1400, "height": 420}))
    height = panel.canvas.bounding_box()["height"]
    assert panel.place(step)["y"] > height
    panel.page.evaluate("(seq) => { location.hash = `#e=${seq}`; }", step)
    expect(panel.page.locator(".where")).to_contain_text(f"#{step} ")
    assert 20 < panel.place(step)["y"] < height - 5
    panel.canvas.focus()
    for _ in range(9):
        panel.page.keyboard.press("PageUp")
    assert 20 < panel.place(0)["y"] < height
    assert panel.place(step)["y"] > height


def test_stepping_brings_the_cursor_into_sight(open_page: Any, report: Path, traced: Any) -> None:
    last = traced.events[-1].seq
    panel = Panel(open_page(report, "#e=0"))
    panel.canvas.focus()
    for _ in range(5):
        panel.page.keyboard.press("w")
    assert panel.shown[1] < last
    for _ in range(last):
        panel.page.keyboard.press("ArrowRight")
    low, high = panel.shown
    assert low < last < high


def test_the_event_at_the_cursor_has_a_frame_and_a_line(
    open_page: Any, report: Path, traced: Any
) -> None:
    panel = Panel(open_page(report))

    def drawn(seq: int, away: float) -> int:
        """How much is drawn over the panel in two columns so far from the middle of a slice."""
        place = panel.place(seq)
        box = [place["x"] + away * place["width"] - 1, place["y"] - 4, 2, 8]
        return sum(alpha > 0 for *_, alpha in panel.pixels("#timeline canvas.over", box))

    def line_above(seq: int) -> int:
        place = panel.place(seq)
        box = [place["x"] - 1, place["y"] - 40, 2, 8]
        return sum(alpha > 0 for *_, alpha in panel.pixels("#timeline canvas.over", box))

    first, second = seqs(traced, HookFired)[:2]
    for key in ("", "Shift+ArrowRight"):
        if key:
            panel.page.keyboard.press(key)
            first, second = second, first
        assert drawn(first, -0.5) >= 8
        assert drawn(first, 0.5) >= 8
        assert drawn(first, 0) == 0  # what is drawn on the slice is not hidden by the line
        assert line_above(first) >= 8
        assert [drawn(second, away) for away in (-0.5, 0, 0.5)] == [0, 0, 0]
        assert line_above(second) == 0


def test_the_end_of_something_is_shown_by_its_slice(
    open_page: Any, report: Path, traced: Any
) -> None:
    panel = Panel(open_page(report))
    for call in traced.calls():
        assert panel.place(call.exited.seq) == panel.place(call.called.seq)
    for kinds in ((BackwardStarted, BackwardFinished), (StepStarted, StepFinished)):
        for begin, end in zip(*(seqs(traced, kind) for kind in kinds), strict=True):
            assert panel.place(begin) == panel.place(end)


def test_the_tooltip_says_what_a_hook_changed(open_page: Any, report: Path, traced: Any) -> None:
    changing, looking = seqs(traced, HookFired)[:2]
    panel = Panel(open_page(report))
    tip = panel.page.locator("div.tip")
    expect(tip).to_be_hidden()
    panel.canvas.hover(**panel.at(changing))
    expect(tip).to_contain_text("forward hook double on 0")
    expect(tip).to_contain_text("output: \N{MULTIPLICATION SIGN}2. It returned another tensor")
    panel.canvas.hover(**panel.at(looking))
    expect(tip).to_contain_text("changed nothing")
    panel.page.mouse.move(5, 5)
    expect(tip).to_be_hidden()


def test_the_tooltip_speaks_chinese(open_page: Any, report: Path, traced: Any) -> None:
    panel = Panel(open_page(report, locale="zh-CN"))
    tip = panel.page.locator("div.tip")
    panel.canvas.hover(**panel.at(seqs(traced, HookFired)[0]))
    zh = words("zh")
    expect(tip).to_contain_text(zh["kind_forward"])
    expect(tip).to_contain_text(
        zh["edit_returned"].format(role="output", what="\N{MULTIPLICATION SIGN}2")
    )
    for hook in ("hook", "returned"):
        expect(tip).not_to_contain_text(hook)


def test_a_name_does_not_turn_the_text_around(open_page: Any, tmp_path: Path) -> None:
    net = nn.Module()
    net.forward = lambda x: net._modules["a\u202eb"](x)  # type: ignore[method-assign]
    net._modules["a\u202eb"] = nn.Linear(1, 1)
    with ht.trace(net) as t:
        net(torch.ones(1, 1))
    page = open_page(t.report(tmp_path / "x.html"))
    page.evaluate(
        """() => {
            window.drawn = [];
            const pen = CanvasRenderingContext2D.prototype;
            const fill = pen.fillText;
            pen.fillText = function (text, ...place) {
                window.drawn.push(text);
                fill.call(this, text, ...place);
            };
        }"""
    )
    page.get_by_role("button", name="Light or dark").click()
    page.wait_for_function("() => window.drawn.some((one) => one.startsWith('\u2068a\ufffdb'))")
    assert not any("\u202e" in one for one in page.evaluate("() => window.drawn"))


def test_colours_follow_the_theme_and_differ_by_what_a_hook_did(
    open_page: Any, report: Path, traced: Any
) -> None:
    changing, looking = seqs(traced, HookFired)[:2]
    light = Panel(open_page(report))
    dark = Panel(open_page(report, color_scheme="dark"))

    def seen(panel: Panel) -> list[tuple[int, ...]]:
        found = []
        for seq in (changing, looking):
            place = panel.place(seq)
            found.append(panel.colour(place["x"] + place["width"] / 2 - 3, place["y"]))
        return [*found, panel.colour(1, 1)]

    changed, observed, paper = seen(light)
    assert paper == (255, 255, 255)
    assert changed[0] > changed[2] + 50  # orange
    assert observed[2] > observed[0] + 50  # blue
    assert sum(seen(dark)[2]) < 100
    assert seen(dark)[:2] != seen(light)[:2]
    light.page.get_by_role("button", name="Light or dark").click()
    assert seen(light) == seen(dark)


def test_what_a_hook_did_is_told_by_a_sign_as_well_as_by_colour(
    open_page: Any, report: Path, traced: Any
) -> None:
    panel = Panel(open_page(report))
    inside = []
    for seq in seqs(traced, HookFired)[:2]:
        place = panel.place(seq)
        left = place["x"] - place["width"] / 2
        inside.append([panel.colour(left + x, place["y"] + 1) for x in (5, place["width"] - 4)])
    (sign, changed), (nothing, looked) = inside
    assert sign == (0xD5, 0x5E, 0x00)
    assert changed != sign
    assert nothing == looked


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("en-US", ["By order", "By time", "hook changed something"]),
        ("zh-CN", ["按顺序", "按时间", "有改动的钩子"]),
    ],
)
def test_the_panel_says_what_it_shows_in_the_language_of_the_reader(
    open_page: Any, report: Path, traced: Any, locale: str, words: list[str]
) -> None:
    panel = Panel(open_page(report, "#e=3", locale=locale))
    for word in words:
        expect(panel.page.locator("#timeline")).to_contain_text(word)
    label = panel.canvas.get_attribute("aria-label")
    assert words[0] in label
    assert "#3" in label
    panel.page.keyboard.press("ArrowRight")
    assert "#4" in panel.canvas.get_attribute("aria-label")


def test_among_a_hundred_thousand_slices_a_single_one_can_be_found(
    open_page: Any, long_report: Path
) -> None:
    panel = Panel(open_page(long_report))
    panel.canvas.focus()
    for _ in range(20):
        panel.page.keyboard.press("w")
    seq = panel.cursor
    panel.canvas.click(**panel.at(seq + 1))
    assert panel.cursor == seq + 1


# ------------------------------------------------------------------ idle time


IDLE_S = 0.25


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: Any) -> tuple[Any, Path]:
    """Three steps that wait for their data."""
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with ht.trace(net) as t:
        for step in range(3):
            if step:
                time.sleep(IDLE_S)
            net(torch.ones(2, 3)).sum().backward()
    return t, Path(t.report(tmp_path_factory.mktemp("idle") / "idle.html"))


def skip(page: Any) -> Any:
    return page.locator("#timeline .time-bar > button").first


def test_by_time_idle_time_is_cut_out_and_can_be_shown(open_page: Any, waiting: Any) -> None:
    trace, path = waiting
    panel = Panel(open_page(path))
    expect(skip(panel.page)).to_be_hidden()
    panel.page.get_by_role("button", name="By time").click()
    expect(panel.canvas).to_have_attribute("data-breaks", "2")
    expect(skip(panel.page)).to_have_attribute("aria-pressed", "true")
    low, high = panel.shown
    span = (trace.events[-1].time_ns - trace.events[0].time_ns) / 1e3
    assert high - low < span - 1.6 * IDLE_S * 1e6
    skip(panel.page).focus()
    panel.page.keyboard.press("Enter")
    expect(panel.canvas).to_have_attribute("data-breaks", "0")
    assert panel.shown[1] - panel.shown[0] == pytest.approx(span, rel=0.01)
    panel.page.get_by_role("button", name="By order").click()
    panel.page.get_by_role("button", name="By time").click()
    expect(skip(panel.page)).to_have_attribute("aria-pressed", "false")
    expect(panel.canvas).to_have_attribute("data-breaks", "0")


def test_beside_the_breaks_the_axis_is_that_of_the_clock(open_page: Any, waiting: Any) -> None:
    trace, path = waiting
    panel = Panel(open_page(path))
    panel.page.get_by_role("button", name="By time").click()
    roots = trace.calls("Sequential")
    places = [panel.place(one.called.seq) for one in roots]
    scale = places[0]["width"] / roots[0].duration_ns
    for one, place in zip(roots, places, strict=True):
        assert place["width"] == pytest.approx(one.duration_ns * scale)
    runs = seqs(trace, BackwardStarted)
    starts = [place["x"] - place["width"] / 2 for place in places]
    for one, run, start in zip(roots, runs, starts, strict=True):
        place = panel.place(run)
        later = (trace.log.at(run).time_ns - one.called.time_ns) * scale
        assert place["x"] - place["width"] / 2 - start == pytest.approx(later, abs=0.05)
    panel.canvas.click(**panel.at(roots[2].called.seq))
    assert panel.cursor == roots[2].called.seq


def test_a_break_tells_how_long_it_is(open_page: Any, waiting: Any) -> None:
    trace, path = waiting
    page = open_page(path)
    Panel(page)
    drawn = page.evaluate(
        """() => {
          const said = [];
          const write = CanvasRenderingContext2D.prototype.fillText;
          CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
            said.push(text);
            return write.call(this, text, ...rest);
          };
          document.querySelectorAll("#timeline .time-modes button")[1].click();
          const later = (done) => requestAnimationFrame(() => requestAnimationFrame(done));
          return new Promise((done) => later(() => done(said)));
        }"""
    )
    ends = [one.time_ns for one in trace.of(BackwardFinished)]
    starts = [one.called.time_ns for one in trace.calls("Sequential")]
    for end, start in zip(ends, starts[1:], strict=False):
        assert any(told(one) == pytest.approx((start - end) / 1e6, rel=0.02) for one in drawn)


def told(text: str) -> float:
    """Milliseconds that a text tells; none for what is no time."""
    found = re.fullmatch(r"([\d.]+) ms", text)
    return float(found[1]) if found else -1


def test_where_nothing_is_idle_for_long_there_is_nothing_to_skip(
    open_page: Any, long_report: Path
) -> None:
    panel = Panel(open_page(long_report))
    panel.page.get_by_role("button", name="By time").click()
    expect(panel.canvas).to_have_attribute("data-mode", "time")
    expect(skip(panel.page)).to_be_hidden()


def test_the_choice_to_skip_idle_time_speaks_chinese(open_page: Any, waiting: Any) -> None:
    page = open_page(waiting[1], locale="zh-CN")
    panel = Panel(page)
    page.get_by_role("button", name=words("zh")["by_time"], exact=True).click()
    expect(skip(page)).to_have_text(words("zh")["skip_idle_short"])
    expect(panel.canvas).to_have_attribute(
        "aria-label", re.compile(re.escape(words("zh")["by_time_without_idle"]))
    )
