"""Plots of scores and curves, drawn by matplotlib without its global state."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hooktrace.cam.metrics.scores import bootstrap
from hooktrace.errors import MissingExtraError

if TYPE_CHECKING:
    from hooktrace.cam.metrics.scores import Curve, Scores

__all__ = ["draw_curve", "draw_scores"]

_BLUE, _GREY = "#1f5fa8", "#9aa5b1"
_FAINT = 40  # curves of single images that are drawn at most


def draw_curve(curve: Curve, path: str | Path) -> Path:
    """Draw (N, T) points over their fractions; see `Curve.draw`."""
    with _axes(Path(path)) as axes:
        share = (curve.fractions * 100).tolist()
        for one in curve.points[:_FAINT].tolist():
            axes.plot(share, one, color=_GREY, linewidth=0.6, alpha=0.6)
        if len(curve.points) > 1:
            low, high = bootstrap(curve.points).tolist()
            axes.fill_between(share, low, high, color=_BLUE, alpha=0.2, linewidth=0)
        axes.plot(share, curve.points.double().mean(0).tolist(), color=_BLUE, linewidth=2)
        axes.set(xlabel="positions changed (%)", ylabel="probability of the class")
        axes.set(xlim=(0, 100), ylim=(-0.02, 1.02), title=_title(curve))
    return Path(path)


def draw_scores(scores: Scores, path: str | Path) -> Path:
    """Draw (N,) values, one dot each, with their mean and its interval; see `Scores.draw`."""
    with _axes(Path(path)) as axes:
        low, high = scores.interval()
        axes.axhspan(low, high, color=_BLUE, alpha=0.2, linewidth=0)
        axes.axhline(scores.mean, color=_BLUE, linewidth=2)
        axes.plot(scores.values.tolist(), "o", color=_GREY, markersize=4, markeredgecolor="#52606d")
        axes.set(xlabel="image", ylabel=scores.name, title=_title(scores))
        axes.xaxis.get_major_locator().set_params(integer=True)
    return Path(path)


def _title(scores: Scores) -> str:
    low, high = scores.interval()
    return (
        f"{scores.name}: {scores.mean:.3f}, 95% interval {low:.3f} to {high:.3f}\n"
        f"{scores.better} is better"
    )


@contextlib.contextmanager
def _axes(path: Path) -> Iterator[Any]:
    """Yield axes; what was drawn replaces the file at once, or not at all."""
    try:
        figure = import_module("matplotlib.figure").Figure(figsize=(6, 4), layout="constrained")
    except ImportError as error:
        raise MissingExtraError("Drawing metrics", "matplotlib", "images") from error
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    yield axes
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=path.suffix)
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
