"""Names from a hostile program: nothing of them runs, is fetched, or breaks the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
