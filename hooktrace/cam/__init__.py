"""Class activation maps, made from what a trace has kept.

`Recording.cam` and `hooktrace.explain` make them; here are the records, the methods, the targets
and the metrics.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hooktrace.cam import metrics, targets
    from hooktrace.cam.heatmaps import HeatMap, HeatMaps, normalized
    from hooktrace.cam.method import METHODS, Method, method

_PUBLIC = {
    "HeatMap": "heatmaps",
    "HeatMaps": "heatmaps",
    "METHODS": "method",
    "Method": "method",
    "method": "method",
    "normalized": "heatmaps",
}

__all__ = ["METHODS", "HeatMap", "HeatMaps", "Method", "method", "metrics", "normalized", "targets"]


def __getattr__(name: str) -> Any:
    if name in ("metrics", "targets"):
        return import_module(f"hooktrace.cam.{name}")
    if name in _PUBLIC:
        import_module("hooktrace.cam.methods")  # which fills METHODS
        return getattr(import_module(f"hooktrace.cam.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'hooktrace.cam' has no attribute {name!r}")
