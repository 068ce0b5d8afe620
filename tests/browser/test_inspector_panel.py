"""The inspector: sentences, before and after, pictures, links, names that mean harm."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import expect
from torch import nn

import hooktrace as ht
from hooktrace.events import (
    BackwardStarted,
    GradientAccumulated,
    GradientComputed,
    HookFired,
    ModuleExited,
    SchedulerStepped,
    TensorWritten,
)
from hooktrace.kinds import KINDS
from hooktrace.report.words import words
from hooktrace.valuelooks import looks

Reports = Callable[[Any], Path]

WHITE = [247, 247, 247]
TIMES = "\N{MULTIPLICATION SIGN}"


@pytest.fixture
def write(tmp_path: Path) -> Reports:
    """Return a function that writes the report of a trace."""

    def written(t: Any, **options: Any) -> Path:
        return Path(t.report(tmp_path / "page.html", **options))

    return written


@pytest.fixture(scope="module")
def conv_trace() -> Any:
    """A kept convolution that a hook doubles, and a ReLU that writes over it."""

    def double(module: Any, args: Any, output: Any) -> Any:
        return output * 2

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 20, 3), nn.ReLU(inplace=True))
    net[0].register_forward_hook(double)
    with ht.trace(net, keep=True) as t:
        net(torch.randn(1, 1, 8, 8)).sum().backward()
    return t


def inspector(page: Any) -> Any:
    return page.locator("#inspector .body")


def opened(open_page: Any, path: Path, event: Any, **options: Any) -> Any:
    return open_page(path, f"#e={event.seq}", **options)


# ------------------------------------------------------------------ sentences


def test_a_hook_is_told_in_a_sentence(open_page: Any, write: Reports, conv_trace: Any) -> None:
    page = opened(open_page, write(conv_trace), conv_trace.of(HookFired)[0])
    expect(page.locator("#inspector h3")).to_have_text("forward hook double on 0")
    expect(page.locator("#inspector .sentence")).to_have_text(
        f"The forward hook double on 0 ran and changed output ({TIMES}2)."
    )
    expect(page.locator("#inspector .kind")).to_contain_text("what it returns replaces the output")


def test_every_event_has_a_sentence_in_both_languages(
    open_page: Any, write: Reports, conv_trace: Any
) -> None:
    page = open_page(write(conv_trace), "#e=0")
    for language, mark in (("en", "."), ("zh", "。")):
        page.locator("select.language").select_option(language)
        for event in conv_trace.events:
            page.evaluate("seq => { location.hash = `#e=${seq}`; }", event.seq)
            expect(page.locator(".where")).to_contain_text(f"#{event.seq} /")
            text = page.locator("#inspector .sentence").inner_text()
            assert text.endswith(mark), (event, text)
            assert "undefined" not in inspector(page).inner_text()
            assert "{" not in text


@pytest.fixture(scope="module")
def many_kinds() -> Any:
    """Events of nearly every kind: gradients written over, steps, rates, hooks on all sorts."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    rates = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.register_step_pre_hook(lambda *given: None)
    net[0].register_state_dict_post_hook(lambda *given: None)
    with ht.trace(net, stats=True) as t:
        a, b = (torch.ones(2, requires_grad=True) for _ in range(2))
        c = b * 2
        c.retain_grad()
        handle = a.register_hook(lambda grad: grad.mul_(3) is None)
        handle.remove()
        a.register_hook(write_over)
        ((a + b).square() + c).sum().backward()
        for _ in range(2):
            optimizer.zero_grad()
            net(torch.ones(1, 2)).sum().backward()
            optimizer.step()
            rates.step()
        net.state_dict()
    return t


def write_over(grad: torch.Tensor) -> None:
    grad.mul_(3)


def test_events_of_every_kind_are_told(open_page: Any, write: Reports, many_kinds: Any) -> None:
    kinds = {one.label for one in many_kinds.events}
    rare = {"overwrite", "register", "remove", "write", "step", "step done", "schedule"}
    assert rare <= kinds
    page = open_page(write(many_kinds), "#e=0")
    for event in many_kinds.events:
        page.evaluate("seq => { location.hash = `#e=${seq}`; }", event.seq)
        expect(page.locator(".where")).to_contain_text(f"#{event.seq} /")
        expect(page.locator("#inspector .facts")).to_contain_text(f"event #{event.seq},")
        expect(page.locator("#inspector .sentence")).to_have_text(re.compile(r"^.{8,}\.$"))
        assert "undefined" not in inspector(page).inner_text()


def test_a_gradient_that_a_hook_changed_says_so(
    open_page: Any, write: Reports, many_kinds: Any
) -> None:
    fired = next(one for one in many_kinds.of(HookFired) if one.edits)
    tensor = many_kinds.log.hooks[fired.hook].tensor
    filled = next(one for one in many_kinds.of(GradientAccumulated) if one.tensor == tensor)
    page = opened(open_page, write(many_kinds), filled)
    expect(page.locator("#inspector .from")).to_contain_text(
        f"#{fired.seq} tensor hook write_over on a {TIMES}3"
    )


def test_a_hook_that_changed_a_gradient_twice_is_told_in_all(
    open_page: Any, write: Reports
) -> None:
    def twice(grad: Any) -> Any:
        grad.mul_(2)
        return grad * 3

    w = torch.ones(2, requires_grad=True)
    w.register_hook(twice)
    with ht.trace() as t:
        (w * torch.tensor([1.0, 2.0])).sum().backward()
    page = opened(open_page, write(t), t.of(GradientAccumulated)[0])
    expect(page.locator("#inspector .from .changed")).to_have_text(f"{TIMES}6")


def test_a_gradient_is_told_with_its_way_and_where_it_is_the_same(
    open_page: Any, write: Reports
) -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).square().sum().backward()
    (begun,) = t.of(BackwardStarted)
    inner, outer = (
        next(one for one in t.of(GradientComputed) if one.call == t[name].id)
        for name in ("0", "Sequential")
    )
    page = opened(open_page, write(t), outer)
    origin = page.locator("#inspector .from")
    expect(origin).to_contain_text(f"It is the same tensor as at #{inner.seq}; both came from:")
    expect(origin.locator("li")).to_have_text(f"#{begun.seq} Backward begins")
    expect(origin).to_contain_text("through SumBackward0 → PowBackward0")


def test_rates_are_told_in_a_sentence(open_page: Any, write: Reports, many_kinds: Any) -> None:
    stepped = many_kinds.of(SchedulerStepped)[0]
    page = opened(open_page, write(many_kinds), stepped)
    expect(page.locator("#inspector .sentence")).to_have_text(
        "A step of StepLR set the learning rate of SGD from 0.1 to 0.01."
    )


class Writes(nn.Module):
    """Writes over what it is given; nothing sees what is left."""

    def forward(self, x: Any) -> Any:
        return x.mul_(2).sum()


@pytest.mark.parametrize(("last", "shown"), [(nn.ReLU(inplace=True), True), (Writes(), False)])
def test_copies_are_only_spoken_of_where_they_are_shown(
    open_page: Any, write: Reports, last: Any, shown: bool
) -> None:
    net = nn.Sequential(nn.Conv2d(1, 20, 3), last)
    with ht.trace(net, keep=True) as t:
        net(torch.randn(1, 1, 8, 8)).sum().backward()
    page = opened(open_page, write(t), t.of(TensorWritten)[0])
    written = page.locator("#inspector .written")
    expect(written).to_contain_text("the version: how often the tensor was written to.")
    assert (written.locator("canvas").count() > 0) == shown
    assert ("these are copies" in written.inner_text()) == shown


def test_each_kind_of_hook_has_words_in_both_languages() -> None:
    for language in ("en", "zh"):
        known = words(language)
        for kind in KINDS:
            assert known[f"kind_{kind}"]
            assert known[f"is_{kind}"]
    assert words("en").keys() == words("zh").keys()


# ------------------------------------------------------------------ before and after


def test_numbers_before_and_after_are_side_by_side_with_changes_marked(
    open_page: Any, write: Reports
) -> None:
    def cut(grad: Any) -> Any:
        return grad.clamp(max=3)

    w = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    w.register_hook(cut)
    with ht.trace() as t:
        (w * w).sum().backward()
    page = opened(open_page, write(t), t.of(HookFired)[0])
    tables = page.locator("#inspector .edits table.matrix")
    assert [one.split() for one in tables.all_inner_texts()] == [list("2468"), list("2333")]
    assert tables.nth(0).locator("mark").count() == 0
    assert tables.nth(1).locator("mark").all_inner_texts() == ["3", "3", "3"]
    assert tables.nth(1).locator("tr").count() == 2


def test_grad_before_what_arrived_and_grad_after(open_page: Any, write: Reports) -> None:
    w = torch.tensor([5.0], requires_grad=True)
    with ht.trace() as t:
        (w * 2).sum().backward()
        (w * 3).sum().backward()
    first, second = t.of(GradientAccumulated)
    path = write(t)
    filled = page_text(opened(open_page, path, first), ".filled")
    assert filled == [
        "What .grad became",
        ".grad before",
        "None",
        "+",
        "arrived",
        "2",
        "=",
        ".grad after",
        "2",
    ]
    assert page_text(opened(open_page, path, second), ".filled")[2::3] == ["2", "3", "5"]


def page_text(page: Any, where: str) -> list[str]:
    return [
        one.strip()
        for one in page.locator(f"#inspector {where}").inner_text().split("\n")
        if one.strip()
    ]


def test_a_write_in_place_says_who_overwrote_what(
    open_page: Any, write: Reports, conv_trace: Any
) -> None:
    event = conv_trace.of(TensorWritten)[0]
    page = opened(open_page, write(conv_trace), event)
    expect(page.locator("#inspector .sentence")).to_have_text(
        "Overwritten in place: output of 0@0, by 1@0 (ReLU)."
    )
    assert page.locator("#inspector .written canvas:not(.ramp)").count() == 3
    expect(page.locator("#inspector .values")).to_contain_text(f"written in place at #{event.seq}")


def test_an_exception_is_told(open_page: Any, write: Reports) -> None:
    def fails(module: Any, args: Any) -> None:
        raise ValueError("no such thing")

    net = nn.Linear(1, 1)
    net.register_forward_pre_hook(fails)
    with pytest.raises(ValueError, match="no such"), ht.trace(net) as t:
        net(torch.ones(1, 1))
    page = opened(open_page, write(t), t.of(HookFired)[0])
    expect(page.locator("#inspector .raised").first).to_have_text("ValueError: no such thing")


# ------------------------------------------------------------------ pictures


def canvas_pixels(page: Any, number: int, where: str) -> list[list[list[int]]]:
    """The colours of a canvas: rows of [red, green, blue, alpha]."""
    found: list[list[list[int]]] = page.evaluate(
        """([where, number]) => {
          const canvas = document.querySelectorAll(`#inspector ${where} canvas:not(.ramp)`)[number];
          const {width, height} = canvas;
          const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
          return Array.from({length: height}, (_, y) => Array.from({length: width}, (_, x) =>
            [...data.slice(4 * (y * width + x), 4 * (y * width + x) + 4)]));
        }""",
        [where, number],
    )
    return found


def test_a_picture_has_a_pixel_for_each_number(open_page: Any, write: Reports) -> None:
    t = shown_values(torch.tensor([[[[0.0, 64.0, 127.0], [-127.0, float("nan"), 0.0]]]]))
    page = opened(open_page, write(t), t.of(ModuleExited)[0])
    rows = canvas_pixels(page, 0, ".kept")
    assert [[one[:3] for one in row] for row in rows] == [
        [WHITE, [239, 137, 98], [178, 24, 43]],
        [[33, 102, 172], [255, 0, 255], WHITE],
    ]
    label = page.locator("#inspector .kept canvas:not(.ramp)").get_attribute("aria-label")
    assert TIMES.join("1123") in label
    assert "NaN or infinite pixels: 1" in label


def test_values_that_are_not_negative_go_from_dark_to_bright(
    open_page: Any, write: Reports
) -> None:
    t = shown_values(torch.tensor([[1.0, 3.0], [5.0, 5.0]]).reshape(1, 1, 2, 2).repeat(1, 20, 1, 1))
    page = opened(open_page, write(t), t.of(ModuleExited)[0])
    rows = canvas_pixels(page, 0, ".kept")
    assert (len(rows), len(rows[0])) == (11, 11)  # 4 x 4 tiles of 2 x 2 with a pixel between
    assert rows[0][0] == [68, 1, 84, 255]
    assert rows[0][1] == [33, 145, 140, 255]
    assert rows[1][1] == [253, 231, 37, 255]
    assert rows[0][2] == rows[2][0] == [0, 0, 0, 0]


def shown_values(values: torch.Tensor) -> Any:
    class Gives(nn.Module):
        def forward(self) -> torch.Tensor:
            return values.clone()

    net = Gives()
    with ht.trace(net, keep=True) as t:
        net()
    return t


def test_both_sides_of_an_edit_share_one_scale(
    open_page: Any, write: Reports, conv_trace: Any
) -> None:
    event = conv_trace.of(HookFired)[0]
    page = opened(open_page, write(conv_trace), event)
    figures = page.locator("#inspector .edits .look")
    legends = figures.locator(".legend").all_inner_texts()
    assert len(legends) == 3
    assert legends[0] == legends[1] != legends[2]
    found = looks(conv_trace.log)
    tiles = found.values[event.edits[0].before.value]["tiles"]
    place = max(range(36), key=lambda at: abs(_level(tiles, at) - 127))
    before, after = (canvas_pixels(page, one, ".edits")[place // 6][place % 6] for one in (0, 1))
    assert distance(after) > distance(before)


def _level(tiles: dict[str, Any], at: int) -> int:
    import base64

    return base64.b64decode(tiles["pixels"])[at]


def distance(colour: list[int]) -> int:
    return sum(abs(one - white) for one, white in zip(colour, WHITE, strict=False))


def test_what_was_not_copied_is_told_without_pictures(open_page: Any, write: Reports) -> None:
    def raise_it(module: Any, args: Any, output: Any) -> None:
        output.add_(1)

    net = nn.Linear(1, 30)
    net.register_forward_hook(raise_it)
    with ht.trace(net, edits="versions") as t:
        net(torch.ones(1, 1))
    page = opened(open_page, write(t), t.of(HookFired)[0])
    expect(page.locator("#inspector .edits")).to_contain_text("not compared: edits='versions'")
    assert page.locator("#inspector canvas").count() == 0


# ------------------------------------------------------------------ links


def test_a_gradient_links_to_where_it_came_from(
    open_page: Any, write: Reports, conv_trace: Any
) -> None:
    arrived, came = [
        one
        for name, role in (("0", "grad_output[0]"), ("1", "grad_input[0]"))
        for one in conv_trace.of(GradientComputed)
        if one.call == conv_trace[name].id and one.gradient.role == role
    ]
    page = opened(open_page, write(conv_trace), arrived)
    link = page.locator("#inspector .from a")
    expect(link).to_have_text(f"#{came.seq}")
    link.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".where")).to_contain_text(f"#{came.seq} /")
    expect(page.locator("#inspector h3")).to_be_focused()


def test_links_lead_to_the_call_the_module_and_the_finding(open_page: Any, write: Reports) -> None:
    def poison(module: Any, args: Any, output: Any) -> Any:
        return output * float("nan")

    net = nn.Sequential(nn.Linear(2, 2))
    net[0].register_forward_hook(poison)
    with ht.trace(net, stats=True) as t:
        net(torch.ones(1, 2))
    page = opened(open_page, write(t), t.of(HookFired)[0])
    ties = page.locator("#inspector .ties")
    ties.get_by_role("button", name="nan-born-here").press("Enter")
    expect(page.locator("#findings")).to_be_visible()
    page.locator("[role=tab][data-tab=inspector]").click()
    ties.get_by_role("button", name="0", exact=True).click()
    expect(page.locator("#modules tr.current")).to_be_visible()
    page.locator("[role=tab][data-tab=inspector]").click()
    first = t["0"].called.seq
    ties.get_by_role("link", name=f"#{first}", exact=True).click()
    expect(page.locator(".where")).to_contain_text(f"#{first} /")


# ------------------------------------------------------------------ harm

HARM = "<img src=x onerror=alert(1)>"
TURNED = "\u202eabc</script>😀"


def test_names_that_mean_harm_are_text(open_page: Any, write: Reports) -> None:
    def hook(module: Any, args: Any, output: Any) -> None:
        raise ValueError(f"{HARM}{TURNED}")

    class Odd(nn.Module):
        def forward(self, given: Any) -> Any:
            return {HARM: given[TURNED] * 2}

    Odd.__name__ = hook.__qualname__ = HARM
    net = nn.Sequential()
    net.add_module(TURNED, Odd())
    net[0].register_forward_hook(hook)
    with pytest.raises(ValueError, match="img"), ht.trace(net, keep=True) as t:
        net({TURNED: torch.ones(2, requires_grad=True)})
    page = open_page(write(t), "#e=0")
    for event in t.events:
        page.evaluate("seq => { location.hash = `#e=${seq}`; }", event.seq)
        expect(page.locator(".where")).to_contain_text(f"#{event.seq} /")
        assert page.locator("#inspector img, #inspector script").count() == 0
    page.evaluate("seq => { location.hash = `#e=${seq}`; }", t.of(HookFired)[0].seq)
    expect(page.locator("#inspector h3")).to_have_text(f"forward hook {HARM} on {TURNED}")
    isolated = page.locator("#inspector h3 bdi").all_inner_texts()
    assert isolated[1:] == [HARM, TURNED]


# ------------------------------------------------------------------ for everyone


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(
    open_page: Any, write: Reports, conv_trace: Any, scheme: str
) -> None:
    page = opened(open_page, write(conv_trace), conv_trace.of(HookFired)[0], color_scheme=scheme)
    found = page.evaluate(CONTRASTS)
    assert len(found) > 20
    assert [one for one in found if one[1] < 4.5] == []


CONTRASTS = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((one) => one / 255)
    .map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const colour = parts(getComputedStyle(one).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const one of document.querySelectorAll("#inspector .body *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || one.closest("svg")) continue;
    const [a, b] = [light(parts(getComputedStyle(one).color)), light(behind(one))];
    found.push([one.textContent.slice(0, 30), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
  }
  return found;
}"""


def test_headings_are_in_order_and_cells_have_headings(
    open_page: Any, write: Reports, conv_trace: Any
) -> None:
    page = opened(open_page, write(conv_trace), conv_trace.of(HookFired)[0])
    levels = page.locator("#inspector").evaluate(
        "one => [...one.querySelectorAll('h2, h3, h4')].map((head) => head.tagName)"
    )
    assert levels[:2] == ["H2", "H3"]
    assert set(levels[2:]) == {"H4"}
    tables = page.locator("#inspector .seen table:not(.matrix)")
    assert tables.count() >= 1
    for number in range(tables.count()):
        assert tables.nth(number).locator("thead th[scope=col]").count() == 4
        assert tables.nth(number).locator("tbody th[scope=row]").count() >= 1
    for one in page.locator("#inspector canvas:not(.ramp), #inspector svg").all():
        assert one.get_attribute("role") == "img"
        assert len(one.get_attribute("aria-label")) > 10


def test_no_path_of_this_machine_is_in_a_page(write: Reports, conv_trace: Any) -> None:
    path = write(conv_trace)
    begun = conv_trace.of(BackwardStarted)[0]
    folder = str(Path(begun.line.rpartition(":")[0]).parent)
    shown = json.dumps(_data(path))
    assert "test_inspector_panel.py" in shown
    assert str(Path.home()) not in shown or folder.startswith(str(Path.cwd()))
    assert folder not in shown


def _data(path: Path) -> Any:
    import base64
    import gzip
    import re

    text = path.read_text("utf-8")
    packed = re.search(r'data-part="events">([^<]+)<', text)
    assert packed is not None
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


def test_source_shows_the_hook_and_the_statement_that_called_the_model_or_began_the_run(
    open_page: Any, write: Reports
) -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].register_forward_hook(lambda module, args, output: None)
    net[0].weight.register_hook(lambda grad: grad * 2)
    with ht.trace(net) as t:
        output = net(torch.ones(1, 2))
        output.sum().backward()
    forward, backward = (one.seq for one in t.of(HookFired))
    page = open_page(write(t), f"#e={forward}")
    page.get_by_role("tab", name="Source").click()
    excerpts = page.locator("#source .excerpt")
    own = excerpts.locator(".line.own")
    expect(own).to_have_text([re.compile("register_forward_hook"), re.compile("output = net")])
    expect(excerpts.first.locator(".line")).to_have_count(1)
    page.evaluate(f"location.hash = '#e={backward}'")
    expect(own).to_have_text([re.compile(r"register_hook\("), re.compile(r"sum\(\)\.backward")])
    assert words("en")["run_called_here"] in excerpts.last.inner_text()
