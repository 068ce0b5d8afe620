"""hooktrace makes PyTorch's hooks visible.

    >>> import hooktrace as ht
    >>> with ht.trace(model) as t:            # doctest: +SKIP
    ...     criterion(model(images), labels).backward()
    >>> print(t)                              # doctest: +SKIP

Importing this package imports neither torch nor networkx; its public names are looked up when
they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hooktrace import cam, errors, events
    from hooktrace.boardlogging import TensorBoardLogger
    from hooktrace.comparison import Comparison, compare
    from hooktrace.experiments.counterfactuals import Counterfactual, counterfactual
    from hooktrace.experiments.preflight import check
    from hooktrace.explaining import explain
    from hooktrace.hooklist import HookList
    from hooktrace.inventory import hooks
    from hooktrace.leaks import no_leaked_hooks
    from hooktrace.loading import load
    from hooktrace.recording import Recording
    from hooktrace.session import Trace, trace
    from hooktrace.storage import read_events
    from hooktrace.summaries import Summary
    from hooktrace.summarizing import summary

__version__ = "0.1.0"

_PUBLIC = {
    "Comparison": "hooktrace.comparison",
    "Counterfactual": "hooktrace.experiments.counterfactuals",
    "HookList": "hooktrace.hooklist",
    "Recording": "hooktrace.recording",
    "Summary": "hooktrace.summaries",
    "TensorBoardLogger": "hooktrace.boardlogging",
    "Trace": "hooktrace.session",
    "check": "hooktrace.experiments.preflight",
    "compare": "hooktrace.comparison",
    "counterfactual": "hooktrace.experiments.counterfactuals",
    "explain": "hooktrace.explaining",
    "hooks": "hooktrace.inventory",
    "load": "hooktrace.loading",
    "no_leaked_hooks": "hooktrace.leaks",
    "read_events": "hooktrace.storage",
    "summary": "hooktrace.summarizing",
    "trace": "hooktrace.session",
}
_MODULES = ("cam", "errors", "events")

__all__ = [
    "Comparison",
    "Counterfactual",
    "HookList",
    "Recording",
    "Summary",
    "TensorBoardLogger",
    "Trace",
    "__version__",
    "cam",
    "check",
    "compare",
    "counterfactual",
    "errors",
    "events",
    "explain",
    "hooks",
    "load",
    "no_leaked_hooks",
    "read_events",
    "summary",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if name in _MODULES:
        return import_module(f"hooktrace.{name}")
    raise AttributeError(f"module 'hooktrace' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
