"""The graph in a real browser: modules open in place, it follows the cursor, it finds things."""

from __future__ import annotations

import json
import random
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from layout_audit import crosses, overlap
from playwright.sync_api import expect
from torch import nn

import hooktrace as ht
from hooktrace.report.colours import colours
from hooktrace.report.levels import Graph
from hooktrace.report.script import asset, script
from hooktrace.views.calls import CallIndex


def double(module: Any, inputs: Any, output: Any) -> Any:
    return output * 2


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.act(self.first(x))


def small_net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.Sequential(Block(), nn.Sigmoid()), nn.Linear(2, 1))


@pytest.fixture(scope="module")
def traced() -> Any:
    torch.manual_seed(0)
    net = small_net()
    net[1][0].first.register_forward_hook(double)
    with ht.trace(net) as t:
        net(torch.ones(1, 3)).sum().backward()
    return t


@pytest.fixture(scope="module")
def report(traced: Any, tmp_path_factory: Any) -> Path:
    return Path(traced.report(tmp_path_factory.mktemp("graph") / "small.html"))


class Panel:
    """The panel as a test uses it."""

    def __init__(self, page: Any, trace: Any) -> None:
        self.page = page
        self.trace = trace
        expect(page.locator("#graph g.box").first).to_be_attached()

    @property
    def cursor(self) -> int:
        return int(self.page.locator(".where").inner_text().split()[0].lstrip("#"))

    def call(self, name: str) -> Any:
        return self.trace.index.one(name)

    def box(self, name: str) -> Any:
        return self.page.locator(f'#graph [data-key="call-{self.call(name).id}"]')

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.page.evaluate("() => new Promise((go) => requestAnimationFrame(() => "
                           "requestAnimationFrame(go)))")  # fmt: skip

    def shown(self, name: str) -> tuple[float, float, float, float]:
        """The rectangle of a box on the screen, without the outline around it."""
        self.settle()
        x, y, w, h = self.box(name).evaluate(
            """one => {
              const own = one.querySelector(":scope > .ground, :scope > rect:not(.outline)");
              const { x, y, width, height } = own.getBoundingClientRect();
              return [x, y, width, height];
            }"""
        )
        return x, y, x + w, y + h


@pytest.fixture
def panel(open_page: Any, report: Path, traced: Any) -> Panel:
    """A panel in which all of the picture can be seen."""
    return Panel(open_page(report, viewport={"width": 1400, "height": 1800}), traced)


# ------------------------------------------------------------------ what it shows


def test_the_first_look_shows_where_the_cursor_is(
    open_page: Any, report: Path, traced: Any
) -> None:
    panel = Panel(open_page(report), traced)
    expect(panel.page.locator("#graph .box.current")).to_have_count(1)
    expect(panel.box("1.0.first")).to_have_class("box call leaf current")
    x0, y0, x1, y1 = panel.shown("1.0.first")
    frame = panel.page.locator(".graph-picture").bounding_box()
    assert frame["x"] <= x0 <= x1 <= frame["x"] + frame["width"]
    assert frame["y"] <= y0 <= y1 <= frame["y"] + frame["height"]


def test_boxes_say_what_they_are(panel: Panel) -> None:
    box = panel.box("1.0.first")
    expect(box).to_have_attribute("role", "button")
    label = box.get_attribute("aria-label")
    assert "Linear" in label
    assert "forward hook double changed output x2" in label
    assert box.get_attribute("aria-expanded") is None
    expect(panel.box("1")).to_have_attribute("aria-expanded", "true")


def test_a_double_click_enter_and_the_sign_open_and_close(panel: Panel) -> None:
    expect(panel.box("1.0.first")).to_have_count(1)
    panel.box("1").locator(".sign").first.click()
    expect(panel.box("1")).to_have_attribute("aria-expanded", "false")
    expect(panel.box("1.0.first")).to_have_count(0)
    panel.box("1").dblclick()
    expect(panel.box("1")).to_have_attribute("aria-expanded", "true")
    panel.box("1.0").locator("text").first.click()
    expect(panel.box("1.0")).to_be_focused()
    panel.page.keyboard.press("Enter")
    expect(panel.box("1.0")).to_have_attribute("aria-expanded", "false")
    expect(panel.box("1.0")).to_be_focused()


def test_what_was_opened_stays_where_it_is_on_the_screen(panel: Panel) -> None:
    before = panel.shown("1")
    panel.box("1").locator(".sign").first.click()
    after = panel.shown("1")
    assert before[:2] == pytest.approx(after[:2], abs=1)


def test_a_closed_module_is_marked_for_what_is_inside(panel: Panel) -> None:
    panel.page.click("[aria-label='Close all modules']")
    expect(panel.page.locator("#graph .box.current")).to_have_count(1)
    expect(panel.box("1")).to_have_class("box call current")
    panel.page.click("[aria-label='Open all modules']")
    expect(panel.box("1.0.first")).to_have_class("box call leaf current")


# ------------------------------------------------------------------ cursor


def test_a_click_moves_the_cursor_to_the_first_event_of_the_call(panel: Panel) -> None:
    panel.box("1.1").click()
    assert panel.cursor == panel.call("1.1").called.seq
    expect(panel.box("1.1")).to_have_class("box call leaf current")


def test_an_arrow_that_was_changed_leads_to_the_hook(panel: Panel) -> None:
    panel.box("1.1").click()
    panel.page.locator("#graph .arrow.changed .reach").first.dispatch_event("click")
    fired = next(one for one in panel.trace.log.events if one.label == "hook")
    assert panel.cursor == fired.seq
    expect(panel.page.locator("#graph .arrow.changed.current")).to_have_count(1)


def test_the_keyboard_gets_into_the_picture(panel: Panel) -> None:
    panel.page.locator(".graph-picture").focus()
    panel.page.keyboard.press("Enter")
    expect(panel.box("1.0.first")).to_be_focused()
    panel.page.keyboard.press("ArrowDown")
    expect(panel.box("1.0.act")).to_be_focused()
    panel.page.keyboard.press("Space")
    assert panel.cursor == panel.call("1.0.act").called.seq


def test_every_event_of_a_call_marks_a_box(panel: Panel) -> None:
    events = panel.trace.log.events
    panel.page.evaluate("location.hash = '#e=0'")
    for event in events:
        call = getattr(event, "call", None)
        panel.page.evaluate(f"location.hash = '#e={event.seq}'")
        expect(panel.page.locator(".where")).to_contain_text(f"#{event.seq} /")
        marked = panel.page.evaluate(
            "[...document.querySelectorAll('#graph .box.current')].map((one) => one.dataset.key)"
        )
        if call is not None and panel.trace.index.calls[call].parent is not None:
            assert marked == [f"call-{call}"], event
        else:
            assert len(marked) <= 1


def test_what_is_folded_or_of_another_step_marks_its_like(open_page: Any, tmp_path: Path) -> None:
    layers = [nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(5)]
    net = nn.Sequential(*layers)
    with ht.trace(net) as t:
        for _ in range(2):
            net(torch.ones(1, 2)).sum().backward()
    panel = Panel(open_page(t.report(tmp_path / "steps.html")), t)
    panel.page.click("[aria-label='Open all modules']")
    for name in ("3.0", "3.0@1", "0.0@1"):
        found = [one for one in t.index if name in (one.name, str(one))]
        panel.page.evaluate(f"location.hash = '#e={found[0].called.seq}'")
        like = t.index.one("0.0@0").id
        expect(panel.page.locator("#graph .box.current")).to_have_attribute(
            "data-key", f"call-{like}"
        )


def test_the_views_show_the_cursor_too(panel: Panel) -> None:
    choice = panel.page.locator("select.graph-view")
    for view in ("autograd", "hooks"):
        choice.select_option(view)
        expect(panel.page.locator("#graph .box.current")).to_have_count(1)
    panel.page.locator("#graph .box.hook").click()
    fired = next(one for one in panel.trace.log.events if one.label == "hook")
    assert panel.cursor == fired.seq


# ------------------------------------------------------------------ search


def test_the_search_opens_what_is_around_what_it_finds(panel: Panel) -> None:
    panel.page.click("[aria-label='Close all modules']")
    panel.page.evaluate("document.activeElement.blur()")
    panel.page.keyboard.press("/")
    field = panel.page.locator(".graph-search")
    expect(field).to_be_focused()
    panel.page.keyboard.type("relu")
    panel.page.keyboard.press("Enter")
    expect(panel.box("1.0.act")).to_have_class("box call leaf current")
    assert panel.cursor == panel.call("1.0.act").called.seq
    field.fill("linear")
    seen = []
    for _ in range(3):
        panel.page.keyboard.press("Enter")
        seen.append(panel.cursor)
    assert sorted(seen) == [panel.call(name).called.seq for name in ("0", "1.0.first", "2")]
    expect(panel.page.locator(".graph-tools output")).to_have_text("3/3")
    field.fill("nothing of this name")
    expect(panel.page.locator(".graph-tools output")).to_have_text("0/0")


def test_the_search_finds_hooks(panel: Panel) -> None:
    panel.box("0").click()
    panel.page.locator(".graph-search").fill("double")
    panel.page.keyboard.press("Enter")
    fired = next(one for one in panel.trace.log.events if one.label == "hook")
    assert panel.cursor == fired.seq


# ------------------------------------------------------------------ the camera


def test_drag_wheel_and_keys_move_and_zoom(panel: Panel) -> None:
    page = panel.page
    frame = page.locator(".graph-picture").bounding_box()
    middle = (frame["x"] + 20, frame["y"] + frame["height"] / 2)
    start, cursor = panel.shown("1.0.first"), panel.cursor
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 50, middle[1] + 30, steps=4)
    page.mouse.up()
    moved = panel.shown("1.0.first")
    assert moved == pytest.approx(
        [start[0] + 50, start[1] + 30, start[2] + 50, start[3] + 30], abs=1
    )
    assert panel.cursor == cursor
    page.mouse.wheel(0, 30)
    assert panel.shown("1.0.first")[1] == pytest.approx(moved[1] - 30, abs=1)
    page.locator(".graph-picture").focus()
    page.keyboard.press("ArrowRight")
    assert panel.shown("1.0.first")[0] == pytest.approx(moved[0] - 60, abs=1)
    assert panel.cursor == cursor
    width = moved[2] - moved[0]
    page.keyboard.press("+")
    bigger = panel.shown("1.0.first")
    assert bigger[2] - bigger[0] == pytest.approx(width * 1.25, rel=0.02)
    page.keyboard.press("f")
    panel.settle()
    inside = page.evaluate(
        """() => {
          const frame = document.querySelector(".graph-picture").getBoundingClientRect();
          const all = document.querySelector(".graph-picture > g").getBoundingClientRect();
          return all.top >= frame.top && all.bottom <= frame.bottom && all.left >= frame.left;
        }"""
    )
    assert inside


def test_the_colours_follow_the_theme(open_page: Any, report: Path, traced: Any) -> None:
    ink = "one => getComputedStyle(one.querySelector('text')).fill"
    ground = "one => getComputedStyle(one.querySelector('rect:not(.outline)')).fill"
    seen = []
    for scheme in ("light", "dark"):
        panel = Panel(open_page(report, color_scheme=scheme), traced)
        seen.append((panel.box("1.0.first").evaluate(ink), panel.box("1.0.first").evaluate(ground)))
        panel.page.click("[aria-label='Light or dark']")
        turned = panel.box("1.0.first")
        seen.append((turned.evaluate(ink), turned.evaluate(ground)))
    assert seen[0] == seen[3] == ("rgb(27, 31, 36)", "rgb(243, 246, 249)")
    assert seen[1] == seen[2] == ("rgb(233, 237, 241)", "rgb(32, 38, 44)")


def test_it_speaks_chinese(open_page: Any, report: Path) -> None:
    page = open_page(report, locale="zh-CN")
    expect(page.locator(".graph-view")).to_contain_text("模块")
    expect(page.locator(".graph-legend")).to_contain_text("图例与按键")


# ------------------------------------------------------------------ opening anything, in any order

SCRIPT_PAGE = """<!doctype html><html data-ready><head><meta charset="utf-8"><style>{style}
html, body {{ height: 100%; margin: 0 }} #graph .body {{ width: 900px; height: 640px }}</style>
</head><body><section id="graph"><div class="body"></div></section><script type="module">{code}
window.levels = {levels};
window.composed = _graphcompose.composed;
const graph = {{ levels: window.levels, open: [], home: {{}}, near: {{}}, signs: [],
  views: {{}}, refused: {{}} }};
const calls = new Map(Object.values(window.levels).flatMap((one) => one.boxes)
  .map((one) => _graphcompose.callOf(one.k)).filter((one) => one !== null)
  .map((id) => [id, {{ id, name: `m${{id}}`, type: "T", index: 0, first: id }}]));
const report = {{ data: {{ graph }}, hooks: [], calls, word: (key) => key }};
report.on = report.go = report.at = () => {{}};
window.panel = _graph.graphPanel(document.querySelector(".body"), report);
</script></body></html>"""


def script_page(levels: dict[str, Any]) -> str:
    style = colours() + asset("report.css") + asset("graph.css")
    code = script("graph.js").replace("</", "<\\/")
    return SCRIPT_PAGE.format(
        style=style, code=code, levels=json.dumps(levels).replace("</", "<\\/")
    )


@pytest.fixture(scope="module")
def resnet_levels() -> dict[str, Any]:
    with ht.trace(model := torchvision.models.resnet18()) as t:
        model(torch.zeros(1, 3, 64, 64))
    return Graph(t.log, CallIndex(t.log).refresh()).data()["levels"]


def corners(one: dict[str, Any]) -> tuple[float, float, float, float]:
    return one["x"], one["y"], one["x"] + one["w"], one["y"] + one["h"]


def check_composed(levels: dict[str, Any], found: dict[str, Any]) -> None:
    """No box on another, no arrow through one; frames hold what is theirs, and nothing else."""
    owner = {box["k"]: number for number, level in levels.items() for box in level["boxes"]}
    boxes = [(one["key"], corners(one)) for one in found["boxes"]]
    for (first, one), (second, other) in combinations(boxes, 2):
        assert not overlap(one, other), (first, second)
    for tail, head, points in found["arrows"]:
        for key, (x0, y0, x1, y1) in boxes:
            inner = (x0 + 2, y0 + 2, x1 - 2, y1 - 2)
            passed = any(crosses(*piece, inner) for piece in pairwise(points))
            assert key in (tail, head) or not passed, (tail, head, key)
    for frame in found["frames"]:
        around = corners(frame)
        for key, (x0, y0, x1, y1) in boxes:
            level = owner[key]
            while level not in ("-1", frame["key"].removeprefix("call-")):
                level = owner[f"call-{level}"]
            if level == "-1":
                assert not overlap(around, (x0, y0, x1, y1)), (frame["key"], key)
            else:
                assert around[0] <= x0 <= x1 <= around[2]
                assert around[1] <= y0 <= y1 <= around[3]


def test_whatever_is_opened_nothing_overlaps(open_page: Any, resnet_levels: Any) -> None:
    # Keys such as "op-7" are those of nodes, so they name one box in all levels; terminals do not.
    levels = json.loads(json.dumps(resnet_levels))
    for number, level in levels.items():
        for one in (*level["boxes"], *level["arrows"]):
            for side in ("k", "a", "b"):
                if str(one.get(side)).startswith(("input", "output")):
                    one[side] += f"-of-{number}"
    page = open_page(script_page(levels))
    chance = random.Random(3)
    inner = [int(one) for one in levels if one != "-1"]
    for _ in range(12):
        opened = chance.sample(inner, chance.randrange(1, len(inner) + 1))
        found = page.evaluate(
            """opened => {
              const { boxes, frames, arrows } = window.composed(window.levels, new Set(opened));
              const flat = ({ key, x, y, w, h }) => ({ key, x, y, w, h });
              const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
              const along = ({ arrow, d }) => {
                path.setAttribute("d", d);
                const step = path.getTotalLength() / 30;
                const at = (_, place) => path.getPointAtLength(place * step);
                const points = Array.from({ length: 31 }, at);
                return [arrow.a, arrow.b, points.map(({ x, y }) => [x, y])];
              };
              const shown = { boxes: boxes.map(flat), frames: frames.map(flat) };
              return { ...shown, arrows: arrows.map(along) };
            }""",
            opened,
        )
        check_composed(levels, found)


def test_boxes_keep_their_order_when_one_grows(open_page: Any, resnet_levels: Any) -> None:
    page = open_page(script_page(resnet_levels))
    level = resnet_levels["-1"]
    down = [one["k"] for one in sorted(level["boxes"], key=lambda one: one["y"])]
    everything = [int(one) for one in resnet_levels if one != "-1"]
    found = page.evaluate(
        """opened => {
          const { boxes, frames } = window.composed(window.levels, new Set(opened));
          return [...boxes, ...frames].filter((one) => one.deep === 0)
            .map((one) => [one.key, one.y + one.h / 2]);
        }""",
        everything,
    )
    assert [key for key, _ in sorted(found, key=lambda one: one[1])] == down


# ------------------------------------------------------------------ many boxes


def grid(count: int, columns: int = 20) -> dict[str, Any]:
    """A level of so many boxes with words, and arrows with words between them."""
    boxes, arrows = [], []
    for number in range(count):
        x, y = number % columns * 190 + 90, number // columns * 110 + 40
        words = [
            [-30, -12, f"layer{number}", 11, "ink", 1, 60],
            [-20, 4, "Conv", 10, "soft", 0, 40],
        ]
        drawn = [[-65, -28, 130, 56, "leaf", "line", 1, 0, 5], *words]
        boxes.append({"k": f"call-{number}", "c": "call leaf", "x": x, "y": y, "w": 130, "h": 56,
                      "t": "", "d": drawn})  # fmt: skip
        if number >= columns:
            label = {"x": x + 30, "y": y - 55, "w": 50, "h": 9,
                     "d": [[-25, 2.5, "1x64x56x56", 9, "soft", 0, 50]]}  # fmt: skip
            arrows.append({"a": f"call-{number - columns}", "b": f"call-{number}", "c": "edge",
                           "p": [x, y - 82, x, y - 70, x, y - 60, x, y - 40], "e": [x, y - 28],
                           "s": "line", "g": 1, "l": label})  # fmt: skip
    size = {"w": columns * 190, "h": (count // columns + 1) * 110}
    return {"-1": {**size, "title": [], "frames": [], "boxes": boxes, "arrows": arrows}}


def test_what_is_out_of_sight_is_not_drawn(open_page: Any) -> None:
    page = open_page(script_page(grid(1000)))
    page.evaluate(
        "panel.camera.scale = 1; panel.camera.x = panel.camera.y = 0; panel.camera.show()"
    )
    count = "[...document.querySelectorAll('g.box')].filter((one) => !one.style.display).length"
    assert 15 < page.evaluate(count) < 60
    page.evaluate("panel.camera.pan(-1500, -2000); panel.camera.show()")
    assert 15 < page.evaluate(count) < 80
    page.evaluate("panel.fit(); panel.camera.show()")
    assert page.evaluate(count) == 1000


def test_panning_moves_one_group_and_touches_no_box(open_page: Any) -> None:
    page = open_page(script_page(grid(1000)))
    touched = page.evaluate(
        """async () => {
          panel.fit(); panel.camera.show();
          const svg = document.querySelector("svg.graph-picture"), seen = [];
          const watcher = new MutationObserver((all) => seen.push(...all));
          watcher.observe(svg, { attributes: true, childList: true, subtree: true });
          for (let step = 0; step < 10; step += 1) { panel.camera.pan(1, -1); panel.camera.show(); }
          await new Promise(requestAnimationFrame);
          watcher.disconnect();
          return [...new Set(seen.map((one) => `${one.target.tagName} ${one.attributeName}`))];
        }"""
    )
    assert touched == ["g transform"]
