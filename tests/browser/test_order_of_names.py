"""The page's script isolates names written from right to left where Python does."""

from __future__ import annotations

import random
from typing import Any

from markupsafe import Markup, escape

from hooktrace.report.phrases import in_order, ordered
from hooktrace.report.script import asset

EDGES = (0x58F, 0x590, 0x5D0, 0x61C, 0x627, 0x663, 0x6F4, 0x8FF, 0x900, 0x968, 0x200E, 0x202E,
         0x2066, 0x2069, 0xFB1C, 0xFB1D, 0xFDFF, 0xFE00, 0xFE70, 0xFEFC, 0xFEFF, 0x107FF, 0x10800,
         0x10FFF, 0x11000, 0x1E800, 0x1EFFF, 0x1F600)  # fmt: skip
BETWEEN = " .,'-_/:<&a1\t\n\x1c\x85\xa0\u2003\u200b"


def names(count: int) -> list[str]:
    signs = [*map(chr, EDGES), *BETWEEN, *"אבא "]
    draw = random.Random(0)
    return ["".join(draw.choices(signs, k=draw.randint(1, 14))) for _ in range(count)]


def test_script_and_python_isolate_the_same(open_page: Any) -> None:
    asked = names(5_000)
    page = open_page("<!doctype html><html data-ready><title>names</title>")
    module = asset("ordered.js").replace("export ", "")
    got = page.evaluate(f"(names) => {{ {module}; return names.map(inOrder); }}", asked)
    assert [one for one, its in zip(asked, got, strict=True) if in_order(one) != its] == []
    assert sum("\u2068" in one for one in got) > 4_000


def test_text_and_elements_isolate_the_same() -> None:
    for one in names(5_000):
        opened = ordered(one).replace(Markup("<bdi>"), "\u2068")
        assert opened.replace(Markup("</bdi>"), "\u2069") == escape(in_order(one))
