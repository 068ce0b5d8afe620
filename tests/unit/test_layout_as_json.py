"""``t.draw("x.json")``: the layout for other programs, the same as in the picture."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.errors import UnknownFormatError


@pytest.fixture(scope="module")
def trace() -> ht.Trace:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 1)))
    net[0].register_forward_hook(lambda module, args, output: output * 2)
    with ht.trace(net) as t:
        net(torch.ones(1, 2)).sum().backward()
    return t


def drawn_boxes(svg: str) -> dict[str, tuple[float, float]]:
    """Where the middle of each box is in an SVG, in points from the left and from below."""
    found = {}
    for number, body in re.findall(
        r'<g id="([^"]+)" class="node[^"]*">(.*?)\n</g>', svg, re.DOTALL
    ):
        ways = re.findall(r' (?:d|points)="([^"]+)"', body)
        points = [tuple(map(float, one)) for one in re.findall(r"(-?[\d.]+),(-?[\d.]+)", ways[0])]
        xs, ys = zip(*points, strict=True)
        found[number.replace("&#45;", "-")] = (min(xs) + max(xs)) / 2, -(min(ys) + max(ys)) / 2
    return found


def test_boxes_are_where_the_picture_has_them(trace: ht.Trace, tmp_path: Path) -> None:
    layout: Any = json.loads(trace.draw(tmp_path / "net.json").read_text())
    svg = trace.draw(tmp_path / "net.svg").read_text()
    placed = {
        one.get("id", one["name"]): tuple(map(float, one["pos"].split(",")))
        for one in layout["objects"]
        if "pos" in one and one.get("style") != "invis"
    }
    drawn = drawn_boxes(svg)
    assert placed.keys() == drawn.keys()
    for name, (x, y) in drawn.items():
        assert placed[name] == pytest.approx((x, y), abs=1)
    assert len(layout["edges"]) == svg.count('class="edge')


def test_a_format_that_is_an_export_is_said_to_be_one(trace: ht.Trace, tmp_path: Path) -> None:
    with pytest.raises(UnknownFormatError, match=r"\.json.*t\.export\(\) writes others"):
        trace.draw(tmp_path / "net.mmd")
