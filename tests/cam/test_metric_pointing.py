"""Pointing games: right and wrong, in every dimension."""

from __future__ import annotations

import pytest
import torch

from hooktrace.cam import HeatMap, metrics
from hooktrace.errors import (
    MapShapeError,
)


def test_pointing_games_know_right_from_wrong() -> None:
    maps = torch.zeros(2, 20, 30)
    maps[0, 5, 8], maps[0, 6, 8], maps[1, 15, 25] = 3.0, 1.0, 2.0
    boxes = [[7, 4, 10, 6], [0, 0, 5, 5]]  # x1, y1, x2, y2
    hits = metrics.pointing_game(maps, boxes, tolerance=0)
    assert hits.values.tolist() == [1, 0]
    energy = metrics.energy_pointing_game(maps, boxes)
    assert energy.values.tolist() == pytest.approx([3 / 4, 0])


def test_the_tolerance_of_the_pointing_game_is_a_distance_to_the_region() -> None:
    maps = torch.zeros(1, 20, 30)
    maps[0, 9, 8] = 1.0
    box = [[0, 0, 5, 6]]  # its nearest position is y=5, x=4: 4 and 4 away
    hit = [metrics.pointing_game(maps, box, tolerance=t).mean for t in (5.65, 5.66)]
    assert hit == [0, 1]


@pytest.mark.parametrize("shape", [(12,), (6, 8), (4, 6, 5)])
def test_boxes_and_masks_are_the_same_in_every_dimension(shape: tuple[int, ...]) -> None:
    low = torch.tensor([1] * len(shape))
    high = torch.tensor([3, 5, 4][: len(shape)])
    mask = torch.zeros(2, *shape, dtype=torch.bool)
    mask[(slice(None), *(slice(1, int(end)) for end in high))] = True
    box = torch.cat([low, high.flip(0)]).expand(2, -1)  # x along the last axis
    maps = torch.rand(2, *shape)
    assert torch.equal(
        metrics.energy_pointing_game(maps, box).values,
        metrics.energy_pointing_game(maps, mask).values,
    )
    share = (maps * mask).flatten(1).sum(1) / maps.flatten(1).sum(1)
    torch.testing.assert_close(metrics.energy_pointing_game(maps, mask).values, share)


def test_several_boxes_are_one_region_and_coarse_maps_are_brought_to_the_image() -> None:
    maps = torch.zeros(1, 4, 4)
    maps[0, 3, 3] = 1.0
    heat = HeatMap(maps, "gradcam", "layer4", "class 1", (1,), None, (32, 32))
    boxes = [[[0, 0, 4, 4], [20, 20, 32, 32]]]
    assert metrics.pointing_game(heat, boxes, tolerance=0).mean == 1
    assert metrics.energy_pointing_game(heat, boxes).mean == 1
    assert metrics.pointing_game(maps, [[20, 20, 32, 32]], size=(32, 32)).mean == 1
    with pytest.raises(MapShapeError, match="4 numbers"):
        metrics.pointing_game(heat, [[1, 2, 3]])


def test_a_blank_map_points_nowhere() -> None:
    everywhere = torch.ones(1, 4, 4, dtype=torch.bool)
    assert metrics.pointing_game(torch.zeros(1, 4, 4), everywhere).mean == 0
    assert metrics.energy_pointing_game(torch.zeros(1, 4, 4), everywhere).mean == 0
