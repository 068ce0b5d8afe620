"""Hooks that are called when modules and optimizers are saved, loaded, or given new members.

PyTorch loops over their dictionaries in Python.  The functions with these loops are derived anew
from their source, so that the loops get spies; the dictionaries themselves are not touched.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from hooktrace import _torch_hooks, _torch_sites, _torch_stores
from hooktrace.callspies import spied
from hooktrace.patches import Patch
from hooktrace.recorder import Recorder
from hooktrace.spiedhooks import SpiedHooks
from hooktrace.tracebacks import unlink_own_frames

__all__ = ["begin", "patches"]


def patches() -> Iterator[Patch]:
    """Yield the process-wide patches of this probe."""
    for owner, functions in _torch_stores.LOOPS.items():
        for function, attributes in functions.items():
            yield Patch(owner, function, functools.partial(_with_spies, attributes))
    for kind, attribute in _torch_stores.REGISTRATION_HOOKS.items():
        yield Patch(_torch_stores.REGISTRATION_OWNER, attribute, functools.partial(_global, kind))


def begin(recorder: Recorder) -> None:
    """Make rows for the hooks that are there already."""
    for kind, hooks in _torch_stores.registration_hooks().items():
        for number, function in hooks.items():
            recorder.hooks.add(kind, number, function, "every module")
    for _, module in recorder.scope.modules():
        if not _torch_stores.has_saving_hooks(module):
            continue
        for kind, attribute in _torch_stores.MODULE_HOOKS.items():
            for number, hook in getattr(module, attribute).items():
                options = _torch_stores.saving_options(kind, hook)
                function = _torch_hooks.registered(hook)
                recorder.hooks.add(kind, number, function, module, options=options)


_KINDS = {
    attribute: kind
    for stores in (_torch_stores.MODULE_HOOKS, _torch_stores.OPTIMIZER_HOOKS)
    for kind, attribute in stores.items()
}


@functools.cache  # deriving takes milliseconds
def _with_spies(attributes: tuple[str, ...], original: Callable[..., Any]) -> Any:
    return _torch_sites.with_spied_loops(original, _spied_attribute, unlink_own_frames, *attributes)


def _spied_attribute(owner: Any, attribute: str) -> Iterator[Any]:
    return spied(_KINDS[attribute], getattr(owner, attribute), owner)


def _global(kind: str, original: Any) -> SpiedHooks:
    return SpiedHooks(original, functools.partial(spied, kind, original, "every module"))
