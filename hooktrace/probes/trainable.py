"""What the models have when the block ends: parameters, which of them are trained, buffers."""

from __future__ import annotations

from collections.abc import Iterator

from hooktrace.parameters import take_stock
from hooktrace.patches import Patch
from hooktrace.recorder import Recorder

__all__ = ["finish", "patches"]


def patches() -> Iterator[Patch]:
    """Yield nothing: this probe only looks, at the end."""
    yield from ()


def finish(recorder: Recorder) -> None:
    """Enter the parameters into the log."""
    try:
        for name, parameter in recorder.scope.parameters():
            number = recorder.identities.seen(parameter).id
            recorder.log.parameters[number] = (name, bool(parameter.requires_grad))
        for name, parameter in recorder.scope.parameters(aliases=True):
            number = recorder.identities.seen(parameter).id
            if recorder.log.tensors[number].name != name:
                recorder.log.aliases[name] = number
        take_stock(recorder)
    except Exception:
        recorder.failed("the parameters")
