"""Every error and warning that hooktrace raises.

One hierarchy under `HooktraceError`; each class is also the builtin that a caller would
expect to catch.  A message says what was asked, what there is, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AmbiguousCallError",
    "BlankMapWarning",
    "ConfigurationError",
    "CopyError",
    "GraphFreedError",
    "HooktraceError",
    "LeakedHookError",
    "MapShapeError",
    "MethodError",
    "MismatchError",
    "MissingExtraError",
    "MissingModelError",
    "NoGradientError",
    "NoGraphError",
    "NoStatisticsError",
    "NotKeptError",
    "NothingTracedWarning",
    "ProbeFailedWarning",
    "RenderError",
    "ScriptError",
    "TargetError",
    "TraceFormatError",
    "TraceStateError",
    "UnknownFormatError",
    "UnknownNameError",
    "UnsupportedHookError",
    "UnsupportedKeepError",
    "UnsupportedModuleError",
    "nearest",
]


class HooktraceError(Exception):
    """Base of every error of hooktrace."""


class UnknownNameError(HooktraceError, KeyError):
    """A module, call, tensor or plug-in of this name does not exist."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0]) if self.args else ""


class AmbiguousCallError(HooktraceError, KeyError):
    """A plain name stands for a module that was called more than once."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class NotKeptError(HooktraceError, AttributeError):
    """The values of a tensor were asked for, but only its summary was recorded."""


class NoGradientError(HooktraceError, LookupError):
    """A gradient was asked for that never arrived while the trace was open."""


class NoStatisticsError(HooktraceError, LookupError):
    """Statistics were asked for that the trace did not take."""


class TraceStateError(HooktraceError, RuntimeError):
    """A trace was used in a state that does not allow it, such as entered twice."""


class TraceFormatError(HooktraceError, ValueError):
    """A file is no trace, is damaged, is beyond the limits, or is of a later version."""


class UnsupportedKeepError(HooktraceError, TypeError):
    """What was given as ``keep=`` names no modules."""


class UnsupportedHookError(HooktraceError, TypeError):
    """A hook is of a kind for which this cannot be done."""


class UnsupportedModuleError(HooktraceError, TypeError):
    """What was given to `trace` cannot be traced."""


class CopyError(HooktraceError, TypeError):
    """A model or its example input cannot be deep-copied, which an experiment needs."""


class LeakedHookError(HooktraceError, AssertionError):
    """Hooks are registered after a block that were not there before it."""


class UnknownFormatError(HooktraceError, ValueError):
    """A file name has an ending that no renderer writes."""


class RenderError(HooktraceError, RuntimeError):
    """A layout engine is missing or refused the diagram."""


class ConfigurationError(HooktraceError, ValueError):
    """A project's ``pyproject.toml`` says something about hooktrace that cannot be."""


class MismatchError(HooktraceError, ValueError):
    """Two traces are not of the same architecture."""


class MapShapeError(HooktraceError, ValueError):
    """A tensor does not have the shape of feature maps, or there is no such item in its batch."""


class MissingExtraError(HooktraceError, ImportError):
    """A feature needs a package that an extra of hooktrace installs."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package '{package}', which is not installed. "
            f"Install it with: pip install 'hooktrace[{extra}]'"
        )


class NoGraphError(HooktraceError, RuntimeError):
    """A gradient was asked for where autograd recorded no way from the score to the layer."""


class GraphFreedError(NoGraphError):
    """A backward has freed the graph that a gradient was to be taken through."""


class ScriptError(HooktraceError, ValueError):
    """What is to be run under a trace is not there, or is no Python."""


class TargetError(HooktraceError, ValueError):
    """A target does not fit what the model returned: its batch, its classes, or its shape."""


class MethodError(HooktraceError, ValueError):
    """A method of class activation maps does not apply to this model or layer."""


class MissingModelError(HooktraceError, TypeError):
    """A method that runs the model again was given none: a trace keeps no model and no inputs."""


class BlankMapWarning(UserWarning):
    """A heat map shows nothing: it is nowhere positive, flat, or not finite."""


class NothingTracedWarning(UserWarning):
    """No module of the traced model ran inside the block."""


class ProbeFailedWarning(UserWarning):
    """A probe of hooktrace failed; the traced program went on undisturbed."""


def nearest(name: str, known: Iterable[str], limit: int = 3) -> str:
    """Return a clause that names the known names nearest to `name`.

    >>> nearest("feature.0", ["features.0", "classifier.6"])
    " Did you mean 'features.0'?"
    >>> nearest("x", [])
    ''
    """
    names = [candidate for candidate in known if candidate]
    close = difflib.get_close_matches(name, names, n=limit, cutoff=0.5)
    if close:
        return " Did you mean " + " or ".join(repr(candidate) for candidate in close) + "?"
    if not names:
        return ""
    shown = ", ".join(repr(candidate) for candidate in names[:8])
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f" There are: {shown}{more}."
