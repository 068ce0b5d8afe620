"""Several metrics for several heat maps, side by side."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hooktrace.cam.heatmaps import HeatMap
from hooktrace.cam.metrics.adcc import complexity
from hooktrace.cam.metrics.confidence import average_drop, confidence_change, increase
from hooktrace.cam.metrics.curves import deletion, insertion
from hooktrace.cam.metrics.placing import Maps
from hooktrace.cam.metrics.road import road, road_lerf, road_morf
from hooktrace.cam.metrics.running import Classes, chosen, tracked
from hooktrace.cam.metrics.scores import Scores
from hooktrace.errors import UnknownNameError, nearest

__all__ = ["Table", "evaluate"]

_METRICS: dict[str, Callable[..., Scores]] = {
    "deletion": deletion,
    "insertion": insertion,
    "average_drop": average_drop,
    "increase": increase,
    "confidence_change": confidence_change,
    "road": road,
    "road_morf": road_morf,
    "road_lerf": road_lerf,
}
_OF_MAPS: dict[str, Callable[[Maps], Scores]] = {"complexity": complexity}
DEFAULT = ("deletion", "insertion", "average_drop", "increase", "road", "complexity")


@dataclass(frozen=True, eq=False)
class Table:
    """Scores by heat map and metric.

    Attributes:
        scores: ``table["gradcam, layer4", "deletion"]`` is one of them.
    """

    scores: Mapping[tuple[str, str], Scores]

    def __getitem__(self, key: tuple[str, str]) -> Scores:
        """Return the scores of a heat map by a metric.

        Raises:
            UnknownNameError: There are none.
        """
        if key not in self.scores:
            raise UnknownNameError(f"There are no scores {key!r}, but these: {list(self.scores)}.")
        return self.scores[key]

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the heat maps, in their order."""
        return tuple(dict.fromkeys(row for row, _ in self.scores))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in their order."""
        return tuple(dict.fromkeys(column for _, column in self.scores))

    def best(self, metric: str) -> str:
        """Return the name of the heat map with the best mean of a metric."""
        means = {name: self[name, metric].mean for name in self.maps}
        pick = max if self[self.maps[0], metric].better == "higher" else min
        return pick(means, key=lambda name: means[name])

    def __str__(self) -> str:
        from rich.console import Console
        from rich.table import Table as Grid
        from rich.text import Text

        grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        grid.add_column("heat map", no_wrap=True)
        for name in self.metrics:
            better = self[self.maps[0], name].better
            grid.add_column(f"{name} ({better})", no_wrap=True, justify="right")
        for row in self.maps:
            cells = [_cell(self[row, name]) for name in self.metrics]
            grid.add_row(*(Text(one) for one in (row, *cells)))
        width = 30 + max(map(len, self.maps)) + 32 * len(self.metrics)
        plain: dict[str, Any] = {"color_system": None, "legacy_windows": False}
        plain["force_jupyter"] = False  # there a console would show it at once
        console = Console(file=io.StringIO(), width=width, **plain)
        console.print(grid)
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        return "\n".join(line.rstrip() for line in lines)


def _cell(scores: Scores) -> str:
    if len(scores.values) == 1:
        return f"{scores.mean:.3f}"
    low, high = scores.interval()
    return f"{scores.mean:.3f} [{low:.3f}, {high:.3f}]"


def evaluate(
    model: Callable[..., Any],
    images: Tensor,
    maps: Maps | Mapping[Any, Any],
    classes: Classes = None,
    *,
    metrics: Sequence[str] = DEFAULT,
    batch_size: int = 32,
    progress: bool = False,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Table:
    """Judge several heat maps by several metrics.

    Args:
        images: (N, C, *S).
        maps: `HeatMaps`, a `HeatMap`, a tensor (N, *S), or a dict of the latter two by name.
        classes: An int, one for each image, or None for each map's own, else the predicted one.
        metrics: Names of functions of this package that need no more than a model and maps.
        batch_size: Changed images in one run of the model.
        progress: Whether to show a bar.
        options: Further arguments by name of the metric: ``{"deletion": {"steps": 20}}``.

    Returns:
        A table; ``print`` shows means with 95% bootstrap intervals over images.

    Raises:
        UnknownNameError: There is no such metric.
        MapShapeError: The maps do not fit the images, or are not finite.
        TargetError: The classes do not fit the images or the model.
    """
    for name in (*metrics, *(options or {})):
        if name not in _METRICS and name not in _OF_MAPS:
            raise UnknownNameError(
                f"There is no metric {name!r} here.{nearest(name, [*_METRICS, *_OF_MAPS])}"
            )
    named = _named(maps)
    wanted = {row: chosen(model, images, one, classes) for row, one in named.items()}
    jobs = [(row, one, metric) for row, one in named.items() for metric in metrics]
    found: dict[tuple[str, str], Scores] = {}
    for row, one, metric in tracked(jobs, len(jobs), "metrics", progress):
        if metric in _OF_MAPS:
            found[row, metric] = _OF_MAPS[metric](one)
            continue
        more = {"batch_size": batch_size, **(options or {}).get(metric, {})}
        found[row, metric] = _METRICS[metric](model, images, one, wanted[row], **more)
    return Table(found)


def _named(maps: Any) -> dict[str, Any]:
    """Return maps by a name, of `HeatMaps` their keys without what all have in common."""
    if isinstance(maps, Tensor):
        return {"maps": maps}
    if isinstance(maps, HeatMap):
        return {maps.method: maps}
    keys = [key if isinstance(key, tuple) else (key,) for key in maps]
    varies = [len(set(parts)) > 1 for parts in zip(*keys, strict=True)]
    names = [
        ", ".join(str(part) for part, differs in zip(key, varies, strict=True) if differs)
        or str(key[0])
        for key in keys
    ]
    return dict(zip(names, maps.values(), strict=True))
