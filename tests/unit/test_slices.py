"""Slices of time: what does not nest gets a lane of its own."""

from __future__ import annotations

from hooktrace.export.slices import Slice, lanes


def piece(start: int, end: int, depth: int = 0, only_in: Slice | None = None) -> Slice:
    return Slice(f"{start}-{end}", "hook", start, end, 0, depth, only_in)


def test_what_is_inside_or_beside_shares_a_lane() -> None:
    found = [piece(0, 10), piece(0, 4), piece(4, 10), piece(12, 13), piece(10, 12)]
    assert set(lanes(found).values()) == {0}


def test_what_overlaps_gets_a_lane_and_gives_it_back() -> None:
    first, over, later = piece(0, 10), piece(5, 12), piece(13, 14)
    placed = lanes([later, over, first])
    assert [placed[one] for one in (first, over, later)] == [0, 1, 0]


def test_the_way_back_of_one_branch_is_not_drawn_into_that_of_another() -> None:
    around = piece(0, 20)
    branch, other = piece(2, 18, 1, around), piece(5, 8, 1, around)
    inner = piece(6, 7, 2, other)
    placed = lanes([around, branch, other, inner])
    assert [placed[one] for one in (around, branch, other, inner)] == [0, 0, 1, 1]


def test_the_outer_of_two_with_the_same_times_comes_first() -> None:
    inner, outer = piece(3, 3, 2), piece(3, 3, 1)
    assert list(lanes([inner, outer])) == [outer, inner]
    assert set(lanes([inner, outer]).values()) == {0}
