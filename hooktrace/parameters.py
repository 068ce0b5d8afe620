"""The parameters of the traced models: entered when a trace opens, compared when it closes."""

from __future__ import annotations

from hooktrace._torch_hooks import has_hooks
from hooktrace.recorder import Recorder

__all__ = ["note_replaced", "watch"]


def watch(recorder: Recorder) -> None:
    """Remember the parameters of the models, their names, and the hooks they have."""
    for number, parameter in recorder.identities.enter_parameters(recorder.scope.parameters()):
        recorder.is_leaf(number)
        if has_hooks(parameter):
            recorder.watch_hooks(parameter)


def note_replaced(recorder: Recorder) -> None:
    """Note which parameters the models have no more, and others by their names."""
    log, known = recorder.log, recorder.identities.known
    now = {}
    for name, parameter in recorder.scope.parameters():
        seen = known(parameter)
        now[name] = None if seen is None else seen.id
    left = set(now.values())
    for row in log.tensors:
        if row.parameter and row.id not in left and row.name in now:
            log.replaced[row.id] = row.name
