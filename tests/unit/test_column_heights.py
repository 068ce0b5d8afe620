"""Long pictures wrap by how tall their boxes are, so that none is taller than two screens."""

from __future__ import annotations

import json
from typing import Any

import layout_audit
import pytest
import torch
from torch import nn

import hooktrace as ht
from hooktrace.render.captions import laid_out
from hooktrace.render.columns import wrap_columns
from hooktrace.render.dot import Arrow, Box, Scene, row, table

models = pytest.importorskip("torchvision.models")


def chain(rows: list[int]) -> Scene:
    """A scene of boxes with so many rows, one below the other."""
    boxes = [
        Box(f"b{at}", table([row("words")] * count, fill="leaf", border="line"), "")
        for at, count in enumerate(rows)
    ]
    arrows = [Arrow(f"b{at}", f"b{at + 1}") for at in range(len(rows) - 1)]
    return Scene('""', [*boxes], arrows)


def columns(scene: Scene) -> int:
    wrapped = wrap_columns(scene, lambda name, words, tip: Box(name, words, ""), {})
    return 1 + sum(one.name.endswith("-goes-on") for one in wrapped.members)


def test_boxes_of_many_rows_need_more_columns_than_small_ones() -> None:
    assert columns(chain([4] * 10)) == 1
    assert columns(chain([10] * 10)) == 2
    assert columns(chain([4] * 20)) == 2
    assert columns(chain([10] * 20)) == 4


def test_a_tall_box_makes_room_in_the_columns_beside_it() -> None:
    tall_near_both_ends = [3, 14, *[3] * 12, 14, 3]
    assert columns(chain(tall_near_both_ends)) == 3  # of two, each would be low enough alone
    tall_at_one_end = [3, 14, *[3] * 14]
    assert columns(chain(tall_at_one_end)) == 2


@pytest.fixture(scope="module", params=["resnet18", "densenet121", "swin_t"])
def deep(request: Any) -> ht.Trace:
    torch.manual_seed(0)
    net: nn.Module = getattr(models, request.param)(weights=None).eval()
    with ht.trace(net) as t:
        net(torch.randn(1, 3, 64, 64)).sum().backward()
    return t


@pytest.mark.parametrize("engine", layout_audit.ENGINES)
def test_the_backward_of_a_deep_net_fits_on_a_canvas(deep: ht.Trace, engine: str) -> None:
    def height(view: str) -> float:
        found = json.loads(laid_out(deep.digraph(view=view).source, "json", engine))
        return float(found["bb"].split(",")[3])

    assert height("autograd") < max(1.1 * height("modules"), 1200)
    assert layout_audit.audit(deep.digraph(view="autograd").source, engine) >= 15
