"""Looking for tensors that were written to since they were seen last."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from hooktrace._torch import version_of
from hooktrace._torch_state import versions_of
from hooktrace.identity import Seen
from hooktrace.recorder import Recorder
from hooktrace.threadstate import ThreadState

__all__ = ["check_alive", "check_models", "check_parameters"]


def check_alive(recorder: Recorder, state: ThreadState, entries: Iterable[Seen]) -> None:
    """Note writes to those of the tensors that still live."""
    for seen in entries:
        tensor = seen.ref()
        if tensor is not None:
            recorder.check(state, tensor, seen)


def check_models(recorder: Recorder, parameters: list[nn.Parameter] | None = None) -> None:
    """Note writes to those parameters of the models that have been seen.

    This is asked three times in a step, so all version counters are compared at once.

    Args:
        recorder: Of the trace.
        parameters: Those that the models have now, if that is known.
    """
    if parameters is None:
        parameters = recorder.scope.live_parameters()
    now = list(map(id, parameters)), versions_of(parameters)
    if now != recorder.versions or now[1] is None:
        recorder.versions = now
        check_parameters(recorder, parameters)


def check_parameters(recorder: Recorder, parameters: Iterable[torch.Tensor]) -> None:
    """Note writes to those parameters that have been seen."""
    state, table = recorder.state(), recorder.identities.table
    for parameter in parameters:
        seen = table.get(id(parameter))
        if seen is not None and version_of(parameter) != seen.value.version:
            if seen.ref() is parameter:
                recorder.check(state, parameter, seen)
