"""Pictures in a reader's browser: each colour of the SVG becomes that of the reader's theme."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hooktrace.render.theme import COLOURS

VIEWS = ("modules", "tensors", "autograd", "hooks", "timeline")


def shown_colours(page: Any) -> set[str]:
    return set(
        page.evaluate(
            """() => [...document.querySelectorAll("g *")].flatMap((one) => {
                 const style = getComputedStyle(one);
                 return ["fill", "stroke"].filter((name) => one.hasAttribute(name))
                   .map((name) => style[name]);
               })"""
        )
    )


def as_css(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"


@pytest.mark.parametrize(("scheme", "side"), [("light", 0), ("dark", 1)])
@pytest.mark.parametrize("view", VIEWS)
def test_all_colours_follow_the_theme(
    browser: Any, small_trace: Any, tmp_path: Path, view: str, scheme: str, side: int
) -> None:
    path = small_trace.draw(tmp_path / "x.svg", view=view)
    page = browser.new_page(color_scheme=scheme)
    page.goto(path.as_uri())
    known = {as_css(pair[side]) for pair in COLOURS.values()}
    found = shown_colours(page) - {"none"}
    page.close()
    assert found
    assert {one for one in found if not one.startswith("rgba(0, 0, 0, 0")} <= known
