"""Names from a hostile program: nothing of them runs, is fetched, or breaks the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht

EVIL = (
    "<img src=http://127.0.0.1:9/x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "</style><svg onload=alert(3)>",
    "'\"><a href=javascript:alert(4)>x</a>",
    "{{ 7 * 7 }} {% raw %}",
    "<!-- ]]> &lt;b&gt; \u202e \u2028 \x00 \ud800",
)


class Evil(nn.Module):
    """Modules, hooks, keys, classes, an exception, with names that are markup."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleDict()
        for number, name in enumerate(EVIL):
            layer = type(name.replace("\0", "").replace("\ud800", ""), (nn.Linear,), {})(2, 2)
            self.inner._modules[f"{number}{name}".replace(".", "")] = layer

    def extra_repr(self) -> str:
        return EVIL[1]

    def forward(self, x: Any) -> Any:
        for layer in self.inner.values():
            x = layer(x)
        return {EVIL[0]: x, EVIL[1]: [x * 2]}


def hostile_trace() -> ht.Trace:
    model = Evil()
    for layer, name in zip(model.inner.values(), EVIL, strict=True):

        def hook(module: Any, args: Any, output: Any) -> Any:
            return output * 2

        hook.__name__ = hook.__qualname__ = name
        layer.register_forward_hook(hook)

    def failing(grad: Any) -> Any:
        raise RuntimeError(EVIL[0] + EVIL[1])

    try:
        with ht.trace(model, keep=True) as t:
            output = model(torch.ones(1, 2))[EVIL[0]]
            output.register_hook(failing)
            output.sum().backward()
    except RuntimeError:
        pass
    return t


def test_names_are_shown_and_never_run(open_page: Any, tmp_path: Path) -> None:
    path = hostile_trace().report(tmp_path / "evil.html", title=EVIL[1])
    page = open_page(path)
    for tab in page.locator("[role=tab]").all():
        tab.click()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert page.locator("h1").inner_text() == EVIL[1]
    assert page.locator("img, iframe, a[href^=javascript]").count() == 0
    page.locator("[role=tab][data-tab=events]").click()
    assert "onerror" in page.locator(".rows").inner_text()


def test_nor_without_scripts(open_page: Any, tmp_path: Path) -> None:
    page = open_page(hostile_trace().report(tmp_path / "evil.html"), java_script_enabled=False)
    assert page.locator("img, iframe, a[href^=javascript]").count() == 0
    assert "alert(2)" in page.locator("body").inner_text()


NAME, HOOK = "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627"
IN_PLACE = """(root) => {
  // texts in which something does not stand right of what it follows, though both are on one line;
  // a word from right to left counts as one thing
  const wrong = [];
  let last = null; // right edge and bottom of what was last
  const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.data;
    for (const found of text.matchAll(/[\\u0590-\\u06ff]+|[a-z0-9,:>@]/gi)) {
      const range = document.createRange();
      range.setStart(walk.currentNode, found.index);
      range.setEnd(walk.currentNode, found.index + found[0].length);
      const box = range.getBoundingClientRect();
      if (!box.width) continue;
      const oneLine = last && Math.abs(last.bottom - box.bottom) < 4;
      if (oneLine && box.left < last.right - 2) wrong.push(text);
      last = box;
    }
  }
  return wrong;
}"""


def right_to_left_trace() -> ht.Trace:
    net = nn.Module()
    net.forward = lambda x: net._modules[NAME](x)  # type: ignore[method-assign]
    net._modules[NAME] = nn.Linear(2, 2)

    def hook(module: Any, args: Any, output: Any) -> Any:
        return output.clamp_(0, 0.25)

    hook.__name__ = hook.__qualname__ = HOOK
    with ht.trace(net) as t:
        for _ in range(2):
            net._modules[NAME].register_forward_hook(hook)
        net(torch.ones(1, 2)).sum().backward()
        net._modules[NAME].register_full_backward_hook(hook)
    return t


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_a_name_written_from_right_to_left_does_not_turn_its_sentence(
    open_page: Any, tmp_path: Path, locale: str
) -> None:
    page = open_page(right_to_left_trace().report(tmp_path / "rtl.html"), locale=locale)
    said = check_in_place(page.locator("#graph text"))
    for tab, lines in (
        ("findings", "summary, dd"),
        ("hooks", "li"),
        ("modules", "td"),
        ("events", ".row"),
        ("inspector", "h3, p, dd, li"),
    ):
        page.locator(f"[role=tab][data-tab={tab}]").click()
        page.evaluate("() => new Promise((done) => requestAnimationFrame(done))")
        said += check_in_place(page.locator(f"#{tab}").locator(lines))
    assert sum(NAME in one for one in said) > 10
    assert sum(HOOK in one for one in said) > 5


def check_in_place(found: Any) -> list[str]:
    """Check that no visible text is turned around, and return the texts."""
    visible = "(all) => all.filter((one) => one.getClientRects().length)"
    wrong = found.evaluate_all(f"(all) => ({visible})(all).flatMap({IN_PLACE})")
    assert wrong == []
    said: list[str] = found.evaluate_all(f"(all) => ({visible})(all).map((one) => one.textContent)")
    return said


def test_nor_does_it_without_scripts(open_page: Any, tmp_path: Path) -> None:
    path = right_to_left_trace().report(tmp_path / "rtl.html")
    page = open_page(path, java_script_enabled=False)
    for selector in ("#findings summary, #findings dd", "#hooks li", "#events li"):
        assert any(NAME in one for one in check_in_place(page.locator(selector))), selector
    assert any(NAME in one for one in check_in_place(page.locator("#overview text")))
