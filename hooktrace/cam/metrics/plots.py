"""Plots of scores and curves, drawn by matplotlib without its global state."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hooktrace.cam.metrics.scores import bootstrap
from hooktrace.errors import MissingExtraError, UnknownFormatError

if TYPE_CHECKING:
    from hooktrace.cam.metrics.scores import Curve, Scores

__all__ = ["draw_curve", "draw_scores", "draw_stages"]

_BLUE, _GREY = "#1f5fa8", "#9aa5b1"
_FAINT = 40  # curves of single images that are drawn at most
_TICKS = 24  # names below an axis
_LEVEL = 4  # names that stand side by side


def draw_curve(curve: Curve, path: str | Path) -> Path:
    """Draw (N, T) points over their fractions; see `Curve.draw`."""
    with _axes(Path(path)) as axes:
        _lines(axes, curve, (curve.fractions * 100).tolist())
        axes.set(xlabel="positions changed (%)", ylabel="probability of the class")
        axes.set(xlim=(0, 100), ylim=(-0.02, 1.02))
    return Path(path)


def draw_stages(curve: Curve, stages: Sequence[str], path: str | Path) -> Path:
    """Draw (N, T) rank correlations over the names of T layers; see `Randomization.draw`."""
    with _axes(Path(path)) as axes:
        places = list(range(1, len(stages) + 1))
        axes.axhline(0, color=_GREY, linewidth=0.8, linestyle=":")
        _lines(axes, curve, [0, *places], first=1.0)
        axes.set(xlabel="drawn anew, down to", ylabel="rank correlation")
        every = -(-len(stages) // _TICKS)
        axes.set_xticks([0, *places[::every]], ["trained", *stages[::every]])
        if len(stages) > _LEVEL:
            for label in axes.get_xticklabels():
                label.set(rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
        axes.set(xlim=(0, len(stages)), ylim=(-1.02, 1.02))
    return Path(path)


def _lines(axes: Any, curve: Curve, places: Sequence[float], first: float | None = None) -> None:
    """Draw the line of each image, their mean and its interval."""
    points = curve.points.detach().cpu().double()
    if first is not None:
        points = torch.cat([torch.full_like(points[:, :1], first), points], 1)
    for one in points[:_FAINT].tolist():
        axes.plot(places, one, color=_GREY, linewidth=0.6, alpha=0.6)
    if len(points) > 1:
        low, high = bootstrap(points).tolist()
        axes.fill_between(places, low, high, color=_BLUE, alpha=0.2, linewidth=0)
    axes.plot(places, points.mean(0).tolist(), color=_BLUE, linewidth=2)
    axes.set(title=_title(curve))


def draw_scores(scores: Scores, path: str | Path) -> Path:
    """Draw (N,) values, one dot each, with their mean and its interval; see `Scores.draw`."""
    with _axes(Path(path)) as axes:
        low, high = scores.interval()
        axes.axhspan(low, high, color=_BLUE, alpha=0.2, linewidth=0)
        axes.axhline(scores.mean, color=_BLUE, linewidth=2)
        axes.plot(scores.values.tolist(), "o", color=_GREY, markersize=4, markeredgecolor="#52606d")
        axes.set(xlabel="image", ylabel=scores.name, title=_title(scores))
        axes.set_xlim(-0.5, len(scores.values) - 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return Path(path)


def _title(scores: Scores) -> str:
    low, high = scores.interval()
    sure = f", 95% interval {low:.3f} to {high:.3f}" if len(scores.values) > 1 else ""
    return f"{scores.name}: {scores.mean:.3f}{sure}\n{scores.better} is better"


@contextlib.contextmanager
def _axes(path: Path) -> Iterator[Any]:
    """Yield axes; what was drawn replaces the file at once, or not at all."""
    try:
        figure = import_module("matplotlib.figure").Figure(figsize=(6, 4), layout="constrained")
    except ImportError as error:
        raise MissingExtraError("Drawing metrics", "matplotlib", "cam") from error
    known = figure.canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise UnknownFormatError(
            f"{path.name!r} has no ending that matplotlib writes: {', '.join(sorted(known))}."
        )
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    yield axes
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    try:
        figure.savefig(name, dpi=150)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
