"""Long pictures wrap: the chain is cut where one value crosses, and goes on in the next column.

At a cut the arrow ends in a sign that says where it goes on, and begins again in the next column
at a sign that says where it came from.  A frame that is cut goes on as "(continued)".  So the
columns share no arrow, and any engine puts them side by side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, combinations, pairwise, zip_longest

from hooktrace.render.dot import Arrow, Box, Frame, Scene

__all__ = ["wrap_columns"]

_TALLEST = 10  # boxes above each other in one column
_CAPTION = 0.3  # height of a frame's caption and margins, in boxes
_USUAL_ROWS = 4  # that a box may have and still counts as one
_ROW = 0.155  # height of a row more, in boxes with their arrow
_MOST_CUTS = 5
_MOST_CHOICES = 18
_MOST_CROSSING = 2

Sign = Callable[[str, str, str], Box]  # (name, words, tooltip)


def wrap_columns(scene: Scene, sign: Sign, names: dict[str, str]) -> Scene:
    """Return the scene, wrapped into columns if it is long and can be cut.

    Args:
        scene: Boxes, frames and arrows.
        sign: Makes the box at either end of a cut.
        names: What to call the boxes in a sign.
    """
    frames = _frames(scene.members)
    ranks = _ranks(list(frames), scene.arrows)
    height = _Height(ranks, frames, scene.members)
    if height.of(()) <= _TALLEST:
        return scene
    cuts = _choose(_costs(ranks, scene.arrows, frames), height)
    if not cuts:
        return scene
    column = {name: sum(rank >= cut for cut in cuts) for name, rank in ranks.items()}
    members: list[Box | Frame] = []
    for number in range(len(cuts) + 1):
        members += _only(scene.members, column, number)
    signs, arrows = _cut_arrows(scene.arrows, column, sign, names)
    fed = {arrow.head for arrow in arrows}
    heads = {name: number for name, number in column.items() if name not in fed}
    for number, box in signs:
        if box.name not in fed:
            heads[box.name] = number
    return Scene(scene.title, [*members, *(box for _, box in signs)], arrows, heads)


def _frames(members: Sequence[Box | Frame]) -> dict[str, tuple[str, ...]]:
    """Return the names of all boxes, each with its frames from the outermost to the innermost."""
    found: dict[str, tuple[str, ...]] = {}
    stack: list[tuple[Box | Frame, tuple[str, ...]]] = [(one, ()) for one in reversed(members)]
    while stack:
        member, around = stack.pop()
        if isinstance(member, Box):
            found[member.name] = around
        else:
            inner = (*around, member.name)
            stack += [(one, inner) for one in reversed(member.members)]
    return found


def _boxes(members: Sequence[Box | Frame]) -> Iterator[Box]:
    for member in members:
        if isinstance(member, Box):
            yield member
        else:
            yield from _boxes(member.members)


def _height_of(box: Box) -> float:
    """Return the height of a box with the arrow to it; that of a usual one is 1."""
    return 1 + _ROW * max(0, box.label.count("<TR>") - _USUAL_ROWS)


def _ranks(names: list[str], arrows: Sequence[Arrow]) -> dict[str, int]:
    """Number the layers: a box is below everything that leads to it."""
    after: dict[str, list[str]] = defaultdict(list)
    waiting = dict.fromkeys(names, 0)
    for arrow in arrows:
        after[arrow.tail].append(arrow.head)
        waiting[arrow.head] += 1
    ranks = dict.fromkeys(names, 0)
    ready = [name for name in names if not waiting[name]]
    while ready:
        name = ready.pop()
        for head in after[name]:
            ranks[head] = max(ranks[head], ranks[name] + 1)
            waiting[head] -= 1
            if not waiting[head]:
                ready.append(head)
    return ranks


def _costs(
    ranks: dict[str, int], arrows: Sequence[Arrow], frames: dict[str, tuple[str, ...]]
) -> dict[int, float]:
    """Return the layers at which a column can begin, each with what a cut there costs.

    A cut may cross the arrows of one value only.  It costs one layer for each frame it splits
    beyond the first.
    """
    costs: dict[int, float] = {}
    for layer in range(2, max(ranks.values())):
        across = [one for one in arrows if ranks[one.tail] < layer <= ranks[one.head]]
        if len({one.tail for one in across}) == 1 and len(across) <= _MOST_CROSSING:
            split = set(frames[across[0].tail]) & set(frames[across[0].head])
            costs[layer] = max(0, len(split) - 1) + 0.5 * (len(across) - 1)
    return costs


class _Height:
    """How tall columns are that hold some of the layers: boxes, and captions of their frames."""

    def __init__(
        self,
        ranks: dict[str, int],
        frames: dict[str, tuple[str, ...]],
        members: Sequence[Box | Frame],
    ) -> None:
        self.end = max(ranks.values(), default=0) + 1
        self._frames: dict[int, set[str]] = defaultdict(set)
        for name, rank in ranks.items():
            self._frames[rank].update(frames[name])
        self._layers = [1.0] * self.end
        for box in _boxes(members):
            rank = ranks[box.name]
            self._layers[rank] = max(self._layers[rank], _height_of(box))
        self._down = [0.0, *accumulate(self._layers)]
        self._known: dict[tuple[int, int], float] = {}

    def _captions(self, start: int, end: int) -> float:
        """Return the height of the captions in the layers from `start` to before `end`."""
        known = self._known.get((start, end))
        if known is None:
            captions = set().union(*(self._frames[layer] for layer in range(start, end)))
            known = self._known[start, end] = _CAPTION * len(captions)
        return known

    def least(self, cuts: tuple[int, ...]) -> float:
        """Return the height of the tallest column if it stood alone, which is quickly told."""
        spans = pairwise((0, *cuts, self.end))
        return max(self._down[end] - self._down[start] + self._captions(start, end)
                   for start, end in spans)  # fmt: skip

    def of(self, cuts: tuple[int, ...]) -> float:
        """Return the height of the tallest of the columns side by side.

        An engine puts the n-th layers of all columns at one height, so the tallest box counts.
        """
        spans = list(pairwise((0, *cuts, self.end)))
        beside = [self._layers[start:end] for start, end in spans]
        tops = [0.0, *accumulate(map(max, zip_longest(*beside, fillvalue=0.0)))]
        return max(tops[end - start] + self._captions(start, end) for start, end in spans)


def _choose(costs: dict[int, float], height: _Height) -> tuple[int, ...]:
    """Choose the fewest cuts that make the picture low enough, and of those the best."""
    layers = sorted(sorted(costs, key=lambda layer: costs[layer])[:_MOST_CHOICES])
    best: tuple[float, tuple[int, ...]] = (height.of(()), ())
    for count in range(1, _MOST_CUTS + 1):
        for cuts in combinations(layers, count):
            cost = sum(costs[cut] for cut in cuts) / 2
            if height.least(cuts) + cost < best[0] - 1e-9:
                best = min(best, (height.of(cuts) + cost, cuts), key=_price)
        if best[1] and height.of(best[1]) <= _TALLEST:
            break
    return best[1]


def _price(choice: tuple[float, tuple[int, ...]]) -> float:
    return round(choice[0], 9)


def _only(members: Sequence[Box | Frame], column: dict[str, int], number: int) -> list[Box | Frame]:
    """Return the members of one column, frames cut to it."""
    found: list[Box | Frame] = []
    for member in members:
        if isinstance(member, Box):
            if column[member.name] == number:
                found.append(member)
            continue
        inner = _only(member.members, column, number)
        if inner:
            first = min(column[name] for name in _frames([member]))
            found.append(_part(member, inner, number - first))
    return found


def _part(frame: Frame, members: list[Box | Frame], part: int) -> Frame:
    if part == 0:
        return replace(frame, members=members)
    name = f"{frame.name}-part{part + 1}"
    return replace(frame, name=name, label=frame.continued or frame.label, members=members)


def _cut_arrows(
    arrows: Sequence[Arrow], column: dict[str, int], sign: Sign, names: dict[str, str]
) -> tuple[list[tuple[int, Box]], list[Arrow]]:
    """End every arrow across a cut in a sign, and begin it anew at another."""
    signs: dict[str, tuple[int, Box]] = {}
    kept: dict[tuple[str, str], Arrow] = {}
    for arrow in arrows:
        start, end = column[arrow.tail], column[arrow.head]
        if start == end:
            kept[arrow.tail, arrow.head] = arrow
            continue
        leave, enter = f"{arrow.tail}-goes-on", f"{arrow.tail}-came-{end}"
        heads = [one.head for one in arrows if one.tail == arrow.tail and column[one.head] != start]
        where = " and ".join(names.get(head, "") for head in heads)
        signs[leave] = (start, sign(leave, f"goes on at {where}", "continued in another column"))
        words = f"from {names.get(arrow.tail, '')}"
        signs[enter] = (end, sign(enter, words, "continued from another column"))
        kept.setdefault((arrow.tail, leave), replace(arrow, head=leave))
        kept[enter, arrow.head] = replace(arrow, tail=enter, label="")
    return list(signs.values()), list(kept.values())
