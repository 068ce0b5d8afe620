"""Module calls: `nn.Module.__call__` is derived anew once for the whole process.

Not by hooks: the first hook of any kind takes every module call off PyTorch's fast path, and a
hook on a child of ``TransformerEncoderLayer`` changes which code runs at all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from hooktrace import _torch, _torch_sites
from hooktrace.opencall import OpenCall, close_call, fail_call, open_call
from hooktrace.patches import Patch, active
from hooktrace.recorder import Recorder

__all__ = ["patches"]


_Calls = list[tuple[Recorder, OpenCall]]


def patches() -> Iterator[Patch]:
    """Yield the process-wide patches of this probe."""
    yield Patch(nn.Module, "__call__", _traced_call)


@functools.cache
def _traced_call(original: Callable[..., Any]) -> Any:
    return _torch_sites.enclosed(original, begun=_begun, done=_done, failed=_failed)


def _begun(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Calls:
    calls = []
    with _torch.aside():
        for recorder in active():
            call = open_call(recorder, module, args, kwargs)
            if call is not None:
                calls.append((recorder, call))
    return calls


def _done(calls: _Calls, result: Any) -> Any:
    if calls:
        with _torch.aside():
            for recorder, call in calls:
                close_call(recorder, call, result)
    return result


def _failed(calls: _Calls, error: BaseException) -> None:
    with _torch.aside():
        for recorder, call in calls:
            fail_call(recorder, call, error)
